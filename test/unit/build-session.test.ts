/** What the daemon asks of a client over its session, between a real gRPC client and server on a socket pair. */
import fs from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { clientServices, credentials, uploaded } from '../../src/build/buildkit/client-services.ts';
import { type PacketInit, sendTree } from '../../src/build/buildkit/file-send.ts';
import { receiveDirectory, takeDirectory } from '../../src/build/buildkit/file-sync.ts';
import { goModeOf } from '../../src/build/buildkit/file-mode.ts';
import { type Session, Sessions } from '../../src/build/buildkit/sessions.ts';
import { Texts } from '../../src/build/buildkit/texts.ts';
import { GrpcServer } from '../../src/build/grpc/server.ts';
import { Queue } from '../../src/build/queue.ts';
import { invalid, notFound } from '../../src/errors.ts';
import { Secrets } from '../../src/generated/proto/buildkit/secrets_pb.ts';
import { Auth, FileSync } from '../../src/generated/proto/buildkit/session_pb.ts';
import { SSH } from '../../src/generated/proto/buildkit/ssh_pb.ts';
import { Upload } from '../../src/generated/proto/buildkit/upload_pb.ts';
import { Packet_PacketType as Type, type Stat } from '../../src/generated/proto/fsutil/wire_pb.ts';
import { systemClock } from '../../src/lib/clock.ts';

const METHODS = [
  '/moby.filesync.v1.FileSync/DiffCopy', '/moby.filesync.v1.Auth/Credentials', '/moby.buildkit.secrets.v1.Secrets/GetSecret', '/moby.sshforward.v1.SSH/CheckAgent',
].join(','); // prettier-ignore

let directory: string;
const release: (() => void)[] = [];
const { signal } = new AbortController();

beforeEach(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'build-session-'));
});
afterEach(() => {
  for (const step of release.splice(0).reverse()) step();
  fs.rmSync(directory, { recursive: true, force: true });
});

/** A session whose client serves what `server` serves. */
async function open(server: GrpcServer): Promise<Session> {
  const listener = createServer((socket) => void server.serve(socket));
  const path = join(directory, 'session.sock');
  await new Promise<void>((resolve) => listener.listen(path, resolve));
  const sessions = new Sessions(systemClock);
  const socket = await new Promise<Socket>((resolve) => {
    const made = connect(path, () => resolve(made));
  });
  release.push(() => (socket.destroy(), listener.close()));
  const waiting = sessions.get('prefix:id', signal);
  void sessions.serve(socket, { 'x-docker-expose-session-uuid': 'id', 'x-docker-expose-session-grpc-method': METHODS });
  return waiting;
}

const silent = () => new GrpcServer(pino({ level: 'silent' }));

test('credentials by the name the client knows the registry by, and identity tokens', async () => {
  const asked: string[] = [];
  const session = await open(
    silent().unary(Auth.method.credentials, async ({ host }) => {
      asked.push(host);
      return host === 'token.io'
        ? { username: '', secret: 't' }
        : host === 'none.io'
          ? {}
          : { username: 'u', secret: 'p' };
    }),
  );
  expect(await credentials(session, 'docker.io', signal)).toEqual({ username: 'u', password: 'p' });
  expect(await credentials(session, 'token.io', signal)).toEqual({ identitytoken: 't' });
  expect(await credentials(session, 'none.io', signal)).toBeUndefined();
  expect(asked).toEqual(['registry-1.docker.io', 'token.io', 'none.io']);
});

test('a secret that is not there is nothing; another failure is told', async () => {
  const session = await open(
    silent().unary(Secrets.method.getSecret, async ({ id }) => {
      if (id === 'no') throw notFound('no such secret');
      if (id === 'bad') throw invalid('unreadable');
      return { data: Buffer.from(id) };
    }),
  );
  const { secret } = clientServices(async () => session, signal);
  expect(Buffer.from((await secret!('yes'))!).toString()).toBe('yes');
  expect(await secret!('no')).toBeUndefined();
  await expect(secret!('bad')).rejects.toThrow('unreadable');
});

test('connections to the agent socket reach the client and its answers come back', async () => {
  const session = await open(
    silent()
      .unary(SSH.method.checkAgent, async ({ id }) => {
        if (id !== 'default') throw invalid(`unset ssh forward key ${id}`);
        return {};
      })
      .duplex(SSH.method.forwardAgent, async function* (messages, { headers }) {
        for await (const { data } of messages)
          yield { data: Buffer.from(`${String(headers['buildkit.ssh.id'])}:${Buffer.from(data).toString()}`) };
      }),
  );
  const { agent } = clientServices(async () => session, signal);
  // Longer than an address of a socket may be.
  const deep = join(directory, 'd'.repeat(120));
  fs.mkdirSync(deep);
  const made = (await agent!('default', deep))!;
  const fd = fs.openSync(deep, 'r');
  const talk = (text: string) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(`/proc/self/fd/${fd}/agent.sock`, () => socket.write(text));
      socket.once('data', (data) => (resolve(String(data)), socket.end()));
      socket.once('error', reject);
    });
  expect(await Promise.all([talk('one'), talk('two')])).toEqual(['default:one', 'default:two']);
  made.close();
  fs.closeSync(fd);
  expect(await agent!('other', deep)).toBeUndefined();
});

