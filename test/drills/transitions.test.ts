/**
 * kill -9 exactly at a transition or an effect of a container, before and after it is durable, for every one that its chart has: the list
 * comes from the machine itself. `npm test` runs a part; DRILLS=all runs every one.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { containerMachine } from '../../src/container/machine.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import {
  expectAgreement,
  expectNothingLeft,
  killAt,
  type Point,
  pointsOf,
  textOf,
  type Walker,
} from './support/kill.ts';
import { part, tell } from './support/table.ts';

/** While a daemon finds its containers again: a second death. */
const IN_RECOVERY = /^(restoring\.|adopt\/)/;
/** Passed when an exit comes after the answer to the kill, as it mostly does: these may walk more than once. */
const MOSTLY = /^stopping\.dying$/;
const WALKS = 5;

const everywhere = pointsOf('container', containerMachine);
const isRecovery = ({ name }: Point): boolean => IN_RECOVERY.test(name);
const chosen = part(
  everywhere.filter((point) => !isRecovery(point)),
  6,
);
const inRecovery = part(everywhere.filter(isRecovery), 1);

let daemon: TestDaemon;
/** While this file is there, no rule of the firewall is written. */
let held: string;
const seen = { drilled: 0, deaths: 0 };
beforeAll(async () => {
  const tools = mkdtempSync(join(tmpdir(), 'reactord-tools-'));
  held = join(tools, 'held');
  const nft = `#!/bin/sh\nwhile [ -e ${held} ]; do sleep 0.01; done\nPATH=\${PATH#*:} exec nft "$@"\n`;
  writeFileSync(join(tools, 'nft'), nft, { mode: 0o755 });
  daemon = await startDaemon({ env: { PATH: `${tools}:${process.env.PATH}` } });
  await daemon.terminate();
});
afterAll(async () => {
  await daemon?.stop();
  rmSync(dirname(held), { recursive: true, force: true });
  tell({
    drill: 1,
    what: 'kill -9 at each transition and effect of a container',
    cases: seen.deaths,
    outcome:
      'every container in a state of its chart that the kernel confirms; its commands work again; nothing is left',
    figures: `${everywhere.length} points in the chart, ${seen.deaths} deaths, 0 leaks`,
    points: { drilled: seen.drilled, known: everywhere.length },
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
  await waitingForNetwork('steady');
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

  await create('stuck', {});
  await whatStays('stuck', async () => {
    await call('DELETE', '/containers/stuck');
  });
  await call('DELETE', '/containers/stuck');

  /** All but its network is there when its start goes on. */
  async function waitingForNetwork(name: string): Promise<void> {
    writeFileSync(held, '');
    try {
      const started = call('POST', `/containers/${name}/start`);
      started.catch(() => {});
      await until(
        async () => (await call('GET', `/reactord/actors/container/${name}`)).state === 'starting.networking',
      );
      rmSync(held);
      await started;
    } finally {
      rmSync(held, { force: true });
    }
  }

  /** Something is mounted in its writable layer, which therefore cannot be removed. */
  async function whatStays(name: string, work: () => Promise<void>): Promise<void> {
    const { UpperDir } = (await call('GET', `/containers/${name}/json`)).GraphDriver.Data;
    const inUse = join(UpperDir, 'in-use');
    mkdirSync(inUse);
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', inUse]);
    try {
      await work();
    } finally {
      // By then it may have another place.
      spawnSync('sh', ['-c', `grep -o ' ${daemon.dataRoot}[^ ]*/in-use ' /proc/self/mounts | xargs -r umount`]);
    }
  }

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
    const names = everywhere.map(({ name }) => name);
    const some = ['created', 'exited.settling', 'running.process.paused', 'launch/end', 'probes/stop', 'dead'];
    expect(names).toEqual(expect.arrayContaining(some));
    expect(names).not.toContain('restoring.deciding');
  });

  it.each(chosen)('killed $at: it recovers, its commands work again, nothing is left', async (point) => {
    let died = await killAt(daemon, textOf(point), live);
    for (let walks = 1; !died && walks < WALKS && MOSTLY.test(point.name); walks++)
      died = await killAt(daemon, textOf(point), live);
    expect(died).toBe(true);
    seen.drilled++;
    seen.deaths++;
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
    expect(await killAt(daemon, textOf(point), async () => {})).toBe(true);
    seen.drilled++;
    seen.deaths += 2;
    await recover();
  });
});
