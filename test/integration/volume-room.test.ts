import { spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  linkSync,
  chownSync,
  chmodSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Hono } from 'hono';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ApiEnv } from '../../src/api/kit.ts';
import { asDaemonError } from '../../src/errors.ts';
import { FS_MAGIC, fsMagic, lgetxattr, lsetxattr, mkfifo } from '../../src/host/ffi.ts';
import { createVolumeRoom, type VolumeRoom } from '../../src/volume/room.ts';
import { eventually } from '../support/eventually.ts';
import { type TestDeps, testDeps } from '../support/deps.ts';

let root: string;
let deps: TestDeps;
let room: VolumeRoom;
let users: Record<string, string[]>;
let umask: number;

const open = async (given: TestDeps): Promise<VolumeRoom> => {
  const made = await createVolumeRoom({
    ...given,
    users: { using: (volume) => users[volume] ?? [] },
    plugins: { sockets: join(root, 'plugins'), specs: [join(root, 'specs')] },
  });
  await made.boot();
  return made;
};

/** The routes alone, with the version a request would have. */
const call = async (method: string, path: string, body?: object) => {
  const app = new Hono<ApiEnv>();
  app.use(async (c, next) => {
    c.set('apiVersion', '1.51');
    await next();
  });
  app.onError((error, c) => c.json({ message: error.message, kind: asDaemonError(error).kind }, 500));
  room.routes!(app);
  const answer = await app.request(path, {
    method,
    ...(body ? { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } } : {}),
  });
  const text = await answer.text();
  return { status: answer.status, body: text ? JSON.parse(text) : undefined };
};
const filters = (value: object) => encodeURIComponent(JSON.stringify(value));

beforeEach(async () => {
  // As the daemon has it.
  umask = process.umask(0o027);
  root = mkdtempSync(join(tmpdir(), 'volume-room-'));
  users = {};
  deps = testDeps({ config: { dataRoot: root } });
  room = await open(deps);
});
afterEach(async () => {
  process.umask(umask);
  await room.stop();
  deps.reactor.stop();
  for (const name of readdirSync(join(root, 'volumes')))
    spawnSync('umount', ['-l', join(root, 'volumes', name, '_data')]);
  rmSync(root, { recursive: true, force: true });
});