test('a stream the client holds ready comes whole, though it ends before anybody reads', async () => {
  const session = await open(
    silent().duplex(Upload.method.pull, async function* (_, { headers }) {
      for (let i = 0; i < 100; i++) yield { data: Buffer.from(`${String(headers.urlpath)}${i}\n`) };
    }),
  );
  const stream = uploaded(session, '/x', signal);
  await session.client.unary(Secrets.method.getSecret, { id: '' }, { deadline: 5000 }).catch(() => {});
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  const lines = Buffer.concat(chunks).toString().trim().split('\n');
  expect([lines.length, lines[0], lines.at(-1)]).toEqual([100, '/x0', '/x99']);
});

test('a directory comes as it is: modes, times, links, empty and large files', async () => {
  const from = join(directory, 'from');
  fs.mkdirSync(join(from, 'sub/empty'), { recursive: true });
  fs.writeFileSync(join(from, 'large'), Buffer.alloc(300_000, 'x'));
  fs.writeFileSync(join(from, 'sub/none'), '');
  fs.chmodSync(join(from, 'sub/none'), 0o4711);
  fs.linkSync(join(from, 'large'), join(from, 'linked'));
  fs.symlinkSync('../../outside', join(from, 'sub/symlink'));
  fs.utimesSync(join(from, 'large'), 1e9, 1e9);
  const session = await open(
    silent().duplex(FileSync.method.diffCopy, async function* (received) {
      const packets = new Queue<PacketInit>();
      void sendTree(from, { received, end: () => packets.end(), send: async (packet) => packets.push(packet) });
      yield* packets;
    }),
  );
  const to = join(directory, 'to');
  await receiveDirectory(session, { name: 'context' }, to, signal);
  expect(fs.readdirSync(to, { recursive: true }).sort()).toEqual([
    'large',
    'linked',
    'sub',
    'sub/empty',
    'sub/none',
    'sub/symlink',
  ]);
  expect(fs.statSync(join(to, 'large'))).toMatchObject({ size: 300_000, mtimeMs: 1e12, nlink: 2 });
  expect(fs.statSync(join(to, 'sub/none')).mode & 0o7777).toBe(0o4711);
  expect(fs.readlinkSync(join(to, 'sub/symlink'))).toBe('../../outside');
});

test('the files that every build reads come into memory, through links and by each of their names', async () => {
  const from = join(directory, 'texts');
  fs.mkdirSync(join(from, 'ci/empty'), { recursive: true });
  fs.writeFileSync(join(from, 'ci/file'), 'FROM x'.repeat(50_000));
  fs.writeFileSync(join(from, 'none'), '');
  fs.linkSync(join(from, 'ci/file'), join(from, 'hard'));
  fs.symlinkSync('/ci', join(from, 'link'));
  fs.symlinkSync('../../../link/file', join(from, 'Dockerfile'));
  fs.symlinkSync('Dockerfile/x', join(from, 'broken'));
  const session = await open(
    silent().duplex(FileSync.method.diffCopy, async function* (received) {
      const packets = new Queue<PacketInit>();
      void sendTree(from, { received, end: () => packets.end(), send: async (packet) => packets.push(packet) });
      yield* packets;
    }),
  );
  const texts = new Texts();
  await takeDirectory(session, { name: 'dockerfile' }, texts, signal);
  for (const name of ['Dockerfile', 'link/file', 'hard', './ci/file'])
    expect(texts.get(name)).toBe('FROM x'.repeat(50_000));
  expect(texts.get('none')).toBe('');
  for (const name of ['ci', 'ci/empty', 'broken', 'gone', 'ci/file/x']) expect(texts.get(name)).toBeUndefined();
});

test('more text than any Dockerfile has is refused while it comes', () => {
  const texts = new Texts();
  const stat = { path: 'Dockerfile', mode: 0o644, size: 1n, linkname: '' } as Stat;
  expect(texts.stat(stat)).toBe(0);
  const send = () => texts.data(0, new Uint8Array(1 << 20));
  for (let i = 0; i < 16; i++) send();
  expect(send).toThrow('Dockerfile is larger than');
  expect(() => texts.data(7, new Uint8Array(1))).toThrow('nobody asked for');
});

