import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createApp } from '../../src/api/app.ts';
import type { Api } from '../../src/api/kit.ts';
import { checkStore } from '../../src/image/fsck.ts';
import { createImageRoom, type ImageRoom } from '../../src/image/room.ts';
import { testSystem } from '../api/api-support.ts';
import { type TestDeps, testDeps } from '../support/deps.ts';
import { digestOf, tarOf } from '../support/fixture-image.ts';

interface User {
  image: string;
  containerId: string;
  running: boolean;
}

let root: string;
let deps: TestDeps;
let room: ImageRoom;
let api: Api;
let users: User[];

async function open(): Promise<void> {
  room = await createImageRoom({ ...deps, users: { using: (id) => users.filter(({ image }) => image === id) } });
  await room.boot();
  api = createApp({ ...deps, rooms: [room], system: testSystem });
}

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'images-'));
  deps = testDeps({ config: { dataRoot: join(root, 'data'), execRoot: join(root, 'exec') } });
  users = [];
  await open();
});

afterEach(async () => {
  await room.stop();
  const problems = await checkStore(deps.config.dataRoot, deps.store);
  rmSync(root, { recursive: true, force: true });
  expect(problems).toEqual([]);
});

async function ask(
  method: string,
  path: string,
  body?: Uint8Array,
): Promise<{ status: number; json: any; bytes: Buffer }> {
  const response = await api.request(path, {
    method,
    ...(body ? { body: new Uint8Array(body), duplex: 'half' } : {}),
  } as RequestInit);
  const bytes = Buffer.from(await response.arrayBuffer());
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString());
  } catch {
    json = undefined;
  }
  return { status: response.status, json, bytes };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function make(
  tag: string | undefined,
  content: string,
  more: { parent?: string; created?: string; labels?: Record<string, string> } = {},
) {
  const below = more.parent ? room.images.get(more.parent).config.rootfs.diff_ids : [];
  return await room.images.create({
    parent: more.parent,
    layers: [...below, once(await tarOf([{ name: 'file', content }]))],
    config: {
      architecture: 'amd64',
      os: 'linux',
      created: more.created ?? '2026-01-02T03:04:05Z',
      config: { Cmd: ['sh'], Labels: more.labels },
      history: [
        ...below.map(() => ({ created_by: 'below' })),
        { created: '2026-01-02T03:04:05Z', created_by: `make ${content}` },
      ],
    },
    tag,
  });
}

