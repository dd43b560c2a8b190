/**
 * Checks a data root's images for what must never be: missing or damaged blobs, layers without files, content nobody refers
 * to, directories nobody knows. Only reads; run it on a stopped daemon, whose half-done work would show as problems.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { notFound } from '../errors.ts';
import type { Store } from '../store/port.ts';
import { blobsOf, type ImageRecord, type ReferenceRecord } from './catalog/record.ts';
import type { LayerRecord } from './layers/layers.ts';
import { NURSERY } from './layers/nursery.ts';
import { BASE } from './rootfs/base.ts';
import type { RootfsRecord } from './rootfs/rootfs.ts';

export interface Problem {
  kind:
    'missing blob' | 'wrong digest' | 'unreferenced blob' | 'missing layer' | 'orphan directory' | 'dangling reference';
  what: string;
  /** Who needs it, where somebody does. */
  of?: string;
}

const list = (path: string): Promise<string[]> => (existsSync(path) ? readdir(path) : Promise.resolve([]));

async function fileDigest(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}

/** Digest → who needs it. */
function neededBlobs(images: Map<string, ImageRecord>, layers: Map<string, LayerRecord>): Map<string, string> {
  const needed = new Map<string, string>();
  for (const [id, record] of images) {
    for (const digest of blobsOf(id, record)) needed.set(digest, `layer of ${id}`);
    needed.set(id, `config of ${id}`);
    for (const manifest of [record.manifest, record.ociManifest])
      if (manifest) needed.set(manifest.digest, `manifest of ${id}`);
    if (record.index) needed.set(record.index.digest, `index of ${id}`);
  }
  for (const [id, { blob }] of layers) needed.set(blob.digest, `blob of layer ${id}`);
  return needed;
}

async function checkBlobs(directory: string, needed: Map<string, string>): Promise<Problem[]> {
  const problems: Problem[] = [];
  const present = new Set((await list(directory)).map((name) => `sha256:${name}`));
  for (const [digest, of] of needed)
    if (!present.has(digest)) problems.push({ kind: 'missing blob', what: digest, of });
  for (const digest of present) {
    if (!needed.has(digest)) problems.push({ kind: 'unreferenced blob', what: digest });
    if ((await fileDigest(join(directory, digest.slice('sha256:'.length)))) !== digest) {
      problems.push({ kind: 'wrong digest', what: digest, of: needed.get(digest) });
    }
  }
  return problems;
}

async function checkLayers(
  directory: string,
  parts: { images: Map<string, ImageRecord>; layers: Map<string, LayerRecord>; roots: Map<string, RootfsRecord> },
): Promise<Problem[]> {
  const problems: Problem[] = [];
  const stacks = [
    ...[...parts.images].map(([id, { config }]) => [id, config.rootfs.diff_ids] as const),
    ...[...parts.roots].map(([id, { diffIds }]) => [id, diffIds] as const),
  ];
  for (const [of, diffIds] of stacks) {
    for (const what of diffIds) if (!parts.layers.has(what)) problems.push({ kind: 'missing layer', what, of });
  }
  for (const [what, { cacheId, link }] of parts.layers) {
    const whole = existsSync(join(directory, cacheId, 'diff')) && existsSync(join(directory, 'l', link));
    if (!whole) problems.push({ kind: 'missing layer', what, of: cacheId });
  }
  const known = new Set(['l', BASE, NURSERY]);
  for (const { cacheId } of parts.layers.values()) known.add(cacheId);
  for (const { mountId } of parts.roots.values()) known.add(mountId);
  for (const what of await list(join(directory, NURSERY))) problems.push({ kind: 'orphan directory', what });
  for (const what of await list(directory)) if (!known.has(what)) problems.push({ kind: 'orphan directory', what });
  return problems;
}

type Records = <T extends object>(collection: string) => Map<string, T>;

const recordsOf =
  (store: Pick<Store, 'collection'>): Records =>
  (collection) =>
    new Map(
      store
        .collection<never>(collection)
        .all()
        .map(({ id, record }) => [id, record]),
    );

/** Reads the daemon's database without changing it. */
function recordsIn(path: string): Records {
  if (!existsSync(path)) throw notFound(`${path}: no such file; is this a data root?`);
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    const rows = database.prepare('SELECT collection, id, json FROM records').all() as {
      collection: string;
      id: string;
      json: string;
    }[];
    return (collection) =>
      new Map(rows.filter((row) => row.collection === collection).map(({ id, json }) => [id, JSON.parse(json)]));
  } finally {
    database.close();
  }
}

function checkReferences(records: Records, images: Map<string, ImageRecord>): Problem[] {
  return ['image-tags', 'image-digests']
    .flatMap((name) => [...records<ReferenceRecord>(name)])
    .filter(([, { id }]) => !images.has(id))
    .map(([what, { id }]) => ({ kind: 'dangling reference', what, of: id }));
}

/** All problems of the images under `dataRoot`; none is the only good answer. Without a store its database is read. */
export async function checkStore(dataRoot: string, store?: Pick<Store, 'collection'>): Promise<Problem[]> {
  const records = store ? recordsOf(store) : recordsIn(join(dataRoot, 'reactord.db'));
  const images = records<ImageRecord>('images');
  const layers = records<LayerRecord>('layers');
  const roots = records<RootfsRecord>('rootfs');
  return [
    ...(await checkBlobs(join(dataRoot, 'image/oci/blobs/sha256'), neededBlobs(images, layers))),
    ...(await checkLayers(join(dataRoot, 'overlay2'), { images, layers, roots })),
    ...checkReferences(records, images),
  ];
}
