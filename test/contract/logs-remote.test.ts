/** Drivers that send elsewhere, against real sockets: what arrives there, and what happens when nobody is there. */
import { createSocket } from 'node:dgram';
import { closeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { type Server, type Socket, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import koffi from 'koffi';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defaultConfig } from '../../src/config/defaults.ts';
import { createLogDrivers } from '../../src/logs/drivers.ts';
import type { LogInfo } from '../../src/logs/port.ts';
import { openJournald } from '../../src/logs/remote/journald.ts';
import { MessageWriter } from '../../src/logs/remote/writer.ts';
import { eventually } from '../support/eventually.ts';

const clock = { now: Date.now, after: () => () => {} };
const drivers = createLogDrivers({ config: defaultConfig, log: pino({ level: 'silent' }), clock });

/** Collects what comes to a unix socket; the connections can be cut. */
async function collect(path: string): Promise<{ bytes(): Buffer; cut(): void; server: Server }> {
  const chunks: Buffer[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('data', (chunk) => chunks.push(chunk as Buffer));
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return { bytes: () => Buffer.concat(chunks), cut: () => sockets.forEach((socket) => socket.destroy()), server };
}

/** A unix datagram socket that takes one message at a time; Node has none. */
function datagrams(path: string): { receive(): Buffer | undefined; close(): void } {
  const libc = koffi.load('libc.so.6');
  const address = Buffer.alloc(110);
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = 1;
  address.write(path, 2);
  const fd = libc.func('int socket(int, int, int)')(1, 2, 0) as number;
  if (libc.func('int bind(int, const void *, unsigned int)')(fd, address, address.length) !== 0)
    throw new Error(`bind ${path}`);
  const recv = libc.func('intptr_t recv(int, _Out_ void *, size_t, int)');
  const buffer = Buffer.alloc(65_536);
  return {
    receive() {
      const length = Number(recv(fd, buffer, buffer.length, 0x40));
      return length < 0 ? undefined : Buffer.from(buffer.subarray(0, length));
    },
    close: () => closeSync(fd),
  };
}

describe('log drivers that send', () => {
  let root: string;
  let info: LogInfo;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'logs-'));
    info = {
      containerId: 'c0ffee'.padEnd(64, '0'),
      name: '/web',
      imageId: `sha256:${'ab'.repeat(32)}`,
      imageName: 'shop:1',
      created: '2026-11-30T00:00:00Z',
      command: ['sh', '-c', 'true'],
      env: [],
      labels: { app: 'shop' },
      directory: join(root, 'container'),
    };
  });
  afterEach(() => rm(root, { recursive: true }));

  it('syslog: each line a message of RFC 5424, the streams told apart by severity', async () => {
    const path = join(root, 's');
    const { bytes, server } = await collect(path);
    const Config = {
      'syslog-address': `unix://${path}`,
      'syslog-format': 'rfc5424',
      'syslog-facility': 'local0',
      tag: '{{.Name}}',
    };
    const writer = await drivers.open({ Type: 'syslog', Config }, info);
    void writer.write('stdout', Buffer.from('one\n'));
    void writer.write('stderr', Buffer.from('two\n'));
    await writer.close();
    const lines = await eventually(() =>
      bytes().toString().split('\n').length === 3 ? bytes().toString().split('\n') : undefined,
    );
    expect(lines[0]).toMatch(/^<134>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S+ web \d+ web - one$/);
    expect(lines[1]).toMatch(/^<131>1 .* - two$/);
    server.close();
  });

  it('syslog: a server that comes again gets what was logged while its connection was cut', async () => {
    const path = join(root, 's');
    const { bytes, cut, server } = await collect(path);
    const writer = await drivers.open({ Type: 'syslog', Config: { 'syslog-address': `unix://${path}` } }, info);
    void writer.write('stdout', Buffer.from('before\n'));
    await eventually(() => bytes().includes('before'));
    cut();
    let sent = 0;
    await eventually(() => {
      void writer.write('stdout', Buffer.from(`after ${++sent}\n`));
      return bytes().includes('after');
    });
    await writer.close();
    server.close();
  });

  it('syslog: nobody there fails the start', async () => {
    const Config = { 'syslog-address': 'tcp://127.0.0.1:1' };
    await expect(drivers.open({ Type: 'syslog', Config }, info)).rejects.toThrow(
      /failed to initialize logging driver: dial/,
    );
  });

  it('fluentd: messages of its forward protocol', async () => {
    const path = join(root, 's');
    const { bytes, server } = await collect(path);
    const Config = {
      'fluentd-address': `unix://${path}`,
      labels: 'app',
      'fluentd-sub-second-precision': 'true',
      tag: 't.{{.ID}}',
    };
    const writer = await drivers.open({ Type: 'fluentd', Config }, info);
    void writer.write('stderr', Buffer.from('hello\n'));
    await writer.close();
    const message = await eventually(() => (bytes().length ? bytes() : undefined));
    // An array of four: tag (a string of 14), event time (fixed extension of 8, type 0), the record, the options.
    expect(message.subarray(0, 18)).toEqual(
      Buffer.concat([Buffer.from([0x94, 0xae]), Buffer.from('t.c0ffee000000'), Buffer.from([0xd7, 0])]),
    );
    const record = message.subarray(26).toString('latin1');
    expect(record).toContain('\xaccontainer_id\xd9\x40c0ffee');
    expect(record).toContain('\xaecontainer_name\xa4/web');
    expect(record).toContain('\xa3app\xa4shop');
    expect(record).toContain('\xa6source\xa6stderr\xa3log\xa5hello\x80');
    server.close();
  });

  it('gelf: one compressed datagram a line, and numbered chunks for a long one', async () => {
    const server = createSocket('udp4');
    const received: Buffer[] = [];
    server.on('message', (message) => received.push(message));
    await new Promise<void>((resolve) => server.bind(0, '127.0.0.1', resolve));
    const address = `udp://127.0.0.1:${server.address().port}`;
    const writer = await drivers.open({ Type: 'gelf', Config: { 'gelf-address': address } }, info);
    await writer.write('stdout', Buffer.from('hello\n'));
    const first = await eventually(() => received[0]);
    expect(JSON.parse(gunzipSync(first).toString())).toMatchObject({
      version: '1.1',
      short_message: 'hello',
      level: 6,
      _container_name: 'web',
      _image_name: 'shop:1',
      _command: 'sh -c true',
    });
    await writer.close();
    const plain = await drivers.open(
      { Type: 'gelf', Config: { 'gelf-address': address, 'gelf-compression-type': 'none' } },
      info,
    );
    await plain.write('stdout', Buffer.from(`${'x'.repeat(5_000)}\n`));
    const chunks = await eventually(() => (received.length === 5 ? received.slice(1) : undefined));
    expect(chunks.map((chunk) => [...chunk.subarray(0, 2), chunk[10], chunk[11]])).toEqual(
      [0, 1, 2, 3].map((index) => [0x1e, 0x0f, index, 4]),
    );
    const whole = Buffer.concat(chunks.map((chunk) => chunk.subarray(12)));
    expect(JSON.parse(whole.toString()).short_message).toBe('x'.repeat(5_000));
    await plain.close();
    server.close();
  });

  it('journald: fields in its native protocol, in order even when its queue is full', async () => {
    const path = join(root, 'journal');
    const journal = datagrams(path);
    const sink = await openJournald({ labels: 'app' }, info, path);
    const writer = new MessageWriter(sink, clock);
    const lines = Array.from({ length: 600 }, (_, index) => `line ${index}\n`).join('');
    void writer.write('stderr', Buffer.from(lines));
    const messages: string[] = [];
    await eventually(() => {
      for (let message = journal.receive(); message; message = journal.receive()) messages.push(message.toString());
      return messages.length === 600;
    });
    expect(messages[0]).toContain('PRIORITY=3\nMESSAGE=line 0\nCONTAINER_ID=c0ffee000000\n');
    expect(messages[0]).toContain('CONTAINER_NAME=web\n');
    expect(messages[0]).toContain('APP=shop\n');
    expect(messages.map((message) => Number(/MESSAGE=line (\d+)/.exec(message)![1]))).toEqual(
      Array.from({ length: 600 }, (_, index) => index),
    );
    await writer.close();
    journal.close();
  });
});
