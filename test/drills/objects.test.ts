/**
 * kill -9 at each transition and effect of what is not a container: execs, pulls, pushes, builds, networks, volumes. As for
 * containers, the list comes from their charts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AnyStateMachine } from 'xstate';
import { buildMachine } from '../../src/build/machine.ts';
import { execMachine } from '../../src/exec/machine.ts';
import { layerMachine } from '../../src/image/pull/layer-machine.ts';
import { pullMachine } from '../../src/image/pull/machine.ts';
import { pushedLayerMachine } from '../../src/image/push/layer-machine.ts';
import { pushMachine } from '../../src/image/push/machine.ts';
import { networkMachine } from '../../src/network/machine.ts';
import { volumeMachine } from '../../src/volume/machine.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { expectAgreement, expectNothingLeft, killAt, pointsOf, textOf, type Walker } from './support/kill.ts';
import { all, tell } from './support/table.ts';

/** Where the most is at stake: what `npm test` drills. */
const SAMPLE = [
  'exec after running',
  'pull before committing',
  'build before exporting',
  'volume after active.mounting',
];

const machines: Record<string, AnyStateMachine> = {
  exec: execMachine,
  pull: pullMachine,
  push: pushMachine,
  build: buildMachine,
  network: networkMachine({ make: async () => {}, unmake: async () => {} } as never),
  volume: volumeMachine,
};
/** The charts within pulls and pushes, one a layer: their steps are not told, their effects are. */
const inner = [...pointsOf('pull', layerMachine), ...pointsOf('push', pushedLayerMachine)].filter(
  ({ topic }) => topic === 'effect',
);
const points = Object.entries(machines)
  .flatMap(([kind, machine]) => pointsOf(kind, machine))
  .concat(inner);
const chosen = all ? points : points.filter(({ kind, at }) => SAMPLE.includes(`${kind} ${at}`));

let daemon: TestDaemon;
let context: string;
let unique: string;
let silent: ChildProcess;
let silentFile: string;
/** Registries: one takes connections and says nothing, at the other nobody listens. */
const SILENT = '127.0.0.1:5999';
const CLOSED = '127.0.0.1:5998';
const waiters = (): number => readFileSync(silentFile, 'utf8').length;
let killed = 0;

beforeAll(async () => {
  daemon = await startDaemon();
  context = join(daemon.directory, 'context');
  mkdirSync(context);
  unique = join(daemon.directory, 'unique');
  mkdirSync(unique);
  writeFileSync(join(unique, 'Dockerfile'), 'FROM scratch\nCOPY file /\n');
  writeFileSync(join(context, 'file'), 'content');
  writeFileSync(
    join(context, 'Dockerfile'),
    `FROM ${daemon.image} AS first\nRUN echo 1 >/one\nFROM ${daemon.image}\nCOPY --from=first /one /\nCOPY file /\n`,
  );
  writeFileSync(join(context, 'Failing'), `FROM ${daemon.image}\nRUN false\n`);
  writeFileSync(join(context, 'Sleeping'), `FROM ${daemon.image}\nRUN sleep 1000\n`);
  silentFile = join(daemon.directory, 'connections');
  writeFileSync(silentFile, '');
  const script = `require('net').createServer(() => fs.appendFileSync('${silentFile}', '.')).listen(5999, '127.0.0.1')`;
  silent = spawn('nsenter', [`--net=${daemon.netns}`, process.execPath, '-e', script], { stdio: 'ignore' });
  await daemon.terminate();
});
afterAll(async () => {
  silent?.kill();
  await daemon?.stop();
  tell({
    drill: 1,
    what: 'kill -9 at each transition and effect of execs, pulls, pushes, builds, networks and volumes',
    cases: killed,
    outcome:
      'the command can be repeated and ends well; no half image is listed; the image store is clean; nothing is left',
    figures: `${points.length} points in six charts and those of their layers, ${killed} deaths`,
    points: { drilled: killed, known: points.length },
    where: ['test/drills/objects.test.ts'],
  });
});

const pushed = (): string => daemon.image.replace('busybox:latest', 'copy:latest');