describe('the routes', () => {
  test('create, list, inspect, remove, with dockerd’s words and events', async () => {
    const created = await call('POST', '/volumes/create', { Name: 'data', Labels: { a: '1' } });
    expect(created).toMatchObject({
      status: 201,
      body: {
        Name: 'data',
        Driver: 'local',
        Scope: 'local',
        Options: null,
        Labels: { a: '1' },
        Mountpoint: join(root, 'volumes/data/_data'),
      },
    });
    expect(created.body.CreatedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(statSync(created.body.Mountpoint).mode & 0o777).toBe(0o755);
    const again = await call('POST', '/volumes/create', { Name: 'data' });
    expect(again.body.CreatedAt).toBe(created.body.CreatedAt);
    const { body: anonymous } = await call('POST', '/volumes/create', {});
    expect(anonymous.Name).toMatch(/^[0-9a-f]{64}$/);
    expect(anonymous.Labels).toEqual({ 'com.docker.volume.anonymous': '' });

    const list = async (value: object) =>
      (await call('GET', `/volumes?filters=${filters(value)}`)).body.Volumes.map(({ Name }: { Name: string }) => Name);
    users.data = ['c1'];
    expect(await list({ dangling: ['false'] })).toEqual(['data']);
    expect(await list({ label: ['a=1'] })).toEqual(['data']);
    expect(await list({ name: ['dat'], driver: ['local'] })).toEqual(['data']);
    expect(await list({ label: ['a=2'] })).toEqual([]);
    expect((await call('GET', '/volumes?filters=' + filters({ color: ['x'] }))).body.message).toBe(
      "invalid filter 'color'",
    );

    expect((await call('DELETE', '/volumes/data')).body).toEqual({
      message: 'remove data: volume is in use - [c1]',
      kind: 'conflict',
    });
    users = {};
    expect((await call('DELETE', '/volumes/data')).status).toBe(204);
    expect(existsSync(join(root, 'volumes/data'))).toBe(false);
    expect((await call('GET', '/volumes/data')).body.message).toBe('get data: no such volume');
    expect((await call('DELETE', '/volumes/data')).body.kind).toBe('notFound');
    expect((await call('DELETE', '/volumes/data?force=1')).status).toBe(204);
    expect(deps.events('volume')).toEqual(['create', 'create', 'destroy']);
  });

  test('names and options that the local driver cannot take are refused', async () => {
    const words = async (body: object) => (await call('POST', '/volumes/create', body)).body.message;
    expect(await words({ Name: 'x' })).toContain('volume name is too short');
    expect(await words({ Name: 'a/b' })).toContain('includes invalid characters for a local volume name');
    expect(await words({ Name: 'ok', DriverOpts: { speed: '1' } })).toBe('invalid option: "speed"');
    expect(await words({ Name: 'ok', DriverOpts: { type: 'nfs' } })).toBe('missing required option: "device"');
    expect(await words({ Name: 'ok', Driver: 'nope' })).toContain('plugin "nope" not found');
    expect(existsSync(join(root, 'volumes/ok'))).toBe(false);
  });

  test('prune takes unused anonymous volumes, and the named ones only when told', async () => {
    await call('POST', '/volumes/create', { Name: 'named' });
    const { body: anonymous } = await call('POST', '/volumes/create', {});
    await room.volumes.ensure({ name: 'held', anonymous: true, reference: 'c9' });
    writeFileSync(join(anonymous.Mountpoint, 'file'), 'twelve bytes');
    const pruned = await call('POST', '/volumes/prune');
    expect(pruned.body).toEqual({ VolumesDeleted: [anonymous.Name], SpaceReclaimed: 12 });
    room.volumes.release('held', 'c9');
    const all = await call('POST', `/volumes/prune?filters=${filters({ all: ['true'] })}`);
    expect(all.body.VolumesDeleted.sort()).toEqual(['held', 'named']);
    expect(deps.facts.findLast((fact) => fact.action === 'prune')!.attributes).toEqual({ reclaimed: '0' });
  });
});

test('a tmpfs volume is mounted for its first user and let go with its last', async () => {
  await room.volumes.ensure({ name: 'ram', options: { type: 'tmpfs', device: 'tmpfs', o: 'size=1m,uid=7' } });
  const path = await room.volumes.mount('ram', 'c1', { destination: '/x' });
  await room.volumes.mount('ram', 'c2', {});
  expect(fsMagic(path)).toBe(FS_MAGIC.TMPFS);
  expect(statSync(path).uid).toBe(7);
  await room.volumes.unmount('ram', 'c1');
  expect(fsMagic(path)).toBe(FS_MAGIC.TMPFS);
  await room.volumes.unmount('ram', 'c2');
  expect(fsMagic(path)).not.toBe(FS_MAGIC.TMPFS);
  const mounted = deps.facts.find((fact) => fact.topic === 'event' && fact.action === 'mount')!;
  expect(mounted.attributes).toEqual({ driver: 'local', destination: '/x', container: 'c1' });
  expect(deps.events('volume')).toEqual(['create', 'mount', 'mount', 'unmount', 'unmount']);
});

test('a bind volume shows the directory; a mount that fails says why', async () => {
  const there = join(root, 'there');
  mkdirSync(there);
  writeFileSync(join(there, 'f'), 'x');
  await room.volumes.ensure({ name: 'bound', options: { type: 'none', device: there, o: 'bind,ro' } });
  const path = await room.volumes.mount('bound', 'c1', {});
  expect(readFileSync(join(path, 'f'), 'utf8')).toBe('x');
  expect(() => writeFileSync(join(path, 'g'), '')).toThrow('EROFS');
  await room.volumes.unmount('bound', 'c1');
  await room.volumes.ensure({ name: 'gone', options: { type: 'none', device: join(root, 'nowhere'), o: 'bind' } });
  await expect(room.volumes.mount('gone', 'c1', {})).rejects.toThrow(
    /failed to mount local volume: .*no such file or directory/,
  );
  await room.volumes.remove('bound');
  expect(readFileSync(join(there, 'f'), 'utf8')).toBe('x');
});

test('an empty volume takes the image’s content with owners, modes, links and xattrs; a used one keeps its own', async () => {
  const source = join(root, 'image');
  mkdirSync(join(source, 'sub'), { recursive: true });
  writeFileSync(join(source, 'sub/file'), 'hello');
  chownSync(join(source, 'sub/file'), 33, 44);
  chmodSync(join(source, 'sub/file'), 0o4750);
  lsetxattr(join(source, 'sub/file'), 'trusted.mark', Buffer.from('m'));
  linkSync(join(source, 'sub/file'), join(source, 'hard'));
  symlinkSync('/etc/passwd', join(source, 'link'));
  mkfifo(join(source, 'pipe'));
  chownSync(source, 5, 6);
  chmodSync(source, 0o1770);
  const { Mountpoint } = await room.volumes.ensure({ name: 'filled' });
  await room.volumes.copyUp('filled', source);
  const file = lstatSync(join(Mountpoint, 'sub/file'));
  expect([file.uid, file.gid, file.mode & 0o7777, file.nlink]).toEqual([33, 44, 0o4750, 2]);
  expect(lstatSync(join(Mountpoint, 'hard')).ino).toBe(file.ino);
  expect(lgetxattr(join(Mountpoint, 'sub/file'), 'trusted.mark')?.toString()).toBe('m');
  expect(readlinkSync(join(Mountpoint, 'link'))).toBe('/etc/passwd');
  expect(lstatSync(join(Mountpoint, 'pipe')).isFIFO()).toBe(true);
  expect([statSync(Mountpoint).uid, statSync(Mountpoint).mode & 0o7777]).toEqual([5, 0o1770]);
  writeFileSync(join(source, 'late'), '');
  await room.volumes.copyUp('filled', source);
  expect(existsSync(join(Mountpoint, 'late'))).toBe(false);
  expect(deps.events('volume')).toEqual(['create']);
});

test('volumes survive a restart, half-made ones do not, and those of another daemon are taken up', async () => {
  await room.volumes.ensure({ name: 'kept', labels: { l: '1' } });
  const records = deps.store.collection<object>('volumes');
  records.put('half', { ...records.get('kept'), name: 'half', state: 'creating' });
  mkdirSync(join(root, 'volumes/half/_data'), { recursive: true });
  mkdirSync(join(root, 'volumes/foreign/_data'), { recursive: true });
  writeFileSync(join(root, 'volumes/foreign/opts.json'), '{"MountType":"tmpfs","MountDevice":"tmpfs","MountOpts":""}');
  deps.reactor.stop();
  room = await open(deps);
  expect(room.volumes.get('kept').Labels).toEqual({ l: '1' });
  expect(room.volumes.get('foreign').Options).toEqual({ type: 'tmpfs', device: 'tmpfs' });
  await eventually(() => !existsSync(join(root, 'volumes/half')));
  expect(room.volumes.find('half')).toBeUndefined();
});

test('a volume plugin behind its socket makes, mounts and removes volumes', async () => {
  const calls: string[] = [];
  const answers: Record<string, (body: any) => object> = {
    'Plugin.Activate': () => ({ Implements: ['VolumeDriver'] }),
    'VolumeDriver.Capabilities': () => ({ Capabilities: { Scope: 'global' } }),
    'VolumeDriver.Get': (body) =>
      calls.includes(`VolumeDriver.Create ${body.Name}`)
        ? { Volume: { Name: body.Name, Mountpoint: '/mnt/p', Status: { nice: 1 } } }
        : { Err: 'no such volume' },
    'VolumeDriver.Mount': () => ({ Mountpoint: '/mnt/p' }),
    'VolumeDriver.Create': (body) => (body.Opts?.bad ? { Err: 'no room' } : {}),
  };
  const plugin: Server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => (text += chunk));
    request.on('end', () => {
      const method = request.url!.slice(1);
      const body = JSON.parse(text);
      calls.push(`${method} ${body.Name ?? ''} ${body.ID ?? ''}`.trim());
      response.end(JSON.stringify(answers[method]?.(body) ?? {}));
    });
  });
  mkdirSync(join(root, 'plugins'));
  await new Promise<void>((resolve) => plugin.listen(join(root, 'plugins/shop.sock'), resolve));
  try {
    const made = await call('POST', '/volumes/create', { Name: 'p1', Driver: 'shop', DriverOpts: { size: '1' } });
    expect(made.body).toMatchObject({ Driver: 'shop', Scope: 'global', Options: { size: '1' } });
    expect(
      (await call('POST', '/volumes/create', { Name: 'p2', Driver: 'shop', DriverOpts: { bad: '1' } })).body.message,
    ).toBe('VolumeDriver.Create: no room');
    expect((await call('POST', '/volumes/create', { Name: 'p1', Driver: 'local' })).body.message).toContain(
      "driver 'shop' already has volume 'p1'",
    );
    expect(await room.volumes.mount('p1', 'c1', {})).toBe('/mnt/p');
    expect((await call('GET', '/volumes/p1')).body).toMatchObject({ Mountpoint: '/mnt/p', Status: { nice: 1 } });
    await room.volumes.unmount('p1', 'c1');
    await room.volumes.remove('p1');
    expect(calls).toContain('VolumeDriver.Mount p1 c1');
    expect(calls).toContain('VolumeDriver.Unmount p1 c1');
    expect(calls.at(-1)).toBe('VolumeDriver.Remove p1');
  } finally {
    plugin.closeAllConnections();
    await new Promise((resolve) => plugin.close(resolve));
  }
});
