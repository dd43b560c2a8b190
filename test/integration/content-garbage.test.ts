import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlobStore, digestOf } from '../../src/image/content/content.ts';
import { createImage } from '../../src/image/create.ts';
import { checkStore, type Problem } from '../../src/image/fsck.ts';
import { type LayerRecord, OverlayLayers } from '../../src/image/layers/layers.ts';
import type { Image } from '../../src/image/port.ts';
import { sqliteStore } from '../../src/store/sqlite.ts';
import { eventually } from '../support/eventually.ts';
import { tarOf } from '../support/fixture-image.ts';
import { testImageStore } from '../support/image-store.ts';

let store: Awaited<ReturnType<typeof testImageStore>>;
beforeEach(async () => {
  store = await testImageStore();
});
afterEach(() => store.dispose());

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

const make = async (content: string) =>
  await createImage(store, {
    layers: [once(await tarOf([{ name: 'file', content }]))],
    config: { architecture: 'amd64', os: 'linux', config: {} },
  });

describe('garbage', () => {
  it('goes, but nothing that an image refers to or a lease holds', async () => {
    const image = await make('kept');
    const lease = store.content.lease();
    const held = await store.content.write(Buffer.from('held'));
    lease.add(held);
    await store.content.write(Buffer.from('loose'));
    const loose = await tarOf([{ name: 'loose', content: 'x' }]);
    await store.unpack(loose);
    expect(await store.catalog.collect()).toEqual({ deletedBytes: 5 + loose.length + 1 });
    expect(store.content.has(held)).toBe(true);
    expect(store.layers.has(digestOf(loose))).toBe(false);
    lease.release();
    lease.release();
    await store.catalog.collect();
    expect(store.content.has(held)).toBe(false);
    expect(store.catalog.get(image.id).size).toBe(4);
    expect(await checkStore(store.root, store.deps.store)).toEqual([]);
  });

  it('of a life that ended anywhere is gone after the next start', async () => {
    await make('whole');
    const overlay = join(store.root, 'overlay2');
    const ingest = join(store.root, 'image/oci/ingest');
    for (const half of ['tmp-half', 'new/half']) mkdirSync(join(overlay, half, 'diff/a'), { recursive: true });
    mkdirSync(join(overlay, 'f'.repeat(64), 'diff'), { recursive: true });
    mkdirSync(join(store.root, 'image/overlay2/layerdb/mounts/gone'), { recursive: true });
    writeFileSync(join(overlay, 'l/NOBODY'), '');
    writeFileSync(join(ingest, 'tmp-half'), 'x');
    const [fresh, old] = ['a', 'b'].map((digit) => join(ingest, digit.repeat(64)));
    for (const path of [fresh!, old!]) writeFileSync(path, 'x');
    utimesSync(old!, 1_000_000, 1_000_000);
    await store.content.boot(Date.now());
    await store.layers.boot();
    await store.rootfs.boot();
    expect(readdirSync(ingest)).toEqual(['a'.repeat(64)]);
    expect(readdirSync(overlay)).toHaveLength(4);
    expect(readdirSync(join(overlay, 'new'))).toEqual([]);
    expect(readdirSync(join(overlay, 'l'))).toHaveLength(2);
    expect(readdirSync(join(store.root, 'image/overlay2/layerdb/mounts'))).toEqual([]);
    expect(await checkStore(store.root, store.deps.store)).toEqual([]);
  });

  it('that cannot be removed keeps nobody from the start, and goes with a later one', async () => {
    const left = join(store.root, 'overlay2', 'f'.repeat(64));
    const inUse = join(left, 'diff/in-use');
    mkdirSync(inUse, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', inUse]);
    const boot = async (): Promise<string[]> => {
      await store.layers.boot();
      await store.rootfs.boot();
      return readdirSync(join(store.root, 'overlay2')).filter((name) => name.startsWith('tmp-'));
    };
    expect(await boot()).toHaveLength(1);
    const [again] = await boot();
    execFileSync('umount', [join(store.root, 'overlay2', again!, 'diff/in-use')]);
    expect([existsSync(left), await boot()]).toEqual([false, []]);
  });

  it('is no writable layer whose making was cut short: it is made whole at the next start', async () => {
    const image = await make('under');
    await store.rootfs.prepare('cut', image.id);
    const { UpperDir, WorkDir } = store.rootfs.describe('cut').Data;
    for (const path of [UpperDir!, WorkDir!]) rmSync(path, { recursive: true });
    await store.rootfs.boot();
    await store.rootfs.withMounted('cut', async (path) => expect(readdirSync(path)).toContain('file'));
    await store.rootfs.remove('cut');
  });

  it('is what a power failure left of a layer: it is unpacked again from its blob', async () => {
    const image = await make('precious');
    const [diffId] = image.config.rootfs.diff_ids as [string];
    const records = store.deps.store.collection<LayerRecord>('layers');
    await eventually(() => records.get(diffId)!.unsynced === undefined);
    // As if the machine had died before the sync, and the file's data with it.
    records.put(diffId, { ...records.get(diffId)!, unsynced: 'another boot' });
    rmSync(join(store.layers.path(diffId), 'file'));
    await store.layers.boot();
    expect(readFileSync(join(store.layers.path(diffId), 'file'), 'utf8')).toBe('precious');
    expect(await checkStore(store.root, store.deps.store)).toEqual([]);
  });

  it('is looked for in a daemon that is stopped, by its database', async () => {
    const path = join(store.root, 'reactord.db');
    const sqlite = sqliteStore({ path, onDamaged: () => {}, onError: () => {} });
    sqlite.collection('image-tags').put('docker.io/library/x:latest', { id: 'sha256:gone' });
    await sqlite.durable();
    sqlite.close();
    expect(await checkStore(store.root)).toEqual([
      { kind: 'dangling reference', what: 'docker.io/library/x:latest', of: 'sha256:gone' },
    ]);
  });

  it('once fetched and never used is not believed at the next start: it waits to be verified, unless it is old', async () => {
    await make('whole');
    const [fresh, old, small] = [randomBytes(100_000), randomBytes(100_000), randomBytes(100)];
    const digests = await Promise.all([fresh, old, small].map((bytes) => store.content.write(bytes)));
    utimesSync(store.content.path(digests[1]!), 1_000_000, 1_000_000);
    await store.catalog.vouch();
    expect(digests.map((digest) => store.content.has(digest))).toEqual([false, false, false]);
    expect(readdirSync(join(store.root, 'image/oci/ingest'))).toEqual([digests[0]!.slice(7)]);
    expect(await checkStore(store.root, store.deps.store)).toEqual([]);
    const lease = store.content.lease();
    lease.add(digests[0]!);
    expect(await store.content.sweepIngest(Date.now(), true)).toBe(0);
    lease.release();
    expect(await store.content.sweepIngest(Date.now())).toBe(0);
    expect(await store.content.sweepIngest(Date.now(), true)).toBe(100_000);
  });
});

describe('the checker', () => {
  const blobs = (): string => join(store.root, 'image/oci/blobs/sha256');
  const damages: [kind: Problem['kind'], damage: (image: Image) => void][] = [
    ['missing blob', (image) => rmSync(store.content.path(image.id))],
    ['missing blob', (image) => rmSync(store.content.path(image.manifestDigest ?? recordOf(image).manifest.digest))],
    ['missing blob', (image) => rmSync(store.content.path(recordOf(image).blobs[0]!.digest))],
    ['wrong digest', (image) => writeFileSync(store.content.path(image.id), 'damaged')],
    ['wrong digest', (image) => truncateSync(store.content.path(recordOf(image).blobs[0]!.digest), 512)],
    ['unreferenced blob', () => writeFileSync(join(blobs(), digestOf(Buffer.from('')).slice(7)), '')],
    ['missing layer', (image) => rmSync(store.layers.path(diffIdOf(image)), { recursive: true })],
    ['missing layer', (image) => rmSync(store.layers.linkPath(diffIdOf(image)))],
    ['missing layer', (image) => store.deps.store.collection('layers').delete(diffIdOf(image))],
    ['orphan directory', () => mkdirSync(join(store.root, 'overlay2', 'f'.repeat(64), 'diff'), { recursive: true })],
    [
      'dangling reference',
      () => store.deps.store.collection('image-tags').put('docker.io/library/x:1', { id: 'gone' }),
    ],
    ['dangling reference', (image) => store.deps.store.collection('images').delete(image.id)],
  ];
  const recordOf = (image: Image) => store.catalog.record(image.id);
  const diffIdOf = (image: Image): string => image.config.rootfs.diff_ids[0]!;

  it.each(damages)('finds a %s, done in way %$, and nothing in a store that is whole', async (kind, damage) => {
    const image = await make('checked');
    await store.catalog.tag(image.id, 'checked:1');
    expect(await checkStore(store.root, store.deps.store)).toEqual([]);
    damage(image);
    expect((await checkStore(store.root, store.deps.store)).map((problem) => problem.kind)).toContain(kind);
  });
});

describe('a layer made here', () => {
  it('is compressed once for a push, and the blob holds the same tar', async () => {
    const tar = await tarOf([{ name: 'file', content: 'x'.repeat(5000) }]);
    await store.unpack(tar);
    const diffId = digestOf(tar);
    const records = store.deps.store.collection<LayerRecord>('layers');
    records.put(diffId, {
      ...records.get(diffId)!,
      blob: { ...records.get(diffId)!.blob, mediaType: 'application/vnd.oci.image.layer.v1.tar' },
    });
    const [first, second] = await Promise.all([store.layers.ensureBlob(diffId), store.layers.ensureBlob(diffId)]);
    expect(first).toEqual(second);
    expect(first.mediaType).toBe('application/vnd.oci.image.layer.v1.tar+gzip');
    expect(gunzipSync(readFileSync(store.content.path(first.digest))).equals(tar)).toBe(true);
    expect(await store.layers.ensureBlob(diffId)).toEqual(first);
    expect(existsSync(store.layers.linkPath(diffId))).toBe(true);
  });

  it('is found by new stores over the same directory', async () => {
    const blob = gzipSync(await tarOf([{ name: 'file', content: 'x' }]));
    const digest = await store.content.write(blob);
    const content = new BlobStore(join(store.root, 'image/oci'));
    expect(content.size(digest)).toBe(blob.length);
    const { deps } = store;
    const layers = new OverlayLayers({
      directory: join(store.root, 'overlay2'),
      content,
      store: deps.store,
      log: deps.log,
    });
    expect(layers.all()).toEqual(store.layers.all());
  });
});
