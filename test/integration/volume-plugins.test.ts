/** Volume plugins behind their sockets: what they have of their own, how they are found, and how one that hangs holds up nobody. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Hono } from 'hono';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ApiEnv } from '../../src/api/kit.ts';
import { createVolumeRoom, type VolumeRoom } from '../../src/volume/room.ts';
import { type TestDeps, testDeps } from '../support/deps.ts';

let root: string;
let deps: TestDeps;
let room: VolumeRoom;
const servers: Server[] = [];

/** A plugin that keeps volumes in a set. */
class Shop {
  readonly volumes = new Set<string>();
  readonly calls: string[] = [];
  /** Methods it never answers. */
  readonly deafTo = new Set<string>();
  kinds = ['VolumeDriver'];

  readonly server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => (text += chunk));
    request.on('end', () => {
      const method = request.url!.slice(1).replace('VolumeDriver.', '');
      const { Name = '' } = JSON.parse(text) as { Name?: string };
      this.calls.push(`${method} ${Name}`.trim());
      if (!this.deafTo.has(method)) response.end(JSON.stringify(this.#answer(method, Name)));
    });
  });

  #answer(method: string, name: string): object {
    const view = (one: string) => ({ Name: one, Mountpoint: `/mnt/${one}` });
    if (method === 'Plugin.Activate') return { Implements: this.kinds };
    if (method === 'List') return { Volumes: [...this.volumes].map(view) };
    if (method === 'Create') {
      if (this.volumes.has(name)) return { Err: 'it exists' };
      this.volumes.add(name);
    }
    if (method === 'Remove') this.volumes.delete(name);
    if (method === 'Get') return this.volumes.has(name) ? { Volume: view(name) } : { Err: 'there is none' };
    return method === 'Mount' ? view(name) : {};
  }
}

async function listen(shop: Shop, place: string | { port: number; host: string }): Promise<Shop> {
  servers.push(shop.server);
  await new Promise<void>((resolve) => shop.server.listen(place).once('listening', resolve));
  return shop;
}
const onSocket = (name: string, shop = new Shop()): Promise<Shop> =>
  listen(shop, join(root, 'plugins', `${name}.sock`));

const call = async (method: string, path: string) => {
  const app = new Hono<ApiEnv>();
  app.use(async (c, next) => {
    c.set('apiVersion', '1.51');
    await next();
  });
  app.onError((error, c) => c.json({ message: error.message }, 500));
  room.routes!(app);
  const text = await (await app.request(path, { method })).text();
  return text ? JSON.parse(text) : undefined;
};
const names = async (): Promise<string[]> =>
  (await call('GET', '/volumes')).Volumes.map(({ Name }: { Name: string }) => Name).sort();

async function open(deadlineMs?: number): Promise<void> {
  room = await createVolumeRoom({
    ...deps,
    users: { using: () => [] },
    plugins: { sockets: join(root, 'plugins'), specs: [join(root, 'specs')], deadlineMs },
  });
  await room.boot();
}

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'volume-plugins-'));
  for (const name of ['plugins', 'specs']) mkdirSync(join(root, name));
  deps = testDeps({ config: { dataRoot: root } });
  await open();
});
afterEach(async () => {
  await room.stop();
  deps.reactor.stop();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  rmSync(root, { recursive: true, force: true });
});

test('what a plugin has already is listed, used and removed as any other volume', async () => {
  const shop = await onSocket('shop');
  shop.volumes.add('old').add('older');
  expect(await names()).toEqual(['old', 'older']);
  expect(await call('GET', '/volumes/old')).toMatchObject({ Driver: 'shop', Mountpoint: '/mnt/old' });
  expect(await room.volumes.mount('old', 'c1', {})).toBe('/mnt/old');
  await room.volumes.unmount('old', 'c1');
  await call('DELETE', '/volumes/older');
  expect([...shop.volumes]).toEqual(['old']);
  expect(deps.events('volume')).toEqual(['mount', 'unmount', 'destroy']);
});

test('one that exists is taken as it is, and not made again', async () => {
  const shop = await onSocket('shop');
  shop.volumes.add('precious');
  await room.volumes.ensure({ name: 'precious', driver: 'shop' });
  expect(shop.calls).not.toContain('Create precious');
  expect(await names()).toEqual(['precious']);
});

test('it may be found by a socket in a directory, by a spec of its address, and by JSON', async () => {
  mkdirSync(join(root, 'plugins/inner'));
  await listen(new Shop(), join(root, 'plugins/inner/inner.sock'));
  const other = await listen(new Shop(), { port: 0, host: '127.0.0.1' });
  writeFileSync(join(root, 'specs/tcp.spec'), `tcp://127.0.0.1:${(other.server.address() as AddressInfo).port}\n`);
  await onSocket('hidden');
  writeFileSync(join(root, 'specs/json.json'), JSON.stringify({ Addr: `unix://${join(root, 'plugins/hidden.sock')}` }));
  for (const driver of ['inner', 'tcp', 'json'])
    expect(await room.volumes.ensure({ name: `of-${driver}`, driver })).toMatchObject({ Driver: driver });
});

test('plugins of other kinds are none, and say nothing in the list', async () => {
  const judge = await onSocket('judge');
  judge.kinds = ['authz'];
  expect(await call('GET', '/volumes')).toEqual({ Volumes: [], Warnings: [] });
  await expect(room.volumes.ensure({ name: 'v1', driver: 'judge' })).rejects.toThrow('does not implement VolumeDriver');
});

test('one that hangs fails its own volumes in time, and holds up no other', async () => {
  await room.stop();
  await open(300);
  const shop = await onSocket('shop');
  const deaf = await onSocket('deaf');
  await room.volumes.ensure({ name: 'stuck', driver: 'deaf' });
  for (const method of ['Create', 'Mount', 'Unmount', 'List', 'Remove']) deaf.deafTo.add(method);
  const refused = [
    expect(room.volumes.ensure({ name: 'more', driver: 'deaf' })).rejects.toThrow('VolumeDriver.Create'),
    expect(room.volumes.mount('stuck', 'c1', {})).rejects.toThrow('VolumeDriver.Mount'),
  ];
  shop.volumes.add('free');
  await room.volumes.ensure({ name: 'here' });
  expect(await room.volumes.mount('here', 'c2', {})).toContain('here/_data');
  const listed = await call('GET', '/volumes');
  expect(listed.Volumes.map(({ Name }: { Name: string }) => Name).sort()).toEqual(['free', 'here', 'stuck']);
  expect(listed.Warnings).toEqual([expect.stringContaining('list deaf: ')]);
  await Promise.all(refused);
  await expect(room.volumes.remove('stuck')).rejects.toThrow('VolumeDriver.Remove');
  await room.volumes.remove('stuck', { force: true });
  expect(room.volumes.find('stuck')).toBeUndefined();
});

test('one that is gone and back serves its volumes again', async () => {
  const shop = await onSocket('shop');
  await room.volumes.ensure({ name: 'kept', driver: 'shop' });
  shop.server.closeAllConnections();
  await new Promise((resolve) => shop.server.close(resolve));
  await expect(room.volumes.mount('kept', 'c1', {})).rejects.toThrow('VolumeDriver.Mount: ');
  const again = await onSocket('shop');
  again.volumes.add('kept');
  expect(await room.volumes.mount('kept', 'c1', {})).toBe('/mnt/kept');
});
