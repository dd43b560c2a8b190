import { afterEach, expect, test, vi } from 'vitest';
import { conflict, internal } from '../../src/errors.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { containerWorld } from '../support/container-world.ts';
import { eventually } from '../support/eventually.ts';

vi.setConfig({ testTimeout: 30_000 });

let world: Awaited<ReturnType<typeof containerWorld>>;
afterEach(() => world.dispose());

const gone = new AbortController().signal;

test('a run gives its events in dockerd’s order, and inspect follows each step', async () => {
  world = await containerWorld();
  const { id } = await world.create({}, 'web');
  expect(await world.inspect('web')).toMatchObject({ Name: '/web', State: { Status: 'created', Running: false } });
  const ended = world.containers.wait(id, 'next-exit', gone);
  await world.containers.start(id);
  expect((await world.inspect(id)).State).toMatchObject({ Status: 'running', Running: true, ExitCode: 0 });
  world.runtime.exit(id, 3);
  expect(await ended).toEqual({ StatusCode: 3 });
  await eventually(() => world.state(id) === 'exited.settled');
  expect((await world.inspect(id)).State).toMatchObject({ Status: 'exited', ExitCode: 3, Pid: 0 });
  await world.containers.remove(id, { force: false, volumes: false });
  expect(world.events()).toEqual([
    'container create',
    'network connect',
    'container start',
    'container die',
    'network disconnect',
    'container destroy',
  ]);
  expect(world.record(id)).toBeUndefined();
  expect(world.deps.reactor.get('container', id)).toBeUndefined();
});

const state = async (id: string): Promise<Record<string, any>> =>
  (await world.inspect(id)).State as Record<string, any>;
const eventsOf = (id: string): string[] =>
  world.deps.facts.filter((fact) => fact.topic === 'event' && fact.id === id).map(({ action }) => action);

test('names are unique, looked up with and without slash and by id prefix, and free again after removal', async () => {
  world = await containerWorld();
  const { id } = await world.create({}, 'web');
  await expect(world.create({}, '/web')).rejects.toMatchObject({
    kind: 'conflict',
    message: expect.stringContaining(`The container name "/web" is already in use by container "${id}"`),
  });
  expect(world.containers.resolve(id.slice(0, 5)).name).toBe('web');
  expect(world.containers.resolve('/web').id).toBe(id);
  await world.containers.rename('web', 'other');
  expect(() => world.containers.resolve('web')).toThrow('No such container: web');
  await world.containers.remove('other', { force: false, volumes: false });
  await world.create({}, 'other');
  await expect(world.containers.create({ Image: 'nothing' })).rejects.toMatchObject({ kind: 'notFound' });
});

test('a port that is taken leaves the container created and nothing else', async () => {
  world = await containerWorld();
  const { id } = await world.create();
  world.calls.failNext('networks.open', conflict('Bind for 0.0.0.0:8080 failed: port is already allocated'));
  await expect(world.containers.start(id)).rejects.toThrow('port is already allocated');
  expect(await state(id)).toMatchObject({ Status: 'created', ExitCode: 128, Running: false });
  expect(world.runtime.task(id)).toBeUndefined();
  await world.containers.start(id);
  expect((await state(id)).Status).toBe('running');
});

test('what fails in a creation leaves no name, no root and no volume', async () => {
  world = await containerWorld();
  world.calls.failNext('rootfs.prepare', internal('disk full'));
  await expect(world.create({ Volumes: { '/data': {} } }, 'web')).rejects.toThrow('disk full');
  expect(world.calls.seen).toContain('volumes.remove');
  expect(world.calls.seen).toContain('rootfs.remove');
  await world.create({}, 'web');
});

test('a container with AutoRemove whose start fails is removed', async () => {
  world = await containerWorld();
  const { id } = await world.create({ HostConfig: { AutoRemove: true } });
  world.runtime.failNext('start', internal('exec: "x": executable file not found in $PATH'));
  await expect(world.containers.start(id)).rejects.toMatchObject({ kind: 'invalid' });
  await eventually(() => world.record(id) === undefined);
});

test('a failed start is tried again when its label says so', async () => {
  world = await containerWorld();
  const { id } = await world.create({
    Labels: { 'io.reactord.start.retries': '1', 'io.reactord.restart.first-delay': '1' },
  });
  world.runtime.failNext('create', internal('the device is busy'));
  await world.containers.start(id);
  expect(await state(id)).toMatchObject({ Status: 'running', Error: '' });
  expect(eventsOf(id)).toEqual(['create', 'start']);
});

test('out of memory is told before the end, and the flag stays', async () => {
  world = await containerWorld();
  const { id } = await world.create();
  await world.containers.start(id);
  world.runtime.oom(id);
  world.runtime.exit(id, 137);
  await eventually(() => world.state(id) === 'exited.settled');
  expect(await state(id)).toMatchObject({ OOMKilled: true, ExitCode: 137 });
  expect(eventsOf(id)).toEqual(['create', 'start', 'oom', 'die']);
});

test('a stuck runtime blocks nobody: reads answer, the other container goes on, the stop waits its time', async () => {
  const clock = new ManualClock();
  world = await containerWorld({ clock });
  const stuck = await world.create({}, 'stuck');
  const other = await world.create({}, 'other');
  await world.containers.start(stuck.id);
  const release = world.runtime.hangNext('kill');
  const stopping = world.containers.stop(stuck.id, { timeout: 5 });
  expect(await state(stuck.id)).toMatchObject({ Status: 'running', Running: true });
  await world.containers.start(other.id);
  await expect(world.containers.pause(stuck.id)).rejects.toThrow('it is stopping');
  release();
  await stopping;
  expect(await state(stuck.id)).toMatchObject({ Status: 'exited', ExitCode: 143 });
});

