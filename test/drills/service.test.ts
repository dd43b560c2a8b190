/** The daemon as a service: how it stops, what it leaves running, what it reloads, and what it does with traces of another one. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { expectAgreement, expectNothingLeft, removeAll } from './support/kill.ts';
import { tell } from './support/table.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(async () => {
  await daemon?.stop();
  tell({
    drill: 15,
    what: 'Shutdown, reload and traces of another daemon',
    cases: 15,
    outcome:
      'containers stopped by their own signals within the time given, or left running (live-restore, or the signal says it); a third signal forces; a bad file changes nothing; a second daemon is refused; stale files are replaced',
    where: ['test/drills/service.test.ts'],
  });
});

interface State {
  Status: string;
  Running: boolean;
  Pid: number;
  ExitCode: number;
}
const stateOf = async (name: string): Promise<State> =>
  (await daemon.api<{ State: State }>('GET', `/containers/${name}/json`)).json.State;
const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}/fd/0`);
const COUNT = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done';
const logTail = (from: number): string => daemon.log().slice(from);

describe('SIGTERM', () => {
  it('stops each container by its own signal, kills the deaf one in time, and the state is right afterwards', async () => {
    daemon.ok(
      'run',
      '-d',
      '--name',
      'polite',
      '--stop-signal',
      'SIGUSR1',
      daemon.image,
      'sh',
      '-c',
      'trap "exit 7" USR1; echo ready; while :; do sleep 0.05; done',
    );
    daemon.ok(
      'run',
      '-d',
      '--name',
      'deaf',
      '--stop-timeout',
      '1',
      daemon.image,
      'sh',
      '-c',
      'trap "" TERM; while :; do sleep 0.05; done',
    );
    daemon.ok(
      'run',
      '-d',
      '--name',
      'again',
      '--restart',
      'always',
      daemon.image,
      'sh',
      '-c',
      'trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done',
    );
    for (const name of ['polite', 'again']) await eventually(() => daemon.ok('logs', name).includes('ready'));
    const pids = await Promise.all(['polite', 'deaf', 'again'].map(async (name) => (await stateOf(name)).Pid));
    expect(await daemon.terminate()).toBe(0);
    expect(pids.filter(isAlive)).toEqual([]);
    await daemon.restart();
    expect(await stateOf('polite')).toMatchObject({ Status: 'exited', ExitCode: 7 });
    expect(await stateOf('deaf')).toMatchObject({ Status: 'exited', ExitCode: 137 });
    // It was the daemon that stopped it: its policy brings it back.
    await eventually(async () => (await stateOf('again')).Running);
    await removeAll(daemon);
  });

  it('begins nothing any more, and still answers who asks', async () => {
    const deaf = ['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 1; done'];
    daemon.ok('run', '-d', '--name', 'deaf', '--stop-timeout', '4', daemon.image, ...deaf);
    await eventually(() => daemon.ok('logs', 'deaf') === 'ready');
    daemon.ok('create', '--name', 'late', daemon.image, 'sleep', '1000');
    const from = daemon.log().length;
    const ended = daemon.terminate();
    await eventually(() => logTail(from).includes('stopping'));
    const { status, text } = await daemon.api('POST', '/containers/late/start');
    expect([status, text]).toEqual([503, '{"message":"the daemon is stopping"}']);
    expect((await daemon.api('GET', '/containers/json')).status).toBe(200);
    expect(await ended).toBe(0);
    await daemon.restart();
    expect([(await stateOf('deaf')).Running, (await stateOf('late')).Status]).toEqual([false, 'created']);
    await removeAll(daemon);
  });

  it('kills in shutdown-timeout what would take longer', async () => {
    await daemon.restart('--shutdown-timeout', '1');
    const script = 'trap "" TERM; echo ready; while :; do sleep 0.05; done';
    daemon.ok('run', '-d', '--name', 'deaf', '--stop-timeout', '1000', daemon.image, 'sh', '-c', script);
    await eventually(() => daemon.ok('logs', 'deaf').includes('ready'));
    expect(await daemon.terminate()).toBe(0);
    await daemon.restart();
    expect(await stateOf('deaf')).toMatchObject({ Status: 'exited', ExitCode: 137 });
    await removeAll(daemon);
  });

  it('stops who lives in the namespaces of another one before that one', async () => {
    const script = 'trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done';
    daemon.ok('run', '-d', '--name', 'host', daemon.image, 'sh', '-c', script);
    daemon.ok('run', '-d', '--name', 'guest', '--network', 'container:host', daemon.image, 'sh', '-c', script);
    for (const name of ['host', 'guest']) await eventually(() => daemon.ok('logs', name).includes('ready'));
    const since = Date.now();
    expect(await daemon.terminate()).toBe(0);
    await daemon.restart();
    const until = (Date.now() / 1000 + 0.001).toFixed(3);
    const { text } = await daemon.api('GET', `/events?since=${since / 1000}&until=${until}&filters={"event":["die"]}`);
    const names = text
      .split('\n')
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as { Actor: { Attributes: { name: string } } }).Actor.Attributes.name);
    expect(names).toEqual(['guest', 'host']);
    await removeAll(daemon);
  });

  it('three times ends it at once, whatever containers do', async () => {
    daemon.ok(
      'run',
      '-d',
      '--name',
      'deaf',
      '--stop-timeout',
      '100',
      daemon.image,
      'sh',
      '-c',
      'trap "" TERM; while :; do sleep 0.05; done',
    );
    const from = daemon.log().length;
    const ended = daemon.terminate();
    await eventually(() => logTail(from).includes('stopping'));
    process.kill(daemon.pid(), 'SIGTERM');
    process.kill(daemon.pid(), 'SIGINT');
    await ended;
    await daemon.restart();
    const [found] = await expectAgreement(daemon);
    expect(found!.State.Running).toBe(true);
    await removeAll(daemon);
  });

  it('leaves containers running with --live-restore, and finds them again', async () => {
    await daemon.restart('--live-restore');
    daemon.ok(
      'run',
      '-d',
      '--name',
      'steady',
      '-p',
      '8081:80',
      daemon.image,
      'sh',
      '-c',
      'i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done',
    );
    const { Pid } = await stateOf('steady');
    expect(await daemon.terminate()).toBe(0);
    expect(isAlive(Pid)).toBe(true);
    await daemon.restart('--live-restore');
    expect(await stateOf('steady')).toMatchObject({ Running: true, Pid });
    expect(daemon.ok('exec', 'steady', 'echo', 'here')).toBe('here');
    await removeAll(daemon);
    await daemon.restart();
  });
});

describe('signals that say what becomes of containers', () => {
  it('SIGUSR2 leaves them to the next daemon, whatever live-restore says', async () => {
    daemon.ok('run', '-d', '--name', 'steady', daemon.image, 'sh', '-c', COUNT);
    await eventually(() => daemon.ok('logs', 'steady').includes('3'));
    const { Pid } = await stateOf('steady');
    expect(await daemon.terminate('SIGUSR2')).toBe(0);
    expect(isAlive(Pid)).toBe(true);
    await daemon.restart();
    expect(await stateOf('steady')).toMatchObject({ Running: true, Pid });
    const seen = daemon.ok('logs', 'steady').split('\n').length;
    await eventually(() => daemon.ok('logs', 'steady').split('\n').length > seen);
    const lines = daemon.ok('logs', 'steady').split('\n');
    expect(lines).toEqual(lines.map((_, index) => String(index)));
    await removeAll(daemon);
  });

  it('SIGQUIT stops them, even with live-restore', async () => {
    await daemon.restart('--live-restore');
    daemon.ok(
      'run',
      '-d',
      '--name',
      'steady',
      daemon.image,
      'sh',
      '-c',
      'trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done',
    );
    await eventually(() => daemon.ok('logs', 'steady').includes('ready'));
    const { Pid } = await stateOf('steady');
    expect(await daemon.terminate('SIGQUIT')).toBe(0);
    expect(isAlive(Pid)).toBe(false);
    await daemon.restart();
    expect(await stateOf('steady')).toMatchObject({ Status: 'exited', ExitCode: 7 });
    await removeAll(daemon);
  });
});

describe('SIGHUP', () => {
  it('changes what the next stop does with containers', async () => {
    const file = join(daemon.directory, 'daemon.json');
    daemon.ok('run', '-d', '--name', 'steady', daemon.image, 'sleep', '1000');
    const { Pid } = await stateOf('steady');
    const from = daemon.log().length;
    writeFileSync(file, JSON.stringify({ 'live-restore': true }));
    process.kill(daemon.pid(), 'SIGHUP');
    await eventually(() => logTail(from).includes('configuration reloaded'));
    expect(await daemon.terminate()).toBe(0);
    expect(isAlive(Pid)).toBe(true);
    writeFileSync(file, '{}');
    await daemon.restart();
    expect(await stateOf('steady')).toMatchObject({ Running: true, Pid });
    await removeAll(daemon);
  });

  it('takes over a good file and says so as an event, and nothing of a bad one', async () => {
    const file = join(daemon.directory, 'daemon.json');
    const since = Date.now();
    const debug = async (): Promise<boolean> => (await daemon.api<{ Debug: boolean }>('GET', '/info')).json.Debug;
    const labels = async (): Promise<string[]> => (await daemon.api<{ Labels: string[] }>('GET', '/info')).json.Labels;
    let from = daemon.log().length;
    writeFileSync(file, JSON.stringify({ labels: ['a=1'] }));
    process.kill(daemon.pid(), 'SIGHUP');
    await eventually(() => logTail(from).includes('configuration reloaded'));
    expect(await labels()).toEqual(['a=1']);
    from = daemon.log().length;
    writeFileSync(file, JSON.stringify({ labels: ['a=2'], 'no-such-key': 1 }));
    process.kill(daemon.pid(), 'SIGHUP');
    await eventually(() => logTail(from).includes('is not taken'));
    expect(logTail(from)).toContain('no-such-key');
    expect(await labels()).toEqual(['a=1']);
    expect(await debug()).toBe(false);
    writeFileSync(file, '{}');
    const until = (Date.now() / 1000 + 0.001).toFixed(3);
    const { text } = await daemon.api('GET', `/events?since=${since / 1000}&until=${until}`);
    const reloads = text.split('\n').filter((line) => line.includes('"reload"'));
    expect(reloads).toHaveLength(1);
    const { Actor } = JSON.parse(reloads[0]!) as { Actor: { ID: string; Attributes: Record<string, string> } };
    expect(Actor.ID).toBe((await daemon.api<{ ID: string }>('GET', '/info')).json.ID);
    expect(Actor.Attributes).toMatchObject({
      labels: '["a=1"]',
      debug: 'false',
      'live-restore': 'false',
      'max-concurrent-downloads': '3',
      'shutdown-timeout': '15',
    });
  });
});

describe('SIGUSR1', () => {
  it('writes actors, timers and pending work to a file, and opens no inspector', async () => {
    const deaf = ['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 1; done'];
    daemon.ok('run', '-d', '--name', 'steady', daemon.image, ...deaf);
    await eventually(() => daemon.ok('logs', 'steady') === 'ready');
    const stop = daemon.api('POST', '/containers/steady/stop?t=1000');
    await eventually(async () => {
      const { json } = await daemon.api<{ state: string; timers: object[] }[]>('GET', '/reactord/actors');
      return json.some(({ state, timers }) => state.startsWith('stopping') && timers.length > 0);
    });
    process.kill(daemon.pid(), 'SIGUSR1');
    const run = join(daemon.directory, 'run');
    const name = await eventually(() => readdirSync(run).find((each) => each.startsWith('dump-')));
    const dump = await eventually(
      () => JSON.parse(readFileSync(join(run, name), 'utf8')) as { actors: { actor: string; timers: object[] }[] },
    );
    const container = dump.actors.find(({ actor }) => actor.startsWith('container/'))!;
    expect(container).toMatchObject({ state: expect.stringMatching(/^stopping/), commandsWaiting: 1 });
    expect(container.timers).toContainEqual({ event: expect.any(String), dueInMs: expect.any(Number) });
    expect(daemon.inside('ss', '-tlnH').stdout).not.toContain(':9229');
    await removeAll(daemon);
    await stop;
  });
});

describe('a second daemon', () => {
  const second = (...flags: string[]): { status: number | null; stderr: string } =>
    spawnSync('nsenter', [`--net=${daemon.netns}`, 'bin/reactord', ...flags], { encoding: 'utf8', timeout: 30_000 });
  const other = (name: string): string => join(daemon.directory, name);

  it('is refused on the same data root, and harms nothing', async () => {
    const flags = ['--data-root', daemon.dataRoot, '--exec-root', other('run2'), '--pidfile', other('two.pid')];
    const { status, stderr } = second(
      ...flags,
      '-H',
      `unix://${other('two.sock')}`,
      '--config-file',
      other('daemon.json'),
    );
    expect(status).toBe(1);
    expect(stderr).toContain('another daemon is using');
    daemon.ok('run', '--rm', daemon.image, 'true');
  });

  it('is refused with the pid file of a running one, and with its socket', async () => {
    const roots = ['--data-root', other('data2'), '--exec-root', other('run2'), '--config-file', other('daemon.json')];
    const pidfile = join(daemon.directory, 'reactord.pid');
    const samePid = second(...roots, '--pidfile', pidfile, '-H', `unix://${other('two.sock')}`, '--bridge', 'none');
    expect(samePid).toMatchObject({ status: 1 });
    expect(samePid.stderr).toContain(`process with PID ${daemon.pid()} is still running`);
    const sameSocket = second(
      ...roots,
      '--pidfile',
      other('two.pid'),
      '-H',
      `unix://${daemon.socket}`,
      '--bridge',
      'none',
    );
    expect(sameSocket).toMatchObject({ status: 1 });
    expect(sameSocket.stderr).toContain('another process listens there');
    expect(existsSync(other('two.pid'))).toBe(false);
    daemon.ok('run', '--rm', daemon.image, 'true');
  });

  it('takes no stranger for a daemon whose pid it has got: a pid file that is left names nobody', async () => {
    await daemon.kill();
    const stranger = spawn('sleep', ['1000']);
    try {
      writeFileSync(join(daemon.directory, 'reactord.pid'), `${stranger.pid}\n`);
      await daemon.restart();
      expect(daemon.pid()).not.toBe(stranger.pid);
      expect(stranger.exitCode).toBe(null);
    } finally {
      stranger.kill();
    }
  });

  it('replaces what a dead one left: its pid file and its socket', async () => {
    const pid = daemon.pid();
    await daemon.kill();
    expect(existsSync(daemon.socket)).toBe(true);
    expect(daemon.pid()).toBe(pid);
    await daemon.restart();
    expect(daemon.pid()).not.toBe(pid);
    daemon.ok('run', '--rm', daemon.image, 'true');
  });

  it('leaves nothing when it stops', async () => {
    await expectNothingLeft(daemon);
    expect(existsSync(daemon.socket)).toBe(false);
    expect(existsSync(join(daemon.directory, 'reactord.pid'))).toBe(false);
  });
});
