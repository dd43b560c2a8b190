/**
 * The images there are: records, tags and digests, each in memory and in the store; index.json follows. An id finds its
 * image, so does a unique prefix of one, and a reference; a reference that could be both means the name first, as in dockerd.
 */
import type { Logger } from 'pino';
import { invalid, notFound } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Collection, Store } from '../../store/port.ts';
import type { BlobStore } from '../content/content.ts';
import { readDocument } from '../content/content.ts';
import type { OverlayLayers } from '../layers/layers.ts';
import { MEDIA, normalizePlatform, parsePlatform, type Platform, platformMatches, platformText } from '../manifest.ts';
import type { Image, ImageConfigDocument } from '../port.ts';
import {
  canonical,
  familiar,
  isDigest,
  parseReference,
  type Reference,
  repositoryName,
  withDefaultTag,
} from '../reference.ts';
import type { Catalog, Descriptor } from '../store-port.ts';
import { IndexFile, indexDocument } from './index-file.ts';
import { chainIds, type ImageRecord, type ReferenceRecord } from './record.ts';

/** Stacks of layers under containers: they are kept though their image is gone. */
export type StacksInUse = () => Iterable<readonly string[]>;

export class ImageCatalog implements Catalog {
  #content: BlobStore;
  #layers: OverlayLayers;
  #store: Store;
  #clock: Clock;
  #log: Logger;
  #hostPlatform: Platform;
  #stored: { images: Collection<ImageRecord>; tags: Collection<ReferenceRecord>; digests: Collection<ReferenceRecord> };
  #images = new Map<string, ImageRecord>();
  /** Canonical reference → image id. */
  #tags = new Map<string, string>();
  #digests = new Map<string, string>();
  #views = new Map<string, Image>();
  /** Counts changes. */
  #generation = 0;
  #index: IndexFile;
  #collecting: Promise<{ deletedBytes: number }> | undefined;
  #stacksInUse: StacksInUse = () => [];

