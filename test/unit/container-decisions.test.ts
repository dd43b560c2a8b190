/** The pure decisions around a container: policies, health, words for its state, merging of configs, lists. */
import { expect, test } from 'vitest';
import { parseFilters } from '../../src/api/filters.ts';
import { startExitCode } from '../../src/container/changes.ts';
import { healthTimes, nextHealth, probeCommand } from '../../src/container/health.ts';
import { LIST_FILTERS, selectContainers } from '../../src/container/list.ts';
import { hostConfigOf, mergeConfig } from '../../src/container/merge.ts';
import { checkedName, randomName } from '../../src/container/names.ts';
import type { ContainerRecord } from '../../src/container/record.ts';
import { refusal } from '../../src/container/refusal.ts';
import { backoffOf, nextDelay, restartsAfter, startsAtBoot } from '../../src/container/restart.ts';
import { untilOf } from '../../src/container/service.ts';
import { graceOf, isMeantToEnd, signalNumber } from '../../src/container/signals.ts';
import { humanDuration, statusText } from '../../src/container/status.ts';
import { commandText } from '../../src/container/view.ts';
import { recordFor } from '../support/container-model.ts';

const NOW = Date.parse('2024-01-01T00:00:00Z');
const ago = (seconds: number): string => new Date(NOW - seconds * 1000).toISOString();
const policy = (Name: string, MaximumRetryCount = 0): object => ({ RestartPolicy: { Name, MaximumRetryCount } });

test('backoff doubles from 100 ms to a minute and starts anew after a good run', () => {
  const delays: number[] = [];
  for (let delay = 0, i = 0; i < 12; i++) delays.push((delay = nextDelay(delay, 0)));
  expect(delays.slice(0, 4)).toEqual([100, 200, 400, 800]);
  expect(delays.at(-1)).toBe(60_000);
  expect(nextDelay(60_000, 10_000)).toBe(100);
  const own = backoffOf({ 'io.reactord.restart.first-delay': '5', 'io.reactord.restart.longest-delay': '8' });
  expect([nextDelay(0, 0, own), nextDelay(5, 0, own)]).toEqual([5, 8]);
});

test('policies: what comes back after an exit, and what starts at boot', () => {
  const after = (hostConfig: object, code: number, restartCount = 0): boolean =>
    restartsAfter(recordFor({ hostConfig, state: { restartCount } }), code);
  expect(after(policy('no'), 1)).toBe(false);
  expect(after(policy('always'), 0)).toBe(true);
  expect(after(policy('on-failure', 2), 0)).toBe(false);
  expect(after(policy('on-failure', 2), 1, 1)).toBe(true);
  expect(after(policy('on-failure', 2), 1, 2)).toBe(false);
  const boot = (hostConfig: object, state: object): boolean =>
    startsAtBoot(recordFor({ hostConfig, state: { hasBeenStartedBefore: true, ...state } }));
  expect(boot(policy('always'), { manuallyStopped: true })).toBe(true);
  expect(boot(policy('unless-stopped'), { manuallyStopped: true })).toBe(false);
  expect(boot(policy('unless-stopped'), {})).toBe(true);
  expect(boot(policy('always'), { hasBeenStartedBefore: false })).toBe(false);
  expect(boot(policy('on-failure'), { exitCode: 0 })).toBe(false);
});

test('exit codes of starts that failed', () => {
  expect(startExitCode('exec: "x": executable file not found in $PATH')).toBe(127);
  expect(startExitCode('stat /x: no such file or directory')).toBe(127);
  expect(startExitCode('exec: "/etc": permission denied')).toBe(126);
  expect(startExitCode('exec: "/etc": is a directory')).toBe(126);
  expect(startExitCode('something else')).toBe(128);
});

