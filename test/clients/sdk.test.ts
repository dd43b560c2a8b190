/** The SDKs that programs use: dockerode and docker-py, unchanged. */
import { once } from 'node:events';
import { PassThrough, type Readable } from 'node:stream';
import { join } from 'node:path';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { stopClean } from './stop-clean.ts';

let daemon: TestDaemon;
let docker: Docker;
beforeAll(async () => {
  daemon = await startDaemon();
  daemon.ok('tag', daemon.image, 'busybox');
  docker = new Docker({ socketPath: daemon.socket });
});
afterAll(() => stopClean(daemon));

const read = async (stream: NodeJS.ReadableStream): Promise<string> => {
  let text = '';
  for await (const chunk of stream as Readable) text += String(chunk);
  return text;
};

describe('dockerode', () => {
  test('runs a container and gets its two outputs apart', async () => {
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const outputs = Promise.all([read(stdout), read(stderr)]);
    const [{ StatusCode }, container] = (await docker.run(
      'busybox',
      ['sh', '-c', 'echo out; echo err >&2; exit 3'],
      [stdout, stderr],
      { Tty: false },
    )) as [{ StatusCode: number }, Docker.Container];
    stdout.end();
    stderr.end();
    expect([StatusCode, await outputs]).toEqual([3, ['out\n', 'err\n']]);
    await container.remove();
  });

  test('attaches with input, starts, and the half-close ends the input', async () => {
    const container = await docker.createContainer({
      Image: 'busybox',
      Cmd: ['wc', '-c'],
      OpenStdin: true,
      StdinOnce: true,
      Tty: false,
    });
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
    await container.start();
    const stdout = new PassThrough();
    container.modem.demuxStream(stream, stdout, stdout);
    stream.on('end', () => stdout.end());
    stream.write('12345');
    stream.end();
    expect((await read(stdout)).trim()).toBe('5');
    expect(await container.wait()).toMatchObject({ StatusCode: 0 });
    await container.remove();
  });

  test('execs, reads logs, statistics, files and events, and lists with filters', async () => {
    const since = Math.floor(Date.now() / 1000);
    const container = await docker.createContainer({
      name: 'node-box',
      Image: 'busybox',
      Cmd: ['sh', '-c', 'echo logged; sleep 100'],
      Labels: { sdk: 'node' },
    });
    await container.start();
    const exec = await container.exec({
      Cmd: ['sh', '-c', 'echo run; exit 5'],
      AttachStdout: true,
      AttachStderr: true,
      Tty: true,
    });
    const stream = await exec.start({ hijack: true, Tty: true });
    expect(await read(stream)).toBe('run\r\n');
    expect(await exec.inspect()).toMatchObject({ ExitCode: 5, Running: false });
    const logs = await container.logs({ stdout: true, follow: false });
    expect(String(logs)).toContain('logged\n');
    expect((await container.stats({ stream: false })).memory_stats.usage).toBeGreaterThan(0);
    expect((await read(await container.getArchive({ path: '/etc/passwd' }))).length).toBeGreaterThan(512);
    expect((await docker.listContainers({ filters: { label: ['sdk=node'] } })).map(({ Names }) => Names)).toEqual([
      ['/node-box'],
    ]);
    expect(await container.inspect()).toMatchObject({
      State: { Status: 'running' },
      Config: { Labels: { sdk: 'node' } },
    });
    await container.remove({ force: true });
    const events = await docker.getEvents({
      since,
      until: Math.ceil(Date.now() / 1000) + 1,
      filters: { container: ['node-box'] },
    } as Docker.GetEventsOptions);
    const actions = (await read(events))
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { Action: string }).Action);
    const life = ['create', 'start', 'kill', 'die', 'destroy'];
    expect(actions.filter((action) => life.includes(action))).toEqual(life);
    await expect(container.inspect()).rejects.toMatchObject({ statusCode: 404, reason: 'no such container' });
  });

  test('pulls with progress, and manages networks and volumes', async () => {
    const steps = await new Promise<{ status?: string }[]>((resolve, reject) => {
      docker.pull(daemon.image, (error: Error | null, stream: NodeJS.ReadableStream) => {
        if (error) return reject(error);
        docker.modem.followProgress(stream, (failed: Error | null, output: object[]) =>
          failed ? reject(failed) : resolve(output),
        );
      });
    });
    expect(steps.at(-1)!.status).toContain('Image is up to date');
    const network = await docker.createNetwork({ Name: 'sdk-net' });
    expect(await network.inspect()).toMatchObject({ Name: 'sdk-net', Driver: 'bridge' });
    await network.remove();
    await docker.createVolume({ Name: 'sdk-volume' });
    expect((await docker.listVolumes()).Volumes.map(({ Name }) => Name)).toEqual(['sdk-volume']);
    await docker.getVolume('sdk-volume').remove();
  });
});

test('a websocket attaches: input goes in, output comes back without frames', async () => {
  const { json } = await daemon.api<{ Id: string }>('POST', '/containers/create', {
    Image: 'busybox',
    Cmd: ['sh', '-c', 'read line; echo "got $line"'],
    OpenStdin: true,
    StdinOnce: true,
  });
  const path = `/v1.51/containers/${json.Id}/attach/ws?stream=1&stdin=1&stdout=1`;
  const socket = new WebSocket(`ws+unix://${daemon.socket}:${path}`);
  let text = '';
  socket.on('message', (data) => (text += String(data)));
  await once(socket, 'open');
  const closed = once(socket, 'close');
  await daemon.api('POST', `/containers/${json.Id}/start`);
  socket.send('hello\n');
  await closed;
  expect(text).toBe('got hello\n');
  await daemon.api('DELETE', `/containers/${json.Id}?force=1`);
});

test('docker-py does the same', () => {
  const done = daemon.inside('/usr/bin/python3', join(import.meta.dirname, 'sdk.py'), 'busybox');
  expect(done).toEqual({ code: 0, stdout: 'all is well\n', stderr: '' });
});
