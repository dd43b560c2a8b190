import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ContainerRecord } from '../../src/container/record.ts';
import { attachTo } from '../../src/container/attach.ts';
import type { ContainerCreate } from '../../src/generated/types/container-create.ts';
import { Client, containerHost } from '../support/container-host.ts';
import { eventually } from '../support/eventually.ts';

let host: Awaited<ReturnType<typeof containerHost>>;
beforeAll(async () => {
  host = await containerHost();
});
afterAll(() => host?.dispose());

const gone = new AbortController().signal;
const settled = (id: string): Promise<unknown> => eventually(() => host.state(id) === 'exited.settled');

/** Creates, starts, waits for the end. */
async function run(body: ContainerCreate): Promise<{ id: string; code: number }> {
  const { id } = await host.create(body);
  const ended = host.containers.wait(id, 'next-exit', gone);
  await host.containers.start(id);
  return { id, code: (await ended).StatusCode };
}

async function sleeper(body: ContainerCreate = {}): Promise<ContainerRecord> {
  const record = await host.create({ Cmd: ['sh', '-c', 'trap "exit 5" TERM; while :; do sleep 0.1; done'], ...body });
  await host.containers.start(record.id);
  return record;
}

const eventsOf = (id: string): string[] =>
  host.deps.facts.filter((fact) => fact.topic === 'event' && fact.id === id).map(({ action }) => action);

test('a container runs, its output is logged, its exit code is kept', async () => {
  const { id, code } = await run({ Cmd: ['sh', '-c', 'echo out; echo err >&2; id -u; exit 7'] });
  expect(code).toBe(7);
  await settled(id);
  expect((await host.logged(id)).split('\n').sort()).toEqual(['', '0', 'err', 'out']);
  await host.containers.remove(id, { force: false, volumes: false });
  expect(existsSync(join(host.deps.config.dataRoot, 'containers', id))).toBe(false);
});

test('a program that is not there is refused with 127, one that cannot be run with 126, and both can be started again', async () => {
  for (const [program, code] of [
    ['nothere', 127],
    ['/etc/passwd', 126],
  ] as const) {
    const { id } = await host.create({ Cmd: [program] });
    await expect(host.containers.start(id)).rejects.toMatchObject({ kind: 'invalid' });
    expect((await host.inspect(id)).State).toMatchObject({ Status: 'created', ExitCode: code, Running: false });
    await expect(host.containers.start(id)).rejects.toMatchObject({ kind: 'invalid' });
    await host.containers.remove(id, { force: false, volumes: false });
  }
});

test('stop sends the stop signal and waits; a deaf process is killed after its grace', async () => {
  const polite = await sleeper();
  await host.containers.stop(polite.id);
  expect((await host.inspect(polite.id)).State).toMatchObject({ Status: 'exited', ExitCode: 5 });
  expect(eventsOf(polite.id)).toEqual(['create', 'start', 'kill', 'die', 'stop']);
  await expect(host.containers.stop(polite.id)).rejects.toMatchObject({ kind: 'notModified' });
  const deaf = await sleeper({ Cmd: ['sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done'] });
  await host.containers.stop(deaf.id, { timeout: 0 });
  expect((await host.inspect(deaf.id)).State).toMatchObject({ Status: 'exited', ExitCode: 137 });
  expect(eventsOf(deaf.id)).toEqual(['create', 'start', 'kill', 'kill', 'die', 'stop']);
  await host.containers.restart(polite.id);
  expect((await host.inspect(polite.id)).State.Status).toBe('running');
  expect(eventsOf(polite.id).slice(-2)).toEqual(['start', 'restart']);
  await host.containers.remove(polite.id, { force: true, volumes: false });
  expect(eventsOf(polite.id).slice(-3)).toEqual(['kill', 'die', 'destroy']);
});

test('a paused container keeps its state, refuses what makes no sense, and goes on', async () => {
  const { id } = await sleeper();
  await host.containers.pause(id);
  expect((await host.inspect(id)).State).toMatchObject({ Status: 'paused', Running: true, Paused: true });
  await expect(host.containers.start(id)).rejects.toMatchObject({ kind: 'conflict' });
  expect(() => host.room.execs.check('nothing')).toThrow('No such exec instance');
  await host.containers.unpause(id);
  expect((await host.inspect(id)).State).toMatchObject({ Status: 'running', Paused: false });
  await host.containers.pause(id);
  await host.containers.kill(id);
  expect((await host.inspect(id)).State).toMatchObject({ Status: 'exited', ExitCode: 137 });
});