test('health turns after enough failures in a row, and the start period forgives', () => {
  const Healthcheck = { Test: ['CMD', 'true'], Retries: 2 };
  const result = (ExitCode: number, lenient = false) => ({ Start: '', End: '', ExitCode, Output: '', lenient });
  let record = recordFor({ config: { Healthcheck } });
  const apply = (code: number, lenient = false): string => {
    const health = nextHealth(record, result(code, lenient));
    record = { ...record, state: { ...record.state, health } };
    return `${health.Status} ${health.FailingStreak}`;
  };
  expect(apply(1, true)).toBe('starting 0');
  expect(apply(1)).toBe('starting 1');
  expect(apply(0)).toBe('healthy 0');
  expect(apply(1)).toBe('healthy 1');
  expect(apply(1)).toBe('unhealthy 2');
  expect(apply(0)).toBe('healthy 0');
  for (let i = 0; i < 9; i++) apply(0);
  expect(record.state.health!.Log).toHaveLength(5);
  expect(healthTimes({})).toEqual({
    interval: 30_000,
    timeout: 30_000,
    startPeriod: 0,
    startInterval: 5_000,
    retries: 3,
  });
  expect(probeCommand({ Test: ['CMD-SHELL', 'a b'] }, null)).toEqual(['/bin/sh', '-c', 'a b']);
  expect(probeCommand({ Test: ['CMD', 'a', 'b'] }, null)).toEqual(['a', 'b']);
});

test('docker ps says a state in the usual words', () => {
  const text = (phase: ContainerRecord['phase'], state: object = {}): string =>
    statusText(recordFor({ phase, state }), NOW);
  const up = { startedAt: ago(5) };
  expect(text('created')).toBe('Created');
  expect(text('running', up)).toBe('Up 5 seconds');
  expect(text('running', { ...up, health: { Status: 'healthy' } })).toBe('Up 5 seconds (healthy)');
  expect(text('running', { ...up, health: { Status: 'starting' } })).toBe('Up 5 seconds (health: starting)');
  expect(text('paused', { startedAt: ago(120) })).toBe('Up 2 minutes (Paused)');
  expect(text('restarting', { startedAt: ago(9), finishedAt: ago(3), exitCode: 1 })).toBe(
    'Restarting (1) 3 seconds ago',
  );
  expect(text('exited', { startedAt: ago(500), finishedAt: ago(240) })).toBe('Exited (0) 4 minutes ago');
  expect([text('dead'), text('removing')]).toEqual(['Dead', 'Removal In Progress']);
  const lengths = [0.5, 1, 59, 61, 3600, 7200 * 2, 3 * 86400, 20 * 86400, 100 * 86400, 800 * 86400];
  expect(lengths.map((seconds) => humanDuration(seconds * 1000))).toEqual([
    'Less than a second', '1 second', '59 seconds', 'About a minute', 'About an hour', '4 hours', '3 days', '2 weeks', '3 months', '2 years',
  ]); // prettier-ignore
});

test('a refusal keeps dockerd’s words and says the state and what it accepts', () => {
  const refused = (phase: ContainerRecord['phase'], command: string, value: string) =>
    refusal({ context: { record: recordFor({ phase }), delay: 3200 } as never, value }, command);
  expect(refused('running', 'START', 'running').kind).toBe('notModified');
  expect(refused('exited', 'STOP', 'exited').kind).toBe('notModified');
  expect(refused('exited', 'KILL', 'exited').message).toMatch(
    /is not running \(it has exited; .*accepts: start, restart, remove\)/,
  );
  const restarting = refused('restarting', 'PAUSE', 'restarting');
  expect(restarting.kind).toBe('conflict');
  expect(restarting.message).toContain('it is restarting, next try after 3.2 s');
  expect(refused('running', 'REMOVE', 'running').message).toMatch(
    /^cannot remove container "model": container is running: stop the container before removing or force remove/,
  );
  expect(refused('removing', 'REMOVE', 'removing').message).toContain('already in progress');
  expect(refused('running', 'UNPAUSE', 'running').kind).toBe('internal');
});

