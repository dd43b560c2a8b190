/**
 * `docker save`: one tar that is a docker archive (manifest.json, repositories) and an OCI layout (index.json) at once, over
 * the very blobs of the store, so that digests survive a round trip.
 */
import { createReadStream } from 'node:fs';
import { notFound } from '../../errors.ts';
import { encodeHeader, END_OF_ARCHIVE, padding, tarHeader } from '../../tar/header.ts';
import { indexEntry, REF_NAME } from '../catalog/index-file.ts';
import { blobsOf } from '../catalog/record.ts';
import { isIdPrefix } from '../delete.ts';
import { publishImage } from '../events.ts';
import { MEDIA } from '../manifest.ts';
import type { Image } from '../port.ts';
import { canonical, familiar, familiarName, parseReference, repositoryName } from '../reference.ts';
import type { ImageServices } from '../services.ts';
import type { Lease } from '../store-port.ts';

export interface Saved {
  image: Image;
  /** Canonical tags that were asked for. */
  tags: string[];
}

/** What each name means: an id saves no tag, a bare repository all its tags. Throws notFound. */
export function chooseImages({ catalog }: ImageServices, names: readonly string[], platform?: string): Saved[] {
  const chosen = new Map<string, Saved>();
  const choose = (image: Image, tag?: string): void => {
    const saved = chosen.get(image.id) ?? { image, tags: [] };
    if (tag && !saved.tags.includes(tag)) saved.tags.push(tag);
    chosen.set(image.id, saved);
  };
  for (const name of names) {
    const image = catalog.find(name, platform);
    if (image && isIdPrefix(image.id, name)) {
      choose(image);
      continue;
    }
    const reference = parseReference(name);
    if (reference.tag || reference.digest) {
      choose(image ?? catalog.get(name), reference.tag ? canonical({ ...reference, digest: undefined }) : undefined);
      continue;
    }
    const all = catalog.list().flatMap(({ id }) => catalog.tagsOf(id).filter((tag) => inRepository(tag, reference)));
    if (!all.length) throw notFound(`No such image: ${name}`, { code: 'no-such-image' });
    for (const tag of all) choose(catalog.get(tag, platform), tag);
  }
  return [...chosen.values()];
}

const inRepository = (tag: string, reference: ReturnType<typeof parseReference>): boolean =>
  repositoryName(parseReference(tag)) === repositoryName(reference);

const blobName = (digest: string): string => `blobs/sha256/${digest.slice('sha256:'.length)}`;

function manifestJson(saved: readonly Saved[], services: ImageServices): object[] {
  return saved.map(({ image, tags }) => ({
    Config: blobName(image.id),
    RepoTags: tags.length ? tags.map((tag) => familiar(parseReference(tag))) : null,
    Layers: services.catalog.record(image.id).blobs.map(({ digest }) => blobName(digest)),
  }));
}

function indexJson(saved: readonly Saved[], services: ImageServices): object {
  const manifests = saved.flatMap(({ image, tags }) => {
    const record = services.catalog.record(image.id);
    if (!tags.length) return [indexEntry(record)];
    return tags.map((name) =>
      indexEntry(record, { 'io.containerd.image.name': name, [REF_NAME]: parseReference(name).tag! }),
    );
  });
  return { schemaVersion: 2, mediaType: MEDIA.ociIndex, manifests };
}

/** The oldest form: repository → tag → image. */
function repositoriesJson(saved: readonly Saved[]): object {
  const repositories: Record<string, Record<string, string>> = {};
  for (const { image, tags } of saved) {
    for (const tag of tags.map((text) => parseReference(text))) {
      (repositories[familiarName(tag)] ??= {})[tag.tag!] = image.id.slice('sha256:'.length);
    }
  }
  return repositories;
}

function* document(name: string, value: object): Generator<Uint8Array> {
  const bytes = Buffer.from(JSON.stringify(value));
  yield encodeHeader(tarHeader({ name, size: bytes.length }));
  yield bytes;
  yield new Uint8Array(padding(bytes.length));
}

async function* blob({ content }: ImageServices, digest: string): AsyncGenerator<Uint8Array> {
  const size = content.size(digest);
  yield encodeHeader(tarHeader({ name: blobName(digest), size }));
  yield* createReadStream(content.path(digest), { highWaterMark: 1 << 20 }) as AsyncIterable<Uint8Array>;
  yield new Uint8Array(padding(size));
}

/** The archive's bytes, each chunk the receiver's own. Throws notFound before the first of them. */
export function saveImages(
  services: ImageServices,
  names: readonly string[],
  platform?: string,
): AsyncIterable<Uint8Array> {
  const saved = chooseImages(services, names, platform);
  const digests = new Set<string>();
  for (const { image } of saved) {
    const { manifest, ociManifest, blobs } = services.catalog.record(image.id);
    for (const digest of blobsOf(image.id, { manifest, ociManifest, blobs })) digests.add(digest);
  }
  const lease = services.content.lease();
  for (const digest of digests) lease.add(digest);
  return archive(services, saved, digests, lease);
}

async function* archive(
  services: ImageServices,
  saved: Saved[],
  digests: ReadonlySet<string>,
  lease: Lease,
): AsyncGenerator<Uint8Array> {
  try {
    const directory = { type: 'directory' } as const;
    yield encodeHeader(tarHeader({ name: 'blobs/', ...directory }));
    yield encodeHeader(tarHeader({ name: 'blobs/sha256/', ...directory }));
    for (const digest of digests) yield* blob(services, digest);
    yield* document('index.json', indexJson(saved, services));
    yield* document('manifest.json', manifestJson(saved, services));
    yield* document('oci-layout', { imageLayoutVersion: '1.0.0' });
    yield* document('repositories', repositoriesJson(saved));
    yield Uint8Array.from(END_OF_ARCHIVE);
    for (const { image } of saved) publishImage(services.bus, 'save', image);
  } finally {
    lease.release();
  }
}
