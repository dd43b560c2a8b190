/**
 * The build cache: what a step makes of what was before it, by a digest of all that it depends on. A record points at an
 * image that holds the layer; when that image is gone, so is the record's worth. Mount caches, and the clients' directories as
 * they last came, are directories beside it.
 */
import { hash } from 'node:crypto';
import { mkdirSync, renameSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { newId } from '../lib/ids.ts';
import { Lanes } from '../lib/lanes.ts';
import { runTool } from '../lib/spawn.ts';
import type { Image, ImageStore } from '../image/port.ts';
import type { Collection, Store } from '../store/port.ts';
import { removeTree } from './remove.ts';

export interface CacheRecord {
  kind: 'layer' | 'mount' | 'local';
  /** The instruction, for people. */
  description: string;
  createdAt: number;
  lastUsedAt: number;
  uses: number;
  /** Bytes. */
  size: number;
  parent?: string;
  /** layer: the image that holds it, by style; all have the same layers. */
  images?: Record<string, string>;
  /** layer: '' when the step made none. */
  diffId?: string;
  /** RFC 3339, as history shows it. */
  created?: string;
  /** Same place, same words: what the next run of this step is compared with to explain a miss. */
  slot?: string;
  /** mount, local: the directory's name. */
  directory?: string;
}

/** A copy from a stage or an image, known without reading its files. */
export interface Alias {
  /** The record. */
  to: string;
  /** The step's own part of it. */
  key: string;
  /** Digest of the files, as classic history shows it. */
  hash: string;
}

export const digestOf = (value: unknown): string => hash('sha256', JSON.stringify(value));

/** Where records of a kind have their directories. */
const PLACES = { layer: '', mount: 'mounts', local: 'locals' } as const;

const DU_DEADLINE_MS = 60_000;
/** lastUsedAt is written no more often. */
const TOUCH_EVERY_MS = 60_000;

export class BuildCache {
  readonly #stored: Collection<CacheRecord>;
  /** All records, parsed: a rebuild looks at one for each step. */
  readonly #records: Map<string, CacheRecord>;
  /** Files that the newest record of a slot took, each with a digest. Read only to explain a miss. */
  readonly #taken: Collection<{ files: Record<string, string> }>;
  readonly directory: string;
  /** Cheap keys (no file was read) that are known to mean another. */
  readonly #aliases: Collection<Alias>;
  #images: ImageStore;
  #clock: Clock;
  #slots = new Map<string, string>();
  #removing = new Set<Promise<unknown>>();
  /** `locked` mounts wait for each other here. */
  readonly locks = new Lanes();
  readonly inUse = new Map<string, number>();

  constructor(deps: { store: Store; images: ImageStore; clock: Clock; directory: string }) {
    this.#stored = deps.store.collection<CacheRecord>('buildcache');
    this.#records = new Map(this.#stored.all().map(({ id, record }) => [id, record]));
    this.#taken = deps.store.collection('buildcache-files');
    this.#aliases = deps.store.collection<Alias>('buildcache-aliases');
    this.directory = deps.directory;
    this.#images = deps.images;
    this.#clock = deps.clock;
    for (const [id, record] of this.#records) if (record.slot) this.#slots.set(record.slot, id);
  }

  all(): Iterable<[id: string, record: CacheRecord]> {
    return this.#records;
  }

  get(key: string): CacheRecord | undefined {
    return this.#records.get(key);
  }

  #put(key: string, record: CacheRecord): void {
    this.#records.set(key, record);
    this.#stored.put(key, record);
  }

  /** The record of a step and an image that still holds its layer. */
  find(key: string): { record: CacheRecord; image: Image } | undefined {
    const record = this.#records.get(key);
    if (!record?.images) return undefined;
    for (const id of Object.values(record.images)) {
      const image = this.#images.find(id);
      if (image && (!record.diffId || image.config.rootfs.diff_ids.at(-1) === record.diffId)) return { record, image };
    }
    return undefined;
  }

  /** What a cheap key stands for, if its record is still good. */
  resolve(alias: string): Alias | undefined {
    const found = this.#aliases.get(alias);
    return found && this.find(found.to) ? found : undefined;
  }

  alias(alias: string, meaning: Alias): void {
    if (this.#aliases.get(alias)?.to !== meaning.to) this.#aliases.put(alias, meaning);
  }

  /** Forgets cheap keys whose record is gone. */
  forgetAliases(): void {
    for (const { id, record } of this.#aliases.all()) if (!this.#records.get(record.to)) this.#aliases.delete(id);
  }

  touch(key: string, record: CacheRecord): void {
    const now = this.#clock.now();
    if (now - record.lastUsedAt > TOUCH_EVERY_MS || record.uses === 0)
      this.#put(key, { ...record, lastUsedAt: now, uses: record.uses + 1 });
  }

  /** `files`: what the step took, each with a digest. */
  add(
    key: string,
    record: Omit<CacheRecord, 'kind' | 'createdAt' | 'lastUsedAt' | 'uses'>,
    files?: Record<string, string>,
  ): void {
    const now = this.#clock.now();
    const known = this.#records.get(key);
    const images = { ...(known?.diffId === record.diffId ? known?.images : {}), ...record.images };
    this.#put(key, { kind: 'layer', createdAt: now, lastUsedAt: now, uses: known?.uses ?? 0, ...record, images });
    if (!record.slot) return;
    this.#slots.set(record.slot, key);
    if (files) this.#taken.put(record.slot, { files });
    else this.#taken.delete(record.slot);
  }

  /** Why a step has no record: what changed since it last ran at this place. */
  explain(slot: string, files: Record<string, string> | undefined, parentCached: boolean): string {
    const before = this.#records.get(this.#slots.get(slot) ?? '');
    if (!before) return 'not built before in this form';
    const taken = files && this.#taken.get(slot);
    const changed = taken && firstChange(taken.files, files);
    if (changed) return changed;
    if (!parentCached) return 'an earlier step changed';
    return this.find(this.#slots.get(slot)!) ? 'an argument or a source changed' : 'its layer was removed';
  }

  /** Where a client's directory lies as it last came. */
  local(id: string): string | undefined {
    const record = this.#records.get(localKey(id));
    return record && this.#place(record);
  }

  /** Takes a client's directory over in place of what was kept of it. */
  keepLocal(id: string, path: string, told: { description: string; size: number }): void {
    const key = localKey(id);
    const known = this.#records.get(key);
    const directory = `${key.slice(0, 32)}-${newId().slice(0, 16)}`;
    mkdirSync(join(this.directory, PLACES.local), { recursive: true, mode: 0o700 });
    renameSync(path, join(this.directory, PLACES.local, directory));
    const now = this.#clock.now();
    this.#put(key, {
      kind: 'local', ...told, createdAt: now, lastUsedAt: now, uses: (known?.uses ?? 0) + 1, directory,
    }); // prettier-ignore
    if (known) this.#removeDirectory(known);
  }

  #place({ kind, directory }: CacheRecord): string | undefined {
    return directory && join(this.directory, PLACES[kind], directory);
  }

  /** The directory of a mount cache; `fill` is given a new one. */
  async mount(id: string, fill: (directory: string) => Promise<void>): Promise<{ key: string; path: string }> {
    const key = this.mountKey(id);
    const path = join(this.directory, 'mounts', key);
    await mkdir(join(this.directory, 'mounts'), { recursive: true, mode: 0o700 });
    await this.locks.run(`fill ${key}`, async () => {
      if (this.#records.has(key)) return;
      await rm(path, { recursive: true, force: true });
      await mkdir(path);
      await fill(path);
    });
    const now = this.#clock.now();
    const known = this.#records.get(key);
    this.#put(key, {
      kind: 'mount', description: `cached mount ${id} from exec`, createdAt: known?.createdAt ?? now, lastUsedAt: now,
      uses: (known?.uses ?? 0) + 1, size: known?.size ?? 0, directory: key,
    }); // prettier-ignore
    await mkdir(path, { recursive: true });
    return { key, path };
  }

  /** Measures a mount cache after its use. */
  async measure(key: string): Promise<void> {
    const record = this.#records.get(key);
    if (!record?.directory) return;
    const { stdout } = await runTool('du', ['-sb', '--', join(this.directory, 'mounts', record.directory)], {
      deadline: DU_DEADLINE_MS,
      accept: [0, 1],
    });
    const size = Number(/^\d+/.exec(stdout)?.[0] ?? 0);
    const now = this.#records.get(key);
    if (now && now.size !== size) this.#put(key, { ...now, size });
  }

  mountKey(id: string): string {
    return digestOf(['mount', id]);
  }

  isMountInUse(id: string): boolean {
    return this.inUse.has(this.mountKey(id));
  }

  /** Counts a user of a mount cache; call the result at its end. */
  use(key: string): () => void {
    this.inUse.set(key, (this.inUse.get(key) ?? 0) + 1);
    return () => {
      const left = (this.inUse.get(key) ?? 1) - 1;
      if (left > 0) this.inUse.set(key, left);
      else this.inUse.delete(key);
    };
  }

  /** Removes a record; its directory with it, soon. */
  remove(key: string): void {
    const record = this.#records.get(key);
    this.#records.delete(key);
    this.#stored.delete(key);
    if (record?.slot && this.#slots.get(record.slot) === key) {
      this.#slots.delete(record.slot);
      this.#taken.delete(record.slot);
    }
    if (record) this.#removeDirectory(record);
  }

  #removeDirectory(record: CacheRecord): void {
    const place = this.#place(record);
    if (!place) return;
    // What cannot be removed now is without a record, and goes at the next boot.
    const removing: Promise<unknown> = removeTree(place)
      .catch(() => {})
      .finally(() => this.#removing.delete(removing));
    this.#removing.add(removing);
  }

  /** Resolves when nothing is being removed any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#removing);
  }

  /** Directories without a record: the daemon died between the two. */
  async sweep(): Promise<void> {
    const known = new Set([...this.#records.values()].map((record) => this.#place(record)));
    for (const place of [PLACES.mount, PLACES.local]) {
      const names = await readdir(join(this.directory, place)).catch(() => []);
      for (const path of names.map((name) => join(this.directory, place, name)))
        if (!known.has(path)) await rm(path, { recursive: true, force: true });
    }
  }
}

const localKey = (id: string): string => digestOf(['local', id]);

function firstChange(before: Record<string, string>, after: Record<string, string>): string | undefined {
  for (const [name, digest] of Object.entries(after)) {
    if (before[name] === undefined) return `${name} is new`;
    if (before[name] !== digest) return `${name} changed`;
  }
  const gone = Object.keys(before).find((name) => after[name] === undefined);
  return gone === undefined ? undefined : `${gone} is gone`;
}