  constructor(deps: {
    content: BlobStore;
    layers: OverlayLayers;
    store: Store;
    clock: Clock;
    log: Logger;
    hostPlatform: Platform;
  }) {
    this.#content = deps.content;
    this.#layers = deps.layers;
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#hostPlatform = deps.hostPlatform;
    this.#stored = {
      images: deps.store.collection('images'),
      tags: deps.store.collection('image-tags'),
      digests: deps.store.collection('image-digests'),
    };
    this.#index = new IndexFile(deps.content.directory, () => this.#document(), deps.log);
    for (const { id, record } of this.#stored.images.all()) this.#images.set(id, record);
    for (const { id, record } of this.#stored.tags.all()) this.#tags.set(id, record.id);
    for (const { id, record } of this.#stored.digests.all()) this.#digests.set(id, record.id);
  }

  /** Drops images whose content is gone, and references to nothing. Called when the layers have booted. */
  boot(stacksInUse: StacksInUse): void {
    this.#stacksInUse = stacksInUse;
    for (const [id, record] of this.#images) {
      const missing =
        !this.#content.has(id) || record.config.rootfs.diff_ids.find((diffId) => !this.#layers.has(diffId));
      if (!missing) continue;
      this.#log.error({ image: id, missing }, 'an image has lost its content and is dropped');
      this.#images.delete(id);
      this.#stored.images.delete(id);
    }
    for (const [map, stored] of [
      [this.#tags, this.#stored.tags],
      [this.#digests, this.#stored.digests],
    ] as const) {
      for (const [reference, id] of map) {
        if (this.#images.has(id)) continue;
        map.delete(reference);
        stored.delete(reference);
      }
    }
    this.#index.changed();
  }

  get(reference: string, platform?: string): Image {
    const found = this.find(reference, platform);
    if (found) return found;
    throw notFound(`No such image: ${missingName(reference)}`, { code: 'no-such-image' });
  }

  find(reference: string, platform?: string): Image | undefined {
    const id = this.#resolve(reference);
    if (id === undefined) return undefined;
    if (platform) this.#checkPlatform(reference, this.#images.get(id)!, platform);
    return this.#view(id);
  }

  #checkPlatform(reference: string, { config }: ImageRecord, platform: string): void {
    const wanted = parsePlatform(platform, this.#hostPlatform);
    if (platformMatches(wanted, config)) return;
    const has = platformText(normalizePlatform(config));
    throw notFound(
      `image with reference ${reference} was found but its platform (${has}) does not match the specified platform (${platformText(wanted)})`,
      { code: 'platform' },
    );
  }

  #resolve(reference: string): string | undefined {
    if (isDigest(reference)) return this.#images.has(reference) ? reference : undefined;
    if (/^[0-9a-f]{64}$/.test(reference)) return this.#resolve(`sha256:${reference}`);
    const named = this.#byName(reference);
    if (named !== undefined) return named;
    return /^(sha256:)?[0-9a-f]{1,64}$/.test(reference) ? this.#byPrefix(reference) : undefined;
  }

  #byName(reference: string): string | undefined {
    if (reference.startsWith('sha256:')) return undefined;
    const parsed = parseReference(reference);
    if (parsed.digest) return this.#digests.get(`${repositoryName(parsed)}@${parsed.digest}`);
    return this.#tags.get(canonical(withDefaultTag(parsed)));
  }

  #byPrefix(reference: string): string | undefined {
    const prefix = reference.startsWith('sha256:') ? reference : `sha256:${reference}`;
    let found: string | undefined;
    for (const id of this.#images.keys()) {
      if (!id.startsWith(prefix)) continue;
      if (found !== undefined) return undefined;
      found = id;
    }
    return found;
  }

  list(): Image[] {
    return [...this.#images.keys()].map((id) => this.#view(id));
  }

  record(id: string): ImageRecord {
    const record = this.#images.get(id);
    if (!record) throw notFound(`No such image: ${id}`, { code: 'no-such-image' });
    return record;
  }

  /** Canonical tags of an image, sorted. */
  tagsOf(id: string): string[] {
    return [...this.#tags]
      .filter(([, owner]) => owner === id)
      .map(([reference]) => reference)
      .sort();
  }

  /** Canonical "name@digest" references of an image, sorted. */
  digestsOf(id: string): string[] {
    return [...this.#digests]
      .filter(([, owner]) => owner === id)
      .map(([reference]) => reference)
      .sort();
  }

  childrenOf(id: string): string[] {
    return [...this.#images].filter(([, record]) => record.parent === id).map(([child]) => child);
  }

  /** The image at exactly this reference. */
  at(reference: Reference): string | undefined {
    const name = canonical(reference);
    return reference.digest ? this.#digests.get(name) : this.#tags.get(name);
  }

  #view(id: string): Image {
    let view = this.#views.get(id);
    if (!view) {
      const record = this.#images.get(id)!;
      view = {
        id,
        config: record.config,
        ...(record.ownManifest ? {} : { manifestDigest: record.manifest.digest }),
        repoTags: this.tagsOf(id).map((tag) => familiar(parseReference(tag))),
        repoDigests: this.digestsOf(id).map((digest) => familiar(parseReference(digest))),
        size: record.size,
        ...(record.parent ? { parent: record.parent } : {}),
      };
      this.#views.set(id, view);
    }
    return view;
  }

  async add(image: Parameters<Catalog['add']>[0]): Promise<Image> {
    const id = image.configDigest;
    const known = this.#images.get(id);
    if (known && (!image.manifest || !known.ownManifest)) return this.#view(id);
    const config = checkedConfig(await readDocument(this.#content, id));
    const diffIds = config.rootfs.diff_ids;
    if (image.blobs.length !== diffIds.length) {
      throw invalid(`invalid image: ${image.blobs.length} layers but ${diffIds.length} diff ids`, {
        code: 'bad-image',
      });
    }
    const size = diffIds.reduce((sum, diffId) => sum + this.#layers.record(diffId).size, 0);
    const manifest = image.manifest ?? (await this.#writeManifest(id, config, image.blobs));
    const parent = image.parent ?? known?.parent;
    this.#put(id, {
      config,
      manifest,
      ownManifest: !image.manifest,
      ...(image.index ? { index: image.index } : {}),
      blobs: image.blobs,
      ...(parent ? { parent } : {}),
      size,
      ...(known?.taggedAt ? { taggedAt: known.taggedAt } : {}),
    });
    await this.#store.durable();
    return this.#view(id);
  }

  /** The manifest of an image that came without one. */
  async #writeManifest(id: string, config: ImageConfigDocument, blobs: Descriptor[]): Promise<Descriptor> {
    const layers = blobs.map(({ digest, size, mediaType }) => ({ mediaType, digest, size }));
    const document = {
      schemaVersion: 2,
      mediaType: MEDIA.ociManifest,
      config: { mediaType: MEDIA.ociConfig, digest: id, size: this.#content.size(id) },
      layers,
    };
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = await this.#content.write(bytes);
    const { os, architecture, variant } = config;
    const platform = { os, architecture, ...(variant ? { variant } : {}) };
    return { mediaType: MEDIA.ociManifest, digest, size: bytes.length, platform };
  }

  #put(id: string, record: ImageRecord): void {
    this.#images.set(id, record);
    this.#stored.images.put(id, record);
    this.#touched(id);
  }

  #touched(...ids: (string | undefined)[]): void {
    this.#generation++;
    for (const id of ids) if (id !== undefined) this.#views.delete(id);
    this.#index.changed();
  }

  async tag(id: string, reference: string): Promise<string | undefined> {
    const record = this.record(id);
    const parsed = withDefaultTag(parseReference(reference));
    if (!parsed.tag || parsed.digest)
      throw invalid('refusing to create a tag with a digest reference', { code: 'tag' });
    const name = canonical(parsed);
    const before = this.#tags.get(name);
    this.#tags.set(name, id);
    this.#stored.tags.put(name, { id });
    this.#put(id, { ...record, taggedAt: this.#clock.now() });
    this.#touched(id, before);
    await this.#store.durable();
    return before;
  }

  async addDigest(id: string, name: string, digest: string): Promise<void> {
    this.record(id);
    const reference = `${repositoryName(parseReference(name))}@${digest}`;
    const before = this.#digests.get(reference);
    if (before === id) return;
    this.#digests.set(reference, id);
    this.#stored.digests.put(reference, { id });
    this.#touched(id, before);
    await this.#store.durable();
  }

  /** Removes a canonical tag or digest reference. The caller awaits `durable`. */
  untag(reference: string): void {
    const id = this.#tags.get(reference) ?? this.#digests.get(reference);
    this.#tags.delete(reference);
    this.#digests.delete(reference);
    this.#stored.tags.delete(reference);
    this.#stored.digests.delete(reference);
    this.#touched(id);
  }

  /** Forgets an image; its content stays until `collect`. Returns the chain ids nobody else has, top first. */
  forget(id: string): string[] {
    const { config } = this.record(id);
    for (const reference of [...this.tagsOf(id), ...this.digestsOf(id)]) this.untag(reference);
    this.#images.delete(id);
    this.#stored.images.delete(id);
    this.#touched(id);
    const others = new Set<string>();
    for (const stack of this.#stacks()) for (const chain of chainIds(stack)) others.add(chain);
    return chainIds(config.rootfs.diff_ids)
      .filter((chain) => !others.has(chain))
      .reverse();
  }

  collect(): Promise<{ deletedBytes: number }> {
    this.#collecting ??= this.#collect().finally(() => (this.#collecting = undefined));
    return this.#collecting;
  }

  /** No collection is under way. */
  async collected(): Promise<void> {
    await this.#collecting?.catch(() => {});
  }

  /** Mark and sweep. Deleting takes time; when images changed meanwhile, the marks are made anew before the next one. */
  async #collect(): Promise<{ deletedBytes: number }> {
    await this.#store.durable();
    let deletedBytes = 0;
    const diffs = this.#marks(() => this.#diffsKept());
    for (const { id: diffId, record } of this.#layers.all()) {
      if (diffs().has(diffId) || this.#content.leased(diffId) || this.#content.leased(record.blob.digest)) continue;
      await this.#layers.delete(diffId);
      deletedBytes += record.size;
    }
    const blobs = this.#marks(() => this.referenced());
    for (const digest of this.#content.digests()) {
      if (this.#content.leased(digest) || blobs().has(digest)) continue;
      deletedBytes += await this.#content.delete(digest);
    }
    return { deletedBytes };
  }

  #marks(mark: () => Set<string>): () => Set<string> {
    let marked = mark();
    let of = this.#generation;
    return () => {
      if (of !== this.#generation) [marked, of] = [mark(), this.#generation];
      return marked;
    };
  }

  *#stacks(): Iterable<readonly string[]> {
    yield* this.#stacksInUse();
    for (const { config } of this.#images.values()) yield config.rootfs.diff_ids;
  }

  #diffsKept(): Set<string> {
    return new Set([...this.#stacks()].flat());
  }

  /** Digests of all blobs that images and layers refer to. */
  referenced(): Set<string> {
    const kept = new Set<string>();
    for (const [id, record] of this.#images) {
      kept.add(id).add(record.manifest.digest);
      if (record.index) kept.add(record.index.digest);
      for (const blob of record.blobs) kept.add(blob.digest);
    }
    for (const { record } of this.#layers.all()) kept.add(record.blob.digest);
    return kept;
  }

  #document(): object {
    return indexDocument([...this.#images].map(([id, { manifest }]) => ({ manifest, tags: this.tagsOf(id) })));
  }

  /** index.json shows everything done so far. */
  settled(): Promise<void> {
    return this.#index.settled();
  }
}

function missingName(reference: string): string {
  if (isDigest(reference) || reference.startsWith('sha256:')) return reference;
  if (/^[0-9a-f]{64}$/.test(reference)) return `sha256:${reference}`;
  return familiar(withDefaultTag(parseReference(reference)));
}

/** A config document from anywhere: what we rely on is there. */
export function checkedConfig(document: unknown): ImageConfigDocument {
  const config = document as Partial<ImageConfigDocument> | null;
  const diffIds = config?.rootfs?.diff_ids ?? [];
  if (
    !config ||
    typeof config !== 'object' ||
    !Array.isArray(diffIds) ||
    !diffIds.every((id) => isDigest(String(id)))
  ) {
    throw invalid('invalid image: the config document has no valid rootfs', { code: 'bad-image' });
  }
  return {
    ...config,
    architecture: String(config.architecture ?? ''),
    os: String(config.os || 'linux'),
    config: config.config ?? {},
    rootfs: { type: 'layers', diff_ids: diffIds },
  };
}