const walks: Record<string, (walker: Walker) => Promise<void>> = {
  async exec({ call }) {
    await call('POST', '/containers/create?name=host', { Image: daemon.image, Cmd: ['sleep', '1000'] });
    await call('POST', '/containers/host/start');
    for (const [Detach, ...Cmd] of [
      [false, 'true'],
      [false, '/nothing'],
      [true, 'sleep', '1000'],
    ]) {
      const { Id } = await call('POST', '/containers/host/exec', { Cmd, AttachStdout: !Detach });
      await call('POST', `/exec/${Id}/start`, { Detach });
      await call('GET', `/exec/${Id}/json`);
    }
    await call('DELETE', '/containers/host?force=1');
  },
  async pull({ call, docker, leave }) {
    // Another image would keep the layers.
    for (const { Id } of await call('GET', '/images/json?all=1')) await docker('rmi', '-f', Id);
    await docker('pull', '-q', daemon.image);
    await docker('pull', '-q', `${daemon.image}-that-is-not`);
    const from = waiters();
    await leave(['pull', `${SILENT}/copy`], () => waiters() > from, { kind: 'pull', state: 'cancelled' });
  },
  async push({ docker, leave }) {
    // A layer that the registry does not have.
    writeFileSync(join(unique, 'file'), randomBytes(1024));
    await docker('build', '-q', '-t', pushed(), unique);
    await docker('push', '-q', pushed());
    await docker('tag', daemon.image, `${CLOSED}/copy`);
    await docker('push', '-q', `${CLOSED}/copy`);
    await docker('tag', daemon.image, `${SILENT}/copy`);
    const from = waiters();
    await leave(['push', `${SILENT}/copy`], () => waiters() > from, { kind: 'push', state: 'cancelled' });
  },
  async build({ docker, leave }) {
    await docker('build', '-q', '--no-cache', '-t', 'built', context);
    await docker('build', '-q', '-f', join(context, 'Failing'), context);
    const sleeps = (said: string): boolean => said.includes('sleep 1000');
    await leave(['build', '-f', join(context, 'Sleeping'), context], sleeps, { kind: 'build', state: 'cancelled' });
  },
  async network({ call, until }) {
    await call('POST', '/networks/create', { Name: 'lost', Driver: 'macvlan', Options: { parent: 'nothing0' } });
    await call('POST', '/networks/create', { Name: 'net', Options: { 'com.docker.network.bridge.name': 'drill0' } });
    await call('POST', '/containers/create?name=member', {
      Image: daemon.image,
      Cmd: ['sleep', '1000'],
      HostConfig: { NetworkMode: 'net' },
    });
    await call('POST', '/containers/member/start');
    daemon.inside('ip', 'link', 'del', 'drill0');
    await until(async () => daemon.inside('ip', 'link', 'show', 'drill0').code === 0);
    await call('DELETE', '/containers/member?force=1');
    await call('DELETE', '/networks/net');
  },
  async volume({ call }) {
    // Where its directory should be is something else.
    writeFileSync(join(daemon.dataRoot, 'volumes', 'taken'), '');
    await call('POST', '/volumes/create', { Name: 'taken' });
    await call('POST', '/volumes/create', { Name: 'data', DriverOpts: { type: 'tmpfs', device: 'tmpfs' } });
    await call('POST', '/containers/create?name=user', {
      Image: daemon.image,
      Cmd: ['sleep', '1000'],
      HostConfig: { Binds: ['data:/data'] },
    });
    await call('POST', '/containers/user/start');
    await call('DELETE', '/containers/user?force=1');
    await call('DELETE', '/volumes/data');
  },
};

/** The same commands again, which now must end well. */
async function repeat(kind: string): Promise<void> {
  switch (kind) {
    case 'pull':
      daemon.ok('pull', '-q', daemon.image);
      return;
    case 'push':
      daemon.ok('push', '-q', pushed());
      return;
    case 'build':
      daemon.ok('build', '-q', '-t', 'built', context);
      daemon.ok('run', '--rm', 'built', 'cat', '/one', '/file');
      return;
    case 'network':
      daemon.docker('network', 'create', 'net');
      daemon.ok('run', '--rm', '--network', 'net', daemon.image, 'true');
      daemon.ok('network', 'rm', 'net');
      return;
    case 'volume':
      daemon.ok('run', '--rm', '-v', 'data:/data', daemon.image, 'touch', '/data/file');
      daemon.ok('volume', 'rm', 'data');
      return;
    default:
      daemon.docker('rm', '-f', 'host');
      daemon.ok('run', '-d', '--name', 'host', daemon.image, 'sleep', '1000');
      daemon.ok('exec', 'host', 'true');
  }
}

describe('a daemon killed at a transition', () => {
  it('is killed where the charts say', () => expect(chosen.length).toBeGreaterThanOrEqual(SAMPLE.length));

  it.each(chosen)('of its $kind, $at: the command can be repeated, nothing is left', async (point) => {
    const died = await killAt(daemon, textOf(point), walks[point.kind]!);
    rmSync(join(daemon.dataRoot, 'volumes', 'taken'), { force: true });
    expect(died).toBe(true);
    killed++;
    await daemon.restart();
    await expectAgreement(daemon);
    for (const { Id } of (await daemon.api<{ Id: string }[]>('GET', '/images/json')).json)
      expect((await daemon.api('GET', `/images/${Id}/json`)).status).toBe(200);
    await daemon.api('DELETE', '/containers/member?force=1');
    await daemon.api('DELETE', '/containers/user?force=1');
    await daemon.api('DELETE', '/networks/lost');
    await repeat(point.kind);
    await daemon.api('POST', '/volumes/prune?filters={"all":["true"]}');
    expect((await daemon.api('GET', '/volumes')).json.Volumes).toEqual([]);
    await expectNothingLeft(daemon);
  });
});