test('signals by every name, and what they mean to a container', () => {
  expect(['KILL', 'sigterm', '9', 'RTMIN+3'].map(signalNumber)).toEqual([9, 15, 9, 37]);
  expect(() => signalNumber('NOPE')).toThrow('invalid signal: NOPE');
  const plain = recordFor({});
  expect([graceOf(plain, undefined), graceOf(plain, 0), graceOf(plain, -1)]).toEqual([10_000, 0, -1]);
  expect(isMeantToEnd(recordFor({ config: { StopSignal: 'SIGINT' } }), 1)).toBe(false);
  expect(isMeantToEnd(recordFor({ config: { StopSignal: 'SIGINT' } }), 2)).toBe(true);
});

test('the image’s defaults are merged as dockerd does', () => {
  const image = {
    Cmd: ['serve'],
    Entrypoint: ['/entry'],
    Env: ['A=1', 'B=2'],
    Labels: { a: '1' },
    ExposedPorts: { '80/tcp': {} },
  };
  expect(mergeConfig({ Env: ['B=3'], Labels: { b: '2' } }, image)).toMatchObject({
    Cmd: ['serve'],
    Entrypoint: ['/entry'],
    Env: ['B=3', 'A=1'],
    Labels: { a: '1', b: '2' },
    ExposedPorts: { '80/tcp': {} },
  });
  expect(mergeConfig({ Entrypoint: 'sh' }, image)).toMatchObject({ Entrypoint: ['sh'], Cmd: null });
  expect(mergeConfig({ Entrypoint: [''], Cmd: ['x'] }, image)).toMatchObject({ Entrypoint: null, Cmd: ['x'] });
  expect(() => mergeConfig({}, {})).toThrow('no command specified');
  const host = hostConfigOf(
    { PortBindings: { '80': [{ HostPort: '1' }] } },
    { logDriver: 'json-file', logOpts: { 'max-size': '1m' } },
  );
  expect(host).toMatchObject({
    PortBindings: { '80/tcp': [{ HostIp: '', HostPort: '1' }] },
    LogConfig: { Type: 'json-file', Config: { 'max-size': '1m' } },
    RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
  });
});

test('lists filter by every key, newest first', () => {
  const make = (name: string, created: string, change: Parameters<typeof recordFor>[0]): ContainerRecord => ({
    ...recordFor(change),
    id: name.padEnd(64, '0'),
    name,
    created,
  });
  const records = [
    make('old', '2024-01-01T00:00:00Z', { phase: 'exited', state: { hasBeenStartedBefore: true, exitCode: 3 } }),
    make('new', '2024-01-02T00:00:00Z', { phase: 'running', config: { Labels: { app: 'web' } } }),
  ];
  const names = (filters: object, all = false, limit = 0): string[] =>
    selectContainers(
      records,
      { all, limit, filters: parseFilters(JSON.stringify(filters), LIST_FILTERS) },
      { resolve: (reference) => records.find((record) => record.name === reference)!, descends: () => false },
    ).map(({ name }) => name);
  expect(names({})).toEqual(['new']);
  expect(names({}, true)).toEqual(['new', 'old']);
  expect(names({}, false, 1)).toEqual(['new']);
  expect(names({ status: ['exited'] })).toEqual(['old']);
  expect(names({ exited: ['3'] })).toEqual(['old']);
  expect(names({ label: ['app=web'] }, true)).toEqual(['new']);
  expect(names({ name: ['^/ol'] }, true)).toEqual(['old']);
  expect(names({ before: ['new'] })).toEqual(['old']);
  expect(names({ health: ['none'] }, true)).toEqual(['new', 'old']);
  expect(() => names({ status: ['odd'] })).toThrow('invalid filter');
});

test('names, commands and times', () => {
  expect(checkedName('/web.1')).toBe('web.1');
  expect(() => checkedName('a b')).toThrow('Invalid container name (a b)');
  expect(randomName(() => false)).toMatch(/^[a-z]+_[a-z]+$/);
  expect(commandText({ ...recordFor({}), path: 'sh', args: ['-c', 'a b'] })).toBe("sh -c 'a b'");
  expect(untilOf(['1h30m'], NOW)).toBe(NOW - 5_400_000);
  expect(untilOf(['1700000000'], NOW)).toBe(1_700_000_000_000);
  expect(() => untilOf(['soon'], NOW)).toThrow('invalid filter');
});
