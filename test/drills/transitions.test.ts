/**
 * kill -9 exactly at a transition or an effect of a container, before and after it is durable, for every one that its chart has: the list
 * comes from the machine itself. `npm test` runs a part; DRILLS=all runs every one.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { containerMachine } from '../../src/container/machine.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { expectAgreement, expectNothingLeft, killAt, pointsOf, textOf, type Walker } from './support/kill.ts';
import { part, tell } from './support/table.ts';

/** No fact: passed through within one step of the machine. */
const NEVER_RESTED_IN = /^(restoring\.(deciding|burying)|running\.health\.deciding)$/;
/** While a daemon finds its containers again: a second death. */
const IN_RECOVERY = /^(restoring\.|adopt\/)/;
/** Only when its removal failed. */
const NOT_BY_COMMANDS = /^dead$/;
/** Passed only when two effects end in the rarer order, or when an exit comes late. */
const BY_CHANCE = /^(starting\.networking|stopping\.dying|stopping\.waiting|probes\/end|running\.process\.resuming)$/;

const everywhere = pointsOf('container', containerMachine).filter(
  ({ name }) => !NEVER_RESTED_IN.test(name) && !NOT_BY_COMMANDS.test(name),
);
const points = everywhere.filter(({ name }) => !IN_RECOVERY.test(name));
const inRecovery = part(
  everywhere.filter(({ name }) => IN_RECOVERY.test(name)),
  1,
);
const chosen = part(
  points.filter(({ name }) => !BY_CHANCE.test(name)),
  6,
);
const rare = part(
  points.filter(({ name }) => BY_CHANCE.test(name)),
  0,
);

let daemon: TestDaemon;
const seen = { killed: 0, passed: [] as string[] };
beforeAll(async () => {
  daemon = await startDaemon();
  await daemon.terminate();
});
afterAll(async () => {
  await daemon?.stop();
  tell({
    drill: 1,
    what: 'kill -9 at each transition and effect of a container',
    cases: seen.killed,
    outcome:
      'every container in a state of its chart that the kernel confirms; its commands work again; nothing is left',
    figures: `${everywhere.length} points in the chart, ${seen.killed} deaths, 0 leaks; not passed in this run: ${seen.passed.join(', ') || 'none'}`,
    points: { drilled: everywhere.length - seen.passed.length, known: everywhere.length },
    where: ['test/drills/transitions.test.ts'],
  });
});

/** Through all of a container's life, in one order. */
async function live({ call, until }: Walker): Promise<void> {
  const create = (name: string, config: object): Promise<unknown> =>
    call('POST', `/containers/create?name=${name}`, { Image: daemon.image, ...config });
  const state = async (name: string): Promise<any> => (await call('GET', `/containers/${name}/json`)).State ?? {};

  await create('steady', {
    Cmd: ['sleep', '1000'],
    ExposedPorts: { '80/tcp': {} },
    HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '8080' }] } },
    Healthcheck: { Test: ['CMD', 'true'], Interval: 50_000_000 },
    Volumes: { '/data': {} },
  });
  await call('POST', '/containers/steady/start');
  await until(async () => (await state('steady')).Health?.Status === 'healthy');
  await call('POST', '/containers/steady/pause');
  await call('POST', '/containers/steady/unpause');
  await call('POST', '/containers/steady/stop?t=0');
  await call('POST', '/containers/steady/start');
  await call('POST', '/containers/steady/kill');
  await call('POST', '/containers/steady/wait');
  await call('DELETE', '/containers/steady?v=1');

  await create('sick', {
    Cmd: ['sleep', '1000'],
    Healthcheck: { Test: ['CMD', 'false'], Interval: 50_000_000, Retries: 1 },
  });
  await call('POST', '/containers/sick/start');
  await until(async () => (await state('sick')).Health?.Status === 'unhealthy');
  await call('DELETE', '/containers/sick?force=1');

  await create('plain', { Cmd: ['sleep', '1000'] });
  await call('POST', '/containers/plain/start');
  await call('DELETE', '/containers/plain?force=1');

  await create('bad', { Cmd: ['/nothing/here'] });
  await call('POST', '/containers/bad/start');
  await call('DELETE', '/containers/bad');

  await create('loop', { Cmd: ['false'], HostConfig: { RestartPolicy: { Name: 'always' } } });
  await call('POST', '/containers/loop/start');
  // Stopped once in its backoff, which grows with each end.
  await until(async () => (await state('loop')).Restarting && (await inspectRestarts()) >= 2);
  await call('POST', '/containers/loop/stop');
  await call('DELETE', '/containers/loop');

  async function inspectRestarts(): Promise<number> {
    return (await call('GET', '/containers/loop/json')).RestartCount ?? 0;
  }
}

/** Starts again: everything agrees with the kernel, commands can be repeated, nothing is left. */
async function recover(): Promise<void> {
  await daemon.restart();
  for (const { Id, Name, State } of await expectAgreement(daemon)) {
    // The caller of the interrupted command can repeat it.
    const command = State.Paused ? 'unpause' : 'start';
    const { status, text } = await daemon.api('POST', `/containers/${Id}/${command}`);
    if (Name !== '/bad') expect([204, 304, 409], `${Name} ${State.Status}: ${text}`).toContain(status);
  }
  await expectNothingLeft(daemon);
}

describe('a daemon killed at a transition of a container', () => {
  it('knows what to drill from the machine itself', () => {
    const names = points.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining(['created', 'exited.settling', 'running.process.paused', 'launch/end']),
    );
  });

  it.each([...chosen, ...rare])('killed $at: it recovers, its commands work again, nothing is left', async (point) => {
    const died = await killAt(daemon, textOf(point), live);
    if (died) seen.killed++;
    else seen.passed.push(point.at);
    expect(died || BY_CHANCE.test(point.name)).toBe(true);
    await recover();
  });

  it.each(inRecovery)('killed again $at, while it finds containers again: the third life is whole', async (point) => {
    // One that runs, and one whose start was cut off before anything of it ran.
    await daemon.restart();
    daemon.ok('run', '-d', '--name', 'runs', '-p', '8080:80', daemon.image, 'sleep', '1000');
    await daemon.kill();
    await killAt(daemon, 'after:transition:container:starting.creating', async ({ call }) => {
      await call('POST', '/containers/create?name=half', { Image: daemon.image, Cmd: ['sleep', '1000'] });
      await call('POST', '/containers/half/start');
    });
    const died = await killAt(daemon, textOf(point), async () => {});
    expect(died).toBe(true);
    seen.killed += 2;
    await recover();
  });
});