test('a client that attached before the start sees everything, and its half-close ends the input', async () => {
  const { id } = await host.create({ Cmd: ['cat'], OpenStdin: true, StdinOnce: true, AttachStdin: true });
  const client = new Client();
  const attached = attachTo(host.room.effects, host.containers.resolve(id), {
    stdin: true,
    stdout: true,
    stderr: true,
    logs: false,
    stream: true,
  });
  const served = attached.serve(client);
  const ended = host.containers.wait(id, 'next-exit', gone);
  await host.containers.start(id);
  client.type('hello\n');
  client.hangUp();
  expect(await ended).toEqual({ StatusCode: 0 });
  await served;
  expect(client.received).toBe('\x01\0\0\0\0\0\0\x06hello\n');
});

test('a terminal has a size, and its detach keys leave the process alone', async () => {
  const { id } = await host.create({ Cmd: ['sh'], Tty: true, OpenStdin: true });
  const client = new Client();
  const options = { stdin: true, stdout: true, stderr: true, logs: false, stream: true };
  const served = attachTo(host.room.effects, host.containers.resolve(id), options).serve(client);
  await host.containers.start(id);
  await host.containers.resize(id, { height: 33, width: 99 });
  client.type('stty size\n');
  await eventually(() => client.received.includes('33 99'));
  client.type('\x10\x11');
  await served;
  expect((await host.inspect(id)).State.Status).toBe('running');
  await host.containers.remove(id, { force: true, volumes: false });
});

test('an exec runs with its own user, folder and variables, and its exit code is kept', async () => {
  const { id } = await sleeper();
  const base = {
    tty: false,
    attachStdin: true,
    attachStdout: true,
    attachStderr: true,
    detachKeys: '',
    privileged: false,
  };
  const exec = host.room.execs.create(id, {
    ...base,
    command: ['sh', '-c', 'read line; echo "$line $COLOR $(pwd) $(id -u)"; exit 4'],
    env: ['COLOR=blue'],
    user: '65534:65534',
    workingDir: '/tmp',
  });
  expect((await host.inspect(id)).ExecIDs).toEqual([exec]);
  const client = new Client();
  client.type('word\n');
  await host.room.execs.serve(exec, client);
  expect(client.received).toContain('word blue /tmp 65534\n');
  await eventually(() => host.room.execs.inspect(exec).exitCode === 4);
  await expect(host.room.execs.start(exec)).rejects.toMatchObject({ kind: 'conflict' });
  const broken = host.room.execs.create(id, { ...base, command: ['nothere'], env: [], user: '', workingDir: '' });
  await expect(host.room.execs.start(broken)).rejects.toThrow('executable file not found');
  expect(host.room.execs.inspect(broken)).toMatchObject({ running: false, exitCode: 127 });
  const long = host.room.execs.create(id, { ...base, command: ['sleep', '1000'], env: [], user: '', workingDir: '' });
  await host.room.execs.start(long);
  await host.containers.kill(id);
  await eventually(() => host.room.execs.inspect(long).exitCode === 137);
  expect((await host.inspect(id)).ExecIDs).toBeNull();
});

test('health checks run in the container and change its health once', async () => {
  const { id } = await sleeper({
    Healthcheck: { Test: ['CMD-SHELL', 'test -f /tmp/fine && echo good'], Interval: 50_000_000, Retries: 2 },
  });
  await eventually(async () => (await host.inspect(id)).State.Health?.Status === 'unhealthy');
  const exec = host.room.execs.create(id, {
    tty: false,
    attachStdin: false,
    attachStdout: false,
    attachStderr: false,
    detachKeys: '',
    privileged: false,
    command: ['touch', '/tmp/fine'],
    env: [],
    user: '',
    workingDir: '',
  });
  await host.room.execs.start(exec);
  await eventually(async () => (await host.inspect(id)).State.Health?.Status === 'healthy');
  const { Log, FailingStreak } = (await host.inspect(id)).State.Health;
  expect(FailingStreak).toBe(0);
  expect(Log.at(-1)).toMatchObject({ ExitCode: 0, Output: 'good\n' });
  expect(eventsOf(id).filter((action) => action.startsWith('health_status'))).toEqual([
    'health_status: unhealthy',
    'health_status: healthy',
  ]);
  await host.containers.remove(id, { force: true, volumes: false });
});

