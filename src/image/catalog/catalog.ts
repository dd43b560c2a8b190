/**
 * The images there are: records, tags and digests, each in memory and in the store; index.json follows. An id finds its
 * image, so does a unique prefix of one, and a reference; a reference that could be both means the name first, as in dockerd.
 */
import type { Logger } from 'pino';
import { invalid, notFound } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Collection, Store } from '../../store/port.ts';
import { type BlobStore, readDocument } from '../content/content.ts';
import type { OverlayLayers } from '../layers/layers.ts';
import { MEDIA, normalizePlatform, parsePlatform, type Platform, platformMatches, platformText } from '../manifest.ts';
import type { Image } from '../port.ts';
import { canonical, familiar, parseReference, repositoryName, withDefaultTag } from '../reference.ts';
import type { Catalog, Lease } from '../store-port.ts';
import { collectGarbage } from './collect.ts';
import { checkedConfig, writeManifest } from './config.ts';
import { IndexFile, indexDocument } from './index-file.ts';
import { grouped, Names } from './names.ts';
import { blobsOf, chainIds, type ImageRecord } from './record.ts';
import { missingName, resolveReference } from './resolve.ts';

/** Stacks of layers under containers: they are kept though their image is gone. */
export type StacksInUse = () => Iterable<readonly string[]>;

export class ImageCatalog implements Catalog {
  #content: BlobStore;
  #layers: OverlayLayers;
  #store: Store;
  #clock: Clock;
  #log: Logger;
  #hostPlatform: Platform;
  #stored: Collection<ImageRecord>;
  #images = new Map<string, ImageRecord>();
  #tags: Names;
  #digests: Names;
  /** Tags that are not durable yet. */
  #unsettled = new Set<string>();
  #children: Map<string, string[]> | undefined;
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
    this.#stored = deps.store.collection('images');
    this.#tags = new Names(deps.store, 'image-tags');
    this.#digests = new Names(deps.store, 'image-digests');
    this.#index = new IndexFile(deps.content.directory, () => this.#document(), deps.log);
    for (const { id, record } of this.#stored.all()) this.#images.set(id, record);
  }