describe('images', () => {
  it('are listed, filtered, inspected and survive a restart', async () => {
    const one = await make('one:1', 'one', { created: '2026-01-01T00:00:00Z', labels: { kind: 'a' } });
    const two = await make('example.org:5000/two:latest', 'two', { parent: one.id, labels: { kind: 'b' } });
    const dangling = await make(undefined, 'three', { created: '2026-02-01T00:00:00Z' });
    await room.stop();
    await open();
    const ids = async (filters: object, more = ''): Promise<string[]> =>
      (await ask('GET', `/images/json?filters=${encodeURIComponent(JSON.stringify(filters))}${more}`)).json.map(
        (image: { Id: string }) => image.Id,
      );
    expect(await ids({})).toEqual([dangling.id, two.id, one.id]);
    expect(await ids({ dangling: ['true'] })).toEqual([dangling.id]);
    expect(await ids({ dangling: { false: true } })).toEqual([two.id, one.id]);
    expect(await ids({ label: ['kind=b'] })).toEqual([two.id]);
    expect(await ids({ reference: ['o*'] })).toEqual([one.id]);
    expect(await ids({ reference: ['example.org:5000/*:lat*'] })).toEqual([two.id]);
    expect(await ids({ before: ['two'].map(() => 'example.org:5000/two') })).toEqual([one.id]);
    expect(await ids({ since: [one.id.slice(7, 19)] })).toEqual([dangling.id, two.id]);
    for (const key of ['odd', 'label!'])
      expect((await ask('GET', `/images/json?filters={"${key}":["x"]}`)).status).toBe(400);
    expect(await ids({ until: ['2026-01-15T00:00:00Z'] })).toEqual([two.id, one.id]);

    const { json } = await ask('GET', '/v1.51/images/example.org:5000/two/json');
    expect(json).toMatchObject({
      Id: two.id,
      RepoTags: ['example.org:5000/two:latest'],
      RepoDigests: [],
      Parent: one.id,
      Config: { Cmd: ['sh'], Labels: { kind: 'b' }, Env: null },
      RootFS: { Type: 'layers', Layers: two.config.rootfs.diff_ids },
      GraphDriver: { Name: 'overlay2' },
      Size: 6,
    });
    expect(json.Metadata.LastTagTime).not.toBe('0001-01-01T00:00:00Z');
    expect((await ask('GET', `/images/${two.id.slice(7, 20)}/json`)).json.Id).toBe(two.id);
    expect((await ask('GET', '/images/none/json')).json).toEqual({ message: 'No such image: none:latest' });
    const wrongPlatform = await ask('GET', '/images/one:1/json?platform=linux/s390x');
    expect(wrongPlatform.status).toBe(404);
    const history = (await ask('GET', `/images/${two.id}/history`)).json;
    expect(history.map((item: { Id: string; Tags: unknown; Size: number }) => [item.Id, item.Tags, item.Size])).toEqual(
      [
        [two.id, ['example.org:5000/two:latest'], 3],
        [one.id, ['one:1'], 3],
      ],
    );
    const shared = (await ask('GET', '/images/json?shared-size=1')).json;
    expect(shared.map((image: { SharedSize: number }) => image.SharedSize)).toEqual([0, 3, 3]);
  });

  it('lose names and go as dockerd lets them', async () => {
    const base = await make('base', 'base');
    const child = await make('child', 'child', { parent: base.id });
    expect((await ask('POST', '/images/child/tag?repo=other&tag=v1')).status).toBe(201);
    expect((await ask('POST', '/images/child/tag?repo=UPPER')).status).toBe(400);
    expect((await ask('DELETE', '/images/other:v1')).json).toEqual([{ Untagged: 'other:v1' }]);

    users = [{ image: child.id, containerId: 'c'.repeat(64), running: false }];
    const counts = async (version: string): Promise<number[]> =>
      (await ask('GET', `/${version}/images/json`)).json.map((image: { Containers: number }) => image.Containers);
    expect((await counts('v1.51')).sort()).toEqual([0, 1]);
    expect(await counts('v1.50')).toEqual([-1, -1]);
    const short = child.id.slice(7, 19);
    expect((await ask('DELETE', '/images/child')).json.message).toBe(
      `conflict: unable to remove repository reference "child" (must force) - container cccccccccccc is using its referenced image ${short}`,
    );
    expect((await ask('DELETE', `/images/${short}`)).json.message).toBe(
      `conflict: unable to delete ${short} (must be forced) - image is being used by stopped container cccccccccccc`,
    );
    users[0]!.running = true;
    const forced = await ask('DELETE', `/images/${short}?force=1`);
    expect([forced.status, forced.json.message]).toEqual([
      409,
      `conflict: unable to delete ${short} (cannot be forced) - image is being used by running container cccccccccccc`,
    ]);
    expect((await ask('DELETE', `/images/${base.id}?force=1`)).json.message).toContain(
      'image has dependent child images',
    );
    users = [];
    expect((await ask('DELETE', '/images/base')).json).toEqual([{ Untagged: 'base:latest' }]);
    const gone = (await ask('DELETE', '/images/child')).json;
    expect(gone.map((record: object) => Object.keys(record)[0])).toEqual([
      'Untagged',
      'Deleted',
      'Deleted',
      'Deleted',
      'Deleted',
    ]);
    expect(gone[1]).toEqual({ Deleted: child.id });
    expect(gone[3]).toEqual({ Deleted: base.id });
    expect((await ask('DELETE', '/images/child')).status).toBe(404);
    expect(deps.events('image')).toEqual(['tag', 'tag', 'tag', 'untag', 'untag', 'untag', 'delete', 'delete']);
    expect(readdirSync(join(root, 'data/image/oci/blobs/sha256'))).toEqual([]);
    expect(readdirSync(join(root, 'data/overlay2')).sort()).toEqual(['base', 'l', 'new']);
    expect(readdirSync(join(root, 'data/overlay2/new'))).toEqual([]);
  });

  it('are pruned, but not while a container or a name needs them', async () => {
    const used = await make(undefined, 'used');
    const free = await make(undefined, 'free!');
    const named = await make('named', 'named');
    users = [{ image: used.id, containerId: 'd'.repeat(64), running: false }];
    const first = (await ask('POST', '/images/prune')).json;
    expect(first).toEqual({
      ImagesDeleted: [{ Deleted: free.id }, { Deleted: free.config.rootfs.diff_ids[0] }],
      SpaceReclaimed: 5,
    });
    const all = (await ask('POST', '/images/prune?filters={"dangling":["false"]}')).json;
    expect(all.ImagesDeleted[0]).toEqual({ Untagged: 'named:latest' });
    expect(room.catalog.list().map(({ id }) => id)).toEqual([used.id]);
    expect(named.repoTags).toEqual(['named:latest']);
    expect((await ask('POST', '/images/prune')).json.ImagesDeleted).toBe(null);
    users = [];
    const old = await make(undefined, 'old', { created: '2020-01-01T00:00:00Z', labels: { keep: 'no' } });
    const kept = await make(undefined, 'kept', { created: '2020-01-01T00:00:00Z', labels: { keep: 'yes' } });
    const pruned = async (filters: object): Promise<string[]> => {
      const path = `/images/prune?filters=${encodeURIComponent(JSON.stringify(filters))}`;
      const records: object[] = (await ask('POST', path)).json.ImagesDeleted ?? [];
      return records
        .map((record) => (record as { Deleted: string }).Deleted)
        .filter((id) => room.catalog.find(id) === undefined && [used, old, kept].some((image) => image.id === id));
    };
    expect(await pruned({ until: ['2021-01-01'], 'label!': ['keep=yes'] })).toEqual([old.id]);
    expect(await pruned({ label: ['keep'] })).toEqual([kept.id]);
    expect(await pruned({ until: ['1h'] })).toEqual([used.id]);
  });

  it('keep their content while a container stands on it', async () => {
    const image = await make('worn', 'worn');
    await room.rootfs.prepare('standing', image.id);
    expect((await ask('DELETE', '/images/worn?force=1')).json).toEqual([
      { Untagged: 'worn:latest' },
      { Deleted: image.id },
    ]);
    await room.rootfs.withMounted('standing', async (path) => expect(readdirSync(path)).toContain('file'));
    await room.rootfs.remove('standing');
    await room.catalog.collect();
    expect(room.layers.all()).toEqual([]);
  });

  it('are saved and loaded with their digests, by us, skopeo and umoci alike', async () => {
    const image = await make('app:1', 'content');
    await ask('POST', '/images/app:1/tag?repo=app&tag=2');
    const archive = (await ask('GET', '/images/get?names=app')).bytes;
    const file = join(root, 'app.tar');
    writeFileSync(file, archive);
    const skopeo = (...args: string[]): string =>
      execFileSync('skopeo', ['--insecure-policy', ...args], { encoding: 'utf8' });
    expect(JSON.parse(skopeo('inspect', '--config', `docker-archive:${file}:app:2`)).rootfs.diff_ids).toEqual(
      image.config.rootfs.diff_ids,
    );
    // The same archive is an OCI layout.
    expect(JSON.parse(skopeo('inspect', '--config', `oci-archive:${file}:2`)).rootfs.diff_ids).toEqual(
      image.config.rootfs.diff_ids,
    );
    const layout = join(root, 'layout');
    mkdirSync(layout);
    execFileSync('tar', ['-xf', file, '-C', layout]);
    execFileSync('umoci', ['unpack', '--image', `${layout}:1`, join(root, 'saved')], { stdio: 'ignore' });
    expect(readdirSync(join(root, 'saved/rootfs'))).toEqual(['file']);
    await room.catalog.settled();
    const store = join(root, 'data/image/oci');
    expect(JSON.parse(skopeo('inspect', '--config', `oci:${store}:app:1`)).rootfs.diff_ids).toEqual(
      image.config.rootfs.diff_ids,
    );
    skopeo('copy', `oci:${store}:app:1`, `oci:${join(root, 'copy')}:x`);
    expect(execFileSync('umoci', ['ls', '--layout', store], { encoding: 'utf8' }).split('\n').sort()).toEqual([
      '',
      'app:1',
      'app:2',
    ]);
    execFileSync('umoci', ['unpack', '--image', `${store}:app:1`, join(root, 'bundle')], { stdio: 'ignore' });
    expect(readdirSync(join(root, 'bundle/rootfs'))).toEqual(['file']);
    skopeo('copy', `oci:${store}:app:1`, `docker-archive:${join(root, 'legacy.tar')}:legacy:9`);

    await ask('DELETE', '/images/app:1');
    await ask('DELETE', '/images/app:2');
    expect(room.catalog.list()).toEqual([]);
    const lines = (await ask('POST', '/images/load?quiet=1', gzipSync(archive))).bytes.toString().trim().split('\r\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { stream: 'Loaded image: app:1\n' },
      { stream: 'Loaded image: app:2\n' },
    ]);
    expect(room.images.get('app:1').id).toBe(image.id);
    expect(room.images.get('app:2').manifestDigest).toBeDefined();
    expect((await ask('GET', '/images/app:1/json')).json.Metadata.LastTagTime).toBe('0001-01-01T00:00:00Z');

    const legacy = execFileSync('cat', [join(root, 'legacy.tar')]);
    expect((await ask('POST', '/images/load', legacy)).bytes.toString()).toContain('Loaded image: legacy:9');
    execFileSync('tar', ['-cJf', join(root, 'oci.tar.xz'), '-C', join(root, 'copy'), '.']);
    const oci = execFileSync('cat', [join(root, 'oci.tar.xz')]);
    expect((await ask('POST', '/images/load?quiet=1', oci)).bytes.toString()).toContain(`Loaded image ID: ${image.id}`);
    expect(deps.events('image').filter((action) => action === 'load' || action === 'save')).toEqual([
      'save',
      'load',
      'load',
      'load',
    ]);
  });

  it('are saved together, and loaded from every kind of archive in every compression', async () => {
    const made = [await make('many/one:1', 'one'), await make('many/two:2', 'two', { labels: { n: '2' } })];
    const archive = (await ask('GET', '/images/get?names=many/one:1&names=many/two')).bytes;
    const file = join(root, 'many.tar');
    writeFileSync(file, archive);
    const contents = (archiveFile: string, name: string): string =>
      execFileSync('tar', ['-xOf', archiveFile, name], { encoding: 'utf8' });
    const tags = JSON.parse(contents(file, 'manifest.json')).map(({ RepoTags }: { RepoTags: string[] }) => RepoTags);
    expect(tags).toEqual([['many/one:1'], ['many/two:2']]);
    expect(Object.keys(JSON.parse(contents(file, 'repositories')))).toEqual(['many/one', 'many/two']);
    const layout = join(root, 'layout.tar');
    const skopeo = (...args: string[]): Buffer => execFileSync('skopeo', ['--insecure-policy', 'copy', '-q', ...args]);
    skopeo(`oci-archive:${file}:1`, `oci-archive:${layout}:many/one:1`);
    const packed = (command: string, ...args: string[]): Buffer => execFileSync(command, [...args, '-c', layout]);
    const archives: [string, Buffer, number][] = [
      ['as it is', archive, 2],
      ['gzip', gzipSync(archive), 2],
      ['zstd', zstdCompressSync(archive), 2],
      ['xz', execFileSync('xz', ['-c', file]), 2],
      ['a layout', readFileSync(layout), 1],
      ['a layout, zstd', packed('zstd', '-q'), 1],
      ['a layout, xz', packed('xz'), 1],
    ];
    for (const [kind, bytes, count] of archives) {
      for (const { id } of made) await ask('DELETE', `/images/${id}?force=1`);
      expect(room.catalog.list(), kind).toEqual([]);
      const said = (await ask('POST', '/images/load?quiet=1', bytes)).bytes.toString();
      expect(said.match(/Loaded image: many\/(one:1|two:2)\\n/g), `${kind}: ${said}`).toHaveLength(count);
      const ids = room.catalog.list().map(({ id }) => id);
      expect(ids.toSorted(), kind).toEqual(
        made
          .slice(0, count)
          .map(({ id }) => id)
          .toSorted(),
      );
    }
  });

  it('are imported from a root filesystem with changes applied, and refuse what is no archive', async () => {
    const tar = await tarOf([{ name: 'bin/sh', content: 'sh', mode: 0o755 }]);
    const { bytes } = await ask(
      'POST',
      '/images/create?fromSrc=-&repo=imported&tag=1&message=by+hand&changes=CMD+%5B%22sh%22%5D&changes=ENV+A%3D1',
      gzipSync(tar),
    );
    const { status } = JSON.parse(bytes.toString().trim());
    const image = room.images.get('imported:1');
    expect(image.id).toBe(status);
    expect(image.config).toMatchObject({ config: { Cmd: ['sh'], Env: ['A=1'] }, history: [{ comment: 'by hand' }] });
    expect((await ask('GET', '/images/imported:1/json')).json).toMatchObject({
      Comment: 'by hand',
      Architecture: 'amd64',
    });
    const broken = await ask('POST', '/images/load', Buffer.from('this is no archive at all'.repeat(100)));
    expect(broken.bytes.toString()).toContain('errorDetail');
    const empty = await ask('POST', '/images/load', await tarOf([{ name: 'x', content: 'y' }]));
    expect(empty.bytes.toString()).toContain('neither manifest.json nor index.json');
    const refused = async (query: string, body?: Buffer) => {
      const { status, json } = await ask('POST', `/images/create?${query}`, body);
      return [status, json.message];
    };
    expect(await refused('fromSrc=-', Buffer.from('garbage'))).toEqual([
      400,
      'failed to register layer: archive/tar: unexpected end of the archive',
    ]);
    expect(await refused('fromSrc=-&platform=a/b/c/d')).toEqual([
      400,
      '"a/b/c/d": cannot parse platform specifier: invalid argument',
    ]);
    expect(await refused('fromSrc=127.0.0.1:1/x')).toEqual([
      500,
      'Get "http://127.0.0.1:1/x": connect: connection refused',
    ]);
    expect(await refused('fromSrc=ftp://x/y')).toEqual([400, 'Get "ftp://x/y": unsupported protocol scheme "ftp"']);
    expect((await refused(''))[0]).toBe(400);
    expect(room.catalog.list().length).toBe(1);
  });

  it('are imported from a URL, for a platform, in any compression', async () => {
    const tar = await tarOf([{ name: 'file', content: 'x' }]);
    const xz = execFileSync('xz', ['-c'], { input: tar });
    const bodies: Record<string, Buffer> = {
      '/gzip': gzipSync(tar),
      '/zstd': zstdCompressSync(tar),
      '/xz': xz,
      '/plain': tar,
    };
    const server = createServer(({ url }, response) =>
      bodies[url!] ? response.end(bodies[url!]) : response.writeHead(404).end(),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      for (const path of Object.keys(bodies)) {
        const { bytes } = await ask(
          'POST',
          `/images/create?fromSrc=${host}${path}&repo=from${path}&platform=linux/arm64`,
        );
        const [downloading, last] = bytes
          .toString()
          .trim()
          .split('\r\n')
          .map((line) => JSON.parse(line).status);
        expect([downloading, last]).toEqual([`Downloading from ${host}${path}`, room.images.get(`from${path}`).id]);
        const { config } = room.images.get(`from${path}`);
        expect([config.architecture, config.rootfs.diff_ids]).toEqual(['arm64', [digestOf(tar)]]);
      }
      const missing = await ask('POST', `/images/create?fromSrc=http://${host}/missing`);
      expect([missing.status, missing.json.message]).toEqual([
        404,
        `failed to GET http://${host}/missing with status 404 Not Found`,
      ]);
    } finally {
      server.close();
    }
  });
});