test('the restart policy counts, and a container with AutoRemove leaves nothing', async () => {
  const flaky = await host.create({
    Cmd: ['sh', '-c', 'exit 9'],
    HostConfig: { RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 2 } },
  });
  await host.containers.start(flaky.id);
  await settled(flaky.id);
  expect(await host.inspect(flaky.id)).toMatchObject({ RestartCount: 2, State: { Status: 'exited', ExitCode: 9 } });
  expect(eventsOf(flaky.id)).toEqual(['create', 'start', 'die', 'start', 'die', 'start', 'die']);
  const passing = await host.create({ Cmd: ['true'], Volumes: { '/data': {} }, HostConfig: { AutoRemove: true } });
  const removed = host.containers.wait(passing.id, 'removed', gone);
  await host.containers.start(passing.id);
  expect(await removed).toEqual({ StatusCode: 0 });
  expect(host.record(passing.id)).toBeUndefined();
  expect(host.volumes.find(passing.mounts[0]!.name)).toBeUndefined();
  expect(await host.rootfs.list()).not.toContain(passing.id);
});

test('a process that takes too much memory is killed, and told as out of memory', async () => {
  const { id, code } = await run({ Cmd: ['tail', '/dev/zero'], HostConfig: { Memory: 16 << 20 } });
  expect(code).toBe(137);
  await settled(id);
  await eventually(async () => (await host.inspect(id)).State.OOMKilled === true);
  expect(eventsOf(id)).toEqual(expect.arrayContaining(['start', 'oom', 'die']));
});

test('a volume keeps files, a bind shows the host’s, and limits can be changed while it runs', async () => {
  const first = await run({ Cmd: ['sh', '-c', 'echo kept > /data/file'], HostConfig: { Binds: ['vol1:/data'] } });
  expect(first.code).toBe(0);
  const second = await host.create({
    Cmd: ['sh', '-c', 'cat /data/file /host/etc/hostname; sleep 1000'],
    HostConfig: { Binds: ['vol1:/data:ro', '/:/host:ro'] },
  });
  await host.containers.start(second.id);
  await eventually(async () => (await host.logged(second.id)).startsWith('kept\n'));
  await host.containers.update(second.id, { CpuShares: 512 });
  expect((await host.inspect(second.id)).HostConfig.CpuShares).toBe(512);
  expect(await host.inspect(second.id)).toMatchObject({
    Mounts: expect.arrayContaining([expect.objectContaining({ Type: 'volume', Name: 'vol1', RW: false })]),
  });
  await host.containers.remove(second.id, { force: true, volumes: false });
});

test('killed and started again, the daemon finds what ran, what ended and what was to start', async () => {
  const living = await sleeper();
  const paused = await sleeper();
  await host.containers.pause(paused.id);
  const ending = await host.create({ Cmd: ['sh', '-c', 'while [ ! -f /tmp/go ]; do sleep 0.05; done; exit 6'] });
  await host.containers.start(ending.id);
  const pid = (await host.inspect(ending.id)).State.Pid as number;
  await host.reboot(() => {
    writeFileSync(`/proc/${pid}/root/tmp/go`, '');
    return eventually(() => !existsSync(`/proc/${pid}/root/bin/busybox`));
  });
  expect((await host.inspect(living.id)).State).toMatchObject({ Status: 'running', Pid: expect.any(Number) });
  expect((await host.inspect(paused.id)).State.Status).toBe('paused');
  await settled(ending.id);
  expect((await host.inspect(ending.id)).State).toMatchObject({ Status: 'exited', ExitCode: 6 });
  expect(eventsOf(ending.id).filter((action) => action === 'die')).toHaveLength(1);
  await host.containers.stop(living.id);
  expect((await host.inspect(living.id)).State.ExitCode).toBe(5);
  await host.containers.stop(paused.id);
  expect((await host.inspect(paused.id)).State.ExitCode).toBe(5);
});

test('nothing is left in the runtime after all ended', async () => {
  for (const { id } of [...host.containers.all()]) await host.containers.remove(id, { force: true, volumes: true });
  expect(readdirSync(join(host.deps.config.execRoot, 'containers'))).toEqual([]);
  expect(await host.rootfs.list()).toEqual([]);
});