  /** Drops images whose content is gone, and references to nothing. Called when the layers have booted. */
  boot(stacksInUse: StacksInUse): void {
    this.#stacksInUse = stacksInUse;
    for (const [id, record] of this.#images) {
      const needed = [id, record.manifest.digest, ...record.blobs.map(({ digest }) => digest)];
      const missing =
        needed.find((digest) => !this.#content.has(digest)) ??
        record.config.rootfs.diff_ids.find((diffId) => !this.#layers.has(diffId));
      if (!missing) continue;
      this.#log.error({ image: id, missing }, 'an image has lost its content and is dropped');
      this.#images.delete(id);
      this.#stored.delete(id);
    }
    for (const names of [this.#tags, this.#digests]) names.keepOnly((id) => this.#images.has(id));
    this.#touched();
  }

  get(reference: string, platform?: string): Image {
    const id = this.#resolve(reference);
    if (id === undefined) throw notFound(`No such image: ${missingName(reference)}`, { code: 'no-such-image' });
    const other = platform && this.#otherPlatform(id, platform);
    if (!other) return this.#view(id);
    throw notFound(`image with reference ${reference} was found but ${other}`, { code: 'platform' });
  }

  find(reference: string, platform?: string): Image | undefined {
    const id = this.#resolve(reference);
    if (id === undefined || (platform && this.#otherPlatform(id, platform))) return undefined;
    return this.#view(id);
  }

  /** Says how the image is not for this platform. */
  #otherPlatform(id: string, platform: string): string | undefined {
    const { config } = this.record(id);
    const wanted = parsePlatform(platform, this.#hostPlatform);
    if (platformMatches(wanted, config)) return undefined;
    const has = platformText(normalizePlatform(config));
    return `its platform (${has}) does not match the specified platform (${platformText(wanted)})`;
  }

  #resolve(reference: string): string | undefined {
    const known = {
      has: (id: string) => this.#images.has(id),
      ids: () => this.#images.keys(),
      tag: (name: string) => this.#tags.get(name),
      digest: (name: string) => this.#digests.get(name),
    };
    return resolveReference(known, reference);
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
  tagsOf(id: string): readonly string[] {
    return this.#tags.of(id);
  }

  /** Canonical "name@digest" references of an image, sorted. */
  digestsOf(id: string): readonly string[] {
    return this.#digests.of(id);
  }

  childrenOf(id: string): readonly string[] {
    this.#children ??= grouped(
      [...this.#images].flatMap(([child, { parent }]) => (parent ? [[child, parent] as const] : [])),
    );
    return this.#children.get(id) ?? [];
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
        ...(record.cache ? { cache: true as const } : {}),
      };
      this.#views.set(id, view);
    }
    return view;
  }

  async add(image: Parameters<Catalog['add']>[0]): Promise<Image> {
    // A manifest made here is nobody's until the image is put.
    const lease = this.#content.lease();
    try {
      return await this.#add(image, lease);
    } finally {
      lease.release();
    }
  }

  async #add(image: Parameters<Catalog['add']>[0], lease: Lease): Promise<Image> {
    const id = image.configDigest;
    const known = this.#images.get(id);
    if (known && (!image.manifest || !known.ownManifest)) return this.#promote(id, known, image.cache);
    const config = checkedConfig(await readDocument(this.#content, id));
    const diffIds = config.rootfs.diff_ids;
    if (image.blobs.length !== diffIds.length) {
      throw invalid(`invalid image: ${image.blobs.length} layers but ${diffIds.length} diff ids`, {
        code: 'bad-image',
      });
    }
    const size = diffIds.reduce((sum, diffId) => sum + this.#layers.record(diffId).size, 0);
    const own = { id, config, blobs: image.blobs };
    const manifest = image.manifest ?? (await writeManifest(this.#content, own, lease));
    const isOci = manifest.mediaType === MEDIA.ociManifest;
    const refers = {
      manifest,
      ...(isOci ? {} : { ociManifest: await writeManifest(this.#content, own, lease) }),
      ...(image.index ? { index: image.index } : {}),
      blobs: image.blobs,
    };
    const parent = image.parent ?? known?.parent;
    const needed = blobsOf(id, refers);
    await this.#content.synced(needed);
    this.#content.used(needed);
    this.#put(id, {
      config,
      ...refers,
      ownManifest: !image.manifest,
      ...(parent ? { parent } : {}),
      ...(image.cache && (!known || known.cache) ? { cache: true } : {}),
      size,
      ...(known?.taggedAt ? { taggedAt: known.taggedAt } : {}),
    });
    await this.#store.durable();
    return this.#view(id);
  }

  /** A step of a build that turns out to be somebody's image is no longer only that. */
  async #promote(id: string, known: ImageRecord, cache: boolean | undefined): Promise<Image> {
    if (known.cache && !cache) {
      const { cache: _, ...record } = known;
      this.#put(id, record);
      await this.#store.durable();
    }
    return this.#view(id);
  }

  #put(id: string, record: ImageRecord): void {
    this.#keep(id, record);
    this.#touched(id);
  }

  #keep(id: string, record: ImageRecord): void {
    this.#images.set(id, record);
    this.#stored.put(id, record);
  }

  #touched(...ids: (string | undefined)[]): void {
    this.#generation++;
    this.#children = undefined;
    for (const id of ids) if (id !== undefined) this.#views.delete(id);
    this.#index.changed();
  }

  async tag(id: string, reference: string, came?: 'came'): Promise<string | undefined> {
    const record = this.record(id);
    const parsed = withDefaultTag(parseReference(reference));
    if (!parsed.tag || parsed.digest)
      throw invalid('refusing to create a tag with a digest reference', { code: 'tag' });
    const name = canonical(parsed);
    const before = this.#tags.set(name, id);
    if (!came) this.#keep(id, { ...record, taggedAt: this.#clock.now() });
    if (before !== id) {
      this.#unsettled.add(name);
      this.#touched(id, before);
    }
    // When a name is given again to the image that has it, as each rebuild does, only the time is new: nobody waits for that.
    if (!this.#unsettled.has(name)) return before;
    await this.#store.durable();
    if (this.#tags.get(name) === id) this.#unsettled.delete(name);
    return before;
  }

  async addDigest(id: string, name: string, digest: string): Promise<void> {
    this.record(id);
    const before = this.#digests.set(`${repositoryName(parseReference(name))}@${digest}`, id);
    if (before === id) return;
    this.#touched(id, before);
    await this.#store.durable();
  }

  /** Removes a canonical tag or digest reference. The caller awaits `durable`. */
  untag(reference: string): void {
    const id = this.#tags.get(reference) ?? this.#digests.get(reference);
    this.#tags.delete(reference);
    this.#digests.delete(reference);
    this.#touched(id);
  }

  /** Forgets an image; its content stays until `collect`. Returns the chain ids nobody else has, top first. */
  forget(id: string): string[] {
    const { config } = this.record(id);
    for (const reference of [...this.tagsOf(id), ...this.digestsOf(id)]) this.untag(reference);
    this.#images.delete(id);
    this.#stored.delete(id);
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

  async #collect(): Promise<{ deletedBytes: number }> {
    if (this.#store.incomplete) return { deletedBytes: 0 };
    await this.#store.durable();
    await this.#content.sweepIngest(this.#clock.now());
    return await collectGarbage(
      { content: this.#content, layers: this.#layers },
      {
        generation: () => this.#generation,
        diffs: () => new Set([...this.#stacks()].flat()),
        blobs: () => this.#blobs(),
      },
    );
  }

  *#stacks(): Iterable<readonly string[]> {
    yield* this.#stacksInUse();
    for (const { config } of this.#images.values()) yield config.rootfs.diff_ids;
  }

  /** Digests of all blobs that images and layers refer to. */
  #blobs(): Set<string> {
    const kept = this.#blobsOfImages();
    for (const { record } of this.#layers.all()) kept.add(record.blob.digest);
    return kept;
  }

  #blobsOfImages(): Set<string> {
    const kept = new Set<string>();
    for (const [id, record] of this.#images) for (const digest of blobsOf(id, record)) kept.add(digest);
    return kept;
  }

  /** Before anything is asked of a daemon that starts: which blobs may be believed. */
  async vouch(): Promise<void> {
    if (this.#store.incomplete) return;
    await this.#content.distrust({ byImages: this.#blobsOfImages(), all: this.#blobs() }, this.#clock.now());
  }

  #document(): object {
    return indexDocument([...this.#images].map(([id, record]) => ({ ...record, tags: this.tagsOf(id) })));
  }

  /** index.json shows everything done so far. */
  settled(): Promise<void> {
    return this.#index.settled();
  }
}