test('of a directory that came before only what changed comes again', async () => {
  const from = join(directory, 'from');
  const write = (name: string, text: string): void => fs.writeFileSync(join(from, name), text);
  fs.mkdirSync(join(from, 'sub'), { recursive: true });
  for (const name of ['same', 'sub/same', 'changed', 'mode', 'gone', 'coarse']) write(name, name);
  fs.utimesSync(join(from, 'coarse'), 1e9, 1e9);
  const asked: string[] = [];
  const session = await open(
    silent().duplex(FileSync.method.diffCopy, async function* (received) {
      const packets = new Queue<PacketInit>();
      const names: string[] = [];
      const watched = (async function* () {
        for await (const packet of received) {
          if (packet.type === Type.PACKET_REQ) asked.push(names[packet.id]!);
          yield packet;
        }
      })();
      const send = async (packet: PacketInit): Promise<void> => {
        if (packet.stat) names.push(packet.stat.path);
        packets.push(packet);
      };
      void sendTree(from, { received: watched, end: () => packets.end(), send });
      yield* packets;
    }),
  );
  const kept = join(directory, 'first');
  await receiveDirectory(session, { name: 'context' }, kept, signal);
  expect(asked.splice(0).length).toBe(6);
  write('changed', 'CHANGED');
  write('new', 'new');
  fs.chmodSync(join(from, 'mode'), 0o755);
  fs.rmSync(join(from, 'gone'));
  const to = join(directory, 'second');
  const { bytes } = await receiveDirectory(session, { name: 'context' }, to, signal, { kept });
  // A time without a fraction is no proof that the content is the same.
  expect(asked.splice(0).sort()).toEqual(['changed', 'coarse', 'mode', 'new']);
  const texts = (root: string) =>
    Object.fromEntries(
      fs
        .readdirSync(root, { recursive: true, encoding: 'utf8' })
        .filter((name) => fs.statSync(join(root, name)).isFile())
        .map((name) => [name, fs.readFileSync(join(root, name), 'utf8')]),
    );
  expect(texts(to)).toEqual(texts(from));
  expect(bytes).toBe(Object.values(texts(from)).join('').length);
  expect(fs.statSync(join(to, 'same')).ino).toBe(fs.statSync(join(kept, 'same')).ino);
  expect(fs.readFileSync(join(kept, 'changed'), 'utf8')).toBe('changed');
  // A copy that is being replaced by another build just now is no reason to fail.
  await receiveDirectory(session, { name: 'context' }, join(directory, 'third'), signal, {
    kept: join(directory, 'no'),
  });
  expect(asked.length).toBe(6);
});

const stat = (path: string, mode: number, more: object = {}) => ({
  path,
  mode: goModeOf(mode),
  uid: 0,
  gid: 0,
  size: 0n,
  modTime: 0n,
  linkname: '',
  ...more,
});

test.each([
  ['a path that climbs out', [stat('../out', 0o100644, { size: 1n })]],
  ['a file below a link', [stat('l', 0o120777, { linkname: '/tmp' }), stat('l/out', 0o100644, { size: 1n })]],
  ['a hard link to something outside', [stat('h', 0o100644, { linkname: '../../../etc/passwd' })]],
])('a client that sends %s is refused', async (_, entries) => {
  const session = await open(
    silent().duplex(FileSync.method.diffCopy, async function* () {
      for (const entry of entries) yield { type: Type.PACKET_STAT, stat: entry };
      yield { type: Type.PACKET_STAT };
    }),
  );
  const before = fs.readdirSync(directory).sort();
  await expect(receiveDirectory(session, { name: 'context' }, join(directory, 'to'), signal)).rejects.toThrow();
  expect(
    fs
      .readdirSync(directory)
      .filter((name) => name !== 'to')
      .sort(),
  ).toEqual(before);
});

test('what was kept of it is not taken to where a link leads', async () => {
  const [kept, outside] = [join(directory, 'kept'), join(directory, 'outside')];
  for (const made of [join(kept, 'l'), outside]) fs.mkdirSync(made, { recursive: true });
  fs.writeFileSync(join(kept, 'l/file'), 'x');
  const { mtimeNs, mode, uid, gid } = fs.lstatSync(join(kept, 'l/file'), { bigint: true });
  const same = stat('l/file', Number(mode), { size: 1n, modTime: mtimeNs, uid: Number(uid), gid: Number(gid) });
  let parent: ReturnType<typeof stat>;
  const session = await open(
    silent().duplex(FileSync.method.diffCopy, async function* () {
      for (const entry of [parent, same]) yield { type: Type.PACKET_STAT, stat: entry };
      yield { type: Type.PACKET_STAT };
    }),
  );
  const receive = (below: typeof parent, to: string) => {
    parent = below;
    return receiveDirectory(session, { name: 'context' }, join(directory, to), signal, { kept });
  };
  await expect(receive(stat('l', 0o120777, { linkname: outside }), 'first')).rejects.toThrow(/through a file or link/);
  expect(fs.readdirSync(outside)).toEqual([]);
  expect(await receive(stat('l', 0o40755), 'second')).toEqual({ bytes: 1 });
  expect(fs.readFileSync(join(directory, 'second/l/file'), 'utf8')).toBe('x');
});
