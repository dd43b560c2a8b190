/** Every method that dockerode and docker-py have for containers and execs, each at least once: a new one wants a case. */
import { PassThrough, type Readable } from 'node:stream';
import { join } from 'node:path';
import Docker from 'dockerode';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { stopClean } from './stop-clean.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
  daemon.ok('tag', daemon.image, 'busybox');
});
afterAll(() => stopClean(daemon));

const used = new Set<string>();
/** The same object, whose methods are noted as they are called. */
const noted = <T extends object>(of: T): T =>
  new Proxy(of, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value === 'function') used.add(`${target.constructor.name}.${String(name)}`);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
const methodsOf = (of: object): string[] =>
  Object.getOwnPropertyNames(Object.getPrototypeOf(of))
    .filter((name) => name !== 'constructor')
    .map((name) => `${of.constructor.name}.${name}`);
const bytes = async (stream: NodeJS.ReadableStream): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as Readable) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
};

test('dockerode: every method of a container and of an exec', async () => {
  const docker = new Docker({ socketPath: daemon.socket });
  const made = await docker.createContainer({
    name: 'first',
    Image: 'busybox',
    Cmd: ['sh', '-c', 'trap "exit 7" TERM; echo ready; while :; do usleep 20000; done'],
    Tty: true,
  });
  const box = noted(made);
  const attached = await box.attach({ stream: true, stdout: true, hijack: true });
  let heard = '';
  attached.on('data', (chunk) => (heard += String(chunk)));
  await box.start();
  await eventually(() => heard.includes('ready'));
  await box.resize({ h: 30, w: 100 });
  await box.rename({ name: 'second' });
  await box.update({ Memory: 64 << 20, MemorySwap: -1 });
  expect(await box.inspect()).toMatchObject({ Name: '/second', HostConfig: { Memory: 64 << 20 } });
  expect((await box.top({ ps_args: '-o pid,args' })).Titles).toEqual(['PID', 'COMMAND']);
  await box.pause();
  expect((await box.inspect()).State.Status).toBe('paused');
  await box.unpause();

  const files = pack();
  files.entry({ name: 'note' }, 'text');
  files.finalize();
  await box.putArchive(files as unknown as NodeJS.ReadableStream, { path: '/tmp' });
  const info = await box.infoArchive({ path: '/tmp/note' });
  const stat = JSON.parse(Buffer.from(String(info.headers['x-docker-container-path-stat']), 'base64').toString());
  expect(stat).toMatchObject({ name: 'note', size: 4 });
  expect(String(await bytes(await box.getArchive({ path: '/tmp/note' })))).toContain('text');
  expect(await box.changes()).toContainEqual({ Path: '/tmp/note', Kind: 1 });
  expect((await bytes(await box.export())).length).toBeGreaterThan(100_000);
  const image = await box.commit({ repo: 'noted', tag: '1', comment: 'by dockerode', pause: 'false' } as object);
  expect(image.Id).toMatch(/^sha256:/);
  await docker.getImage('noted:1').remove();

  const exec = noted(await box.exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true, Tty: true }));
  const talk = await exec.start({ hijack: true, stdin: true, Tty: true });
  let said = '';
  talk.on('data', (chunk) => (said += String(chunk)));
  await exec.resize({ h: 10, w: 20 });
  talk.write('hello\n');
  await eventually(() => said.includes('hello'));
  talk.end('\x04');
  await eventually(async () => (await exec.inspect()).ExitCode === 0);

  const samples = (await box.stats({ stream: true })) as unknown as Readable;
  expect(JSON.parse(String((await samples[Symbol.asyncIterator]().next()).value)).name).toBe('/second');
  samples.destroy();
  const follower = await box.logs({ follow: true, stdout: true, stderr: true, tail: 1 });
  const ended = box.wait();
  await box.stop({ t: 5 });
  expect(await ended).toMatchObject({ StatusCode: 7 });
  expect(String(await bytes(follower as unknown as NodeJS.ReadableStream))).toContain('ready');
  await box.restart({ t: 0 });
  await box.kill({ signal: 'SIGKILL' });
  expect(await box.wait({ condition: 'not-running' } as object)).toMatchObject({ StatusCode: 137 });

  // Without types of their own; the last is gone from the API since 1.24.
  const untyped = box as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
  expect(await untyped.listCheckpoint!()).toEqual([]);
  await expect(untyped.createCheckpoint!({ checkpointId: 'c' })).rejects.toMatchObject({ statusCode: 501 });
  await expect(untyped.deleteCheckpoint!('c', {})).rejects.toMatchObject({ statusCode: 501 });
  await expect(untyped.copy!({ Resource: '/etc/passwd' })).rejects.toMatchObject({ statusCode: 404 });
  await box.remove({ v: true });
  await expect(box.inspect()).rejects.toMatchObject({ statusCode: 404 });

  const [{ StatusCode }] = (await docker.run('busybox', ['true'], new PassThrough())) as [{ StatusCode: number }];
  expect(StatusCode).toBe(0);
  expect((await docker.pruneContainers()).ContainersDeleted).toHaveLength(1);
  expect(await docker.listContainers({ all: true })).toEqual([]);
  expect([...methodsOf(made), ...methodsOf(docker.getExec('x'))].filter((name) => !used.has(name))).toEqual([]);
});

test('docker-py: every method of its containers', () => {
  const done = daemon.inside('/usr/bin/python3', join(import.meta.dirname, 'sdk_containers.py'), 'busybox');
  expect(done).toEqual({ code: 0, stdout: 'all is well\n', stderr: '' });
});