test('the policy waits its backoff; a start by hand refuses, a stop calls it off', async () => {
  const clock = new ManualClock();
  world = await containerWorld({ clock });
  const { id } = await world.create({ HostConfig: { RestartPolicy: { Name: 'always' } } });
  await world.containers.start(id);
  world.runtime.exit(id, 1);
  await eventually(() => world.state(id) === 'restarting.waiting');
  expect(await state(id)).toMatchObject({ Status: 'restarting', Restarting: true, Running: true });
  await expect(world.containers.start(id)).rejects.toMatchObject({ kind: 'notModified' });
  clock.advance(100);
  await eventually(async () => (await state(id)).Status === 'running');
  expect((await world.inspect(id)).RestartCount).toBe(1);
  world.runtime.exit(id, 1);
  await eventually(() => world.state(id) === 'restarting.waiting');
  await world.containers.stop(id);
  expect((await state(id)).Status).toBe('exited');
  expect(clock.pending).toBeLessThan(2);
});

test('an unhealthy container is restarted when its label says so', async () => {
  world = await containerWorld({ fake: { program: ({ execId, exit }) => (execId ? exit(1) : undefined) } });
  const { id } = await world.create({
    Labels: { 'io.reactord.restart.on-unhealthy': 'true' },
    Healthcheck: { Test: ['CMD', 'probe'], Interval: 5_000_000, Retries: 1 },
  });
  await world.containers.start(id);
  await eventually(() => eventsOf(id).includes('restart'));
  expect(eventsOf(id).filter((action) => !action.startsWith('exec'))).toEqual(
    expect.arrayContaining(['health_status: unhealthy', 'die', 'restart']),
  );
});

test('a resize that comes before its exec runs waits for it, and for one that has ended is refused', async () => {
  world = await containerWorld();
  const { id } = await world.create();
  await world.containers.start(id);
  const { execs } = world.room;
  const config = {
    ...{ tty: true, attachStdin: false, attachStdout: false, attachStderr: false, detachKeys: '', env: [] },
    ...{ command: ['sh'], privileged: false, user: '', workingDir: '' },
  };
  const exec = execs.create(id, config);
  const resized = execs.resize(exec, { width: 80, height: 24 });
  await execs.start(exec);
  await resized;
  world.runtime.exit(id, 0);
  await eventually(() => world.state(id) === 'exited.settled');
  await expect(execs.resize(exec, { width: 80, height: 24 })).rejects.toThrow(/is not running|No such exec/);
});

test('who shares a container’s network follows its restart', async () => {
  world = await containerWorld();
  const parent = await world.create({}, 'parent');
  const child = await world.create({ HostConfig: { NetworkMode: 'container:parent' } }, 'child');
  expect(child.hostConfig.NetworkMode).toBe(`container:${parent.id}`);
  await world.containers.start(parent.id);
  await world.containers.start(child.id);
  await world.containers.restart(parent.id);
  await eventually(() => eventsOf(child.id).filter((action) => action === 'start').length === 2);
  await eventually(async () => (await state(child.id)).Status === 'running');
});

test('killed at any time, the room finds its containers again', async () => {
  world = await containerWorld();
  const running = await world.create({}, 'running');
  const lost = await world.create({ HostConfig: { RestartPolicy: { Name: 'on-failure' } } }, 'lost');
  const starting = await world.create({}, 'starting');
  const kept = await world.create({ HostConfig: { RestartPolicy: { Name: 'unless-stopped' } } }, 'kept');
  for (const { id } of [running, lost, kept]) await world.containers.start(id);
  await world.containers.stop(kept.id);
  const release = world.runtime.hangNext('create');
  const cut = world.containers.start(starting.id);
  cut.catch(() => {});
  await eventually(() => world.state(starting.id) === 'starting.creating');
  world.runtime.loseShim(lost.id);
  await world.reboot();
  release();
  expect(await state(running.id)).toMatchObject({ Status: 'running' });
  await eventually(async () => (await state(starting.id)).Status === 'created');
  await eventually(async () => (await state(lost.id)).Status === 'running');
  expect((await state(kept.id)).Status).toBe('exited');
  expect(eventsOf(lost.id).filter((action) => action === 'die')).toHaveLength(1);
});

test('a container that is not found again yet says so; one made and started meanwhile is not recovered itself', async () => {
  world = await containerWorld();
  const old = await world.create({}, 'old');
  await world.containers.start(old.id);
  const fresh: { id?: string } = {};
  const listed = async (containers: typeof world.containers): Promise<[string, boolean][]> => {
    const text = await containers.list({ all: true, limit: 0, filters: new Map() }, false);
    const all = JSON.parse(text) as { Names: string[]; Status: string }[];
    return all
      .map(({ Names, Status }) => [Names[0]!.slice(1), Status.endsWith(' (recovering)')] as [string, boolean])
      .sort();
  };
  let early: [string, boolean][] = [];
  await world.reboot(async ({ containers }) => {
    early = await listed(containers);
    fresh.id = (await containers.create({ Image: 'busybox' }, { name: 'fresh' })).Id;
    const stopped = containers.stop('old');
    void containers.start(fresh.id);
    return stopped;
  });
  await eventually(async () => (await state(fresh.id!)).Status === 'running');
  await eventually(async () => (await state(old.id)).Status === 'exited');
  expect(eventsOf(fresh.id!)).toEqual(['create', 'start']);
  expect(early).toEqual([['old', true]]);
  expect(await listed(world.containers)).toEqual([
    ['fresh', false],
    ['old', false],
  ]);
});
