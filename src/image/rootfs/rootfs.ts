/**
 * Writable layers of containers: overlay2/<mount-id>/{diff,work} over the layers of their image, the id kept under
 * image/overlay2/layerdb/mounts/<container>/mount-id, where cAdvisor looks for it. The shim makes the container's own mount;
 * `withMounted` makes another one over the same directories for as long as somebody needs it.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { conflict, notFound } from '../../errors.ts';
import { mount, MS, umountIfMounted } from '../../host/ffi.ts';
import { readMountInfo } from '../../host/mountinfo.ts';
import { newId } from '../../lib/ids.ts';
import { Lanes } from '../../lib/lanes.ts';
import { runTool } from '../../lib/spawn.ts';
import type { RootfsMount } from '../../runtime/port.ts';
import type { Collection, Store } from '../../store/port.ts';
import type { ImageCatalog } from '../catalog/catalog.ts';
import type { OverlayLayers } from '../layers/layers.ts';
import { NURSERY } from '../layers/nursery.ts';
import type { Change, RootfsStore } from '../port.ts';
import { changesOf } from './changes.ts';
import { diffTar } from './diff.ts';
import { BASE, BASE_LINK, makeBase, makeRoot } from './base.ts';
import { OPTIONS_LIMIT, overlayOptions, relativeStack, type Stack } from './lower.ts';
import { bytesUnder } from './usage.ts';

/** Collection `rootfs`, by container id. Immutable. */
export interface RootfsRecord {
  mountId: string;
  imageId: string;
  /** The image may be forgotten before the container is. */
  diffIds: string[];
  /** Bytes of the image's layers. */
  imageSize: number;
  /** Without the layer of mount points below the image: what a build sees and copies is the image alone. */
  bare?: true;
}

interface Mounted {
  path: string;
  /** It is the running container's own mount. */
  isOwn: boolean;
  users: number;
}

interface ViewFlags {
  /** For mount(2). */
  flags: number;
  /** The same for mount(8). */
  options: string;
}

/** Devices and setuid programs of an image mean nothing in the daemon's own view of it. */
const OWN_VIEW: ViewFlags = { flags: MS.NODEV | MS.NOSUID, options: 'nodev,nosuid' };

const MOUNT_DEADLINE_MS = 10_000;

export class OverlayRootfs implements RootfsStore {
  #directory: string;
  #database: string;
  #merged: string;
  #layers: OverlayLayers;
  #catalog: ImageCatalog;
  #store: Store;
  #records: Collection<RootfsRecord>;
  #log: Logger;
  #lanes = new Lanes();
  #mounted = new Map<string, Mounted>();

  constructor(deps: {
    dataRoot: string;
    /** Under the exec root: mount points of `withMounted`. */
    mountRoot: string;
    layers: OverlayLayers;
    catalog: ImageCatalog;
    store: Store;
    log: Logger;
  }) {
    this.#directory = deps.layers.directory;
    this.#database = join(deps.dataRoot, 'image/overlay2/layerdb/mounts');
    this.#merged = deps.mountRoot;
    this.#layers = deps.layers;
    this.#catalog = deps.catalog;
    this.#store = deps.store;
    this.#records = deps.store.collection<RootfsRecord>('rootfs');
    this.#log = deps.log;
    mkdirSync(this.#database, { recursive: true, mode: 0o700 });
    mkdirSync(this.#merged, { recursive: true, mode: 0o700 });
    makeBase(this.#directory);
  }

  /** Undoes mounts of an earlier life, and removes directories under overlay2/ that nobody knows. */
  async boot(): Promise<void> {
    for (const name of await readdir(this.#merged)) await this.#unmount(join(this.#merged, name));
    if (this.#store.incomplete) return;
    const known = new Set(['l', BASE, NURSERY]);
    for (const { record } of this.#layers.all()) known.add(record.cacheId);
    for (const { id, record } of this.#records.all()) {
      known.add(record.mountId);
      const own = join(this.#directory, record.mountId);
      if (existsSync(join(own, 'diff')) && existsSync(join(own, 'work'))) continue;
      this.#log.warn({ container: id }, 'a writable layer was not made whole; it is made now');
      await this.#makeDirectories(id, record.mountId);
    }
    for (const name of await readdir(this.#directory)) {
      if (!known.has(name) && !name.startsWith('tmp-')) await this.#layers.sweep(name);
    }
    for (const name of await readdir(this.#database)) {
      if (!this.#records.get(name)) await rm(join(this.#database, name), { recursive: true, force: true });
    }
  }

  /** The layers under each container; they stay though their image goes. */
  *stacksInUse(): Iterable<readonly string[]> {
    for (const { record } of this.#records.all()) yield record.diffIds;
  }

  async prepare(containerId: string, imageId: string, options: { bare?: boolean } = {}): Promise<void> {
    await this.#lanes.run(containerId, async () => {
      if (this.#records.get(containerId)) return;
      const { config, size } = this.#catalog.record(imageId);
      const diffIds = config.rootfs.diff_ids;
      const mountId = newId();
      // The record first: a directory without one is garbage, and the image's layers are kept from here on.
      const bare = options.bare ? { bare: true as const } : {};
      this.#records.put(containerId, { mountId, imageId, diffIds, imageSize: size, ...bare });
      try {
        await this.#makeDirectories(containerId, mountId);
      } catch (error) {
        await this.#discard(containerId);
        throw error;
      }
    });
  }

  async #makeDirectories(containerId: string, mountId: string): Promise<void> {
    const entry = join(this.#database, containerId);
    const own = join(this.#directory, mountId);
    await Promise.all([
      mkdir(join(own, 'work'), { recursive: true, mode: 0o710 }),
      makeRoot(join(own, 'diff')),
      mkdir(entry, { recursive: true, mode: 0o700 }).then(() => writeFile(join(entry, 'mount-id'), mountId)),
    ]);
  }

  #record(containerId: string): RootfsRecord {
    const record = this.#records.get(containerId);
    if (!record) throw notFound(`container ${containerId} has no writable layer`, { code: 'no-rootfs' });
    return record;
  }

  #upper(record: RootfsRecord): string {
    return join(this.#directory, record.mountId, 'diff');
  }

  #lower(record: RootfsRecord): string[] {
    // Overlayfs refuses a layer that is there twice (ELOOP); all that the lower one has, the upper one has over it.
    const layers = new Set(record.diffIds.toReversed().map((diffId) => this.#layers.linkPath(diffId)));
    return [...layers, ...(record.bare ? [] : [join(this.#directory, 'l', BASE_LINK)])];
  }

  #stack(record: RootfsRecord): Stack {
    const work = join(this.#directory, record.mountId, 'work');
    return { lower: this.#lower(record), upper: this.#upper(record), work };
  }

  mounts(containerId: string, seen = (path: string): string => path): RootfsMount[] {
    const { lower, upper, work } = this.#stack(this.#record(containerId));
    const stack = { lower: lower.map(seen), upper: seen(upper), work: seen(work) };
    return [{ type: 'overlay', source: 'overlay', options: overlayOptions(stack) }];
  }

  async mountReadOnly(containerId: string, target: string, seen = (path: string): string => path): Promise<void> {
    const { lower, upper, work } = this.#stack(this.#record(containerId));
    const stack = { lower: lower.map(seen), upper: seen(upper), work: seen(work) };
    await this.#mountOverlay(stack, target, { flags: MS.RDONLY, options: 'ro' }, seen(this.#directory));
    mount('', target, '', MS.PRIVATE);
  }

  async withMounted<T>(containerId: string, work: (root: string, isOwn: boolean) => Promise<T>): Promise<T> {
    const mounted = await this.#lanes.run(containerId, () => this.#mount(containerId));
    try {
      return await work(mounted.path, mounted.isOwn);
    } finally {
      await this.#lanes.run(containerId, async () => {
        if (--mounted.users) return;
        this.#mounted.delete(containerId);
        await this.#unmount(mounted.path);
      });
    }
  }

  async #mount(containerId: string): Promise<Mounted> {
    const known = this.#mounted.get(containerId);
    if (known) {
      known.users++;
      return known;
    }
    const record = this.#record(containerId);
    const mounted = { path: join(this.#merged, record.mountId), users: 1, isOwn: false };
    await mkdir(mounted.path, { recursive: true, mode: 0o700 });
    try {
      mounted.isOwn = await this.#mountView(record, mounted.path);
      mount('', mounted.path, '', MS.PRIVATE);
    } catch (error) {
      await this.#unmount(mounted.path);
      throw error;
    }
    this.#mounted.set(containerId, mounted);
    return mounted;
  }

  /** Two overlays over one upper directory do not see each other's changes: a running container's own is used. */
  async #mountView(record: RootfsRecord, target: string): Promise<boolean> {
    // By its end: a container whose users are remapped mounts it from elsewhere.
    const upper = `/${record.mountId}/diff`;
    const isUpper = (option: string): boolean => option.startsWith('upperdir=') && option.endsWith(upper);
    const own = (await readMountInfo()).find((mounted) => mounted.superOptions.some(isUpper));
    if (own) mount(own.target, target, '', MS.BIND);
    else await this.#mountOverlay(this.#stack(record), target, OWN_VIEW, this.#directory);
    return own !== undefined;
  }

  /** `directory`: overlay2/, as the stack has it. */
  async #mountOverlay(stack: Stack, target: string, view: ViewFlags, directory: string): Promise<void> {
    const options = overlayOptions(stack).join(',');
    if (options.length <= OPTIONS_LIMIT) return mount('overlay', target, 'overlay', view.flags, options);
    const relative = overlayOptions(relativeStack(stack, directory)).join(',');
    const all = `${view.options},${relative}`;
    await runTool('mount', ['-i', '-t', 'overlay', 'overlay', '-o', all, target], {
      cwd: directory,
      deadline: MOUNT_DEADLINE_MS,
    });
  }

  async #unmount(path: string): Promise<void> {
    while (umountIfMounted(path));
    await rmdir(path).catch((error: unknown) => this.#log.warn({ err: error, path }, 'a mount point stays'));
  }

  async *diff(containerId: string): AsyncIterable<Uint8Array> {
    yield* diffTar(this.#upper(this.#record(containerId)));
  }

  async changes(containerId: string): Promise<Change[]> {
    const record = this.#record(containerId);
    return await changesOf(this.#upper(record), this.#lower(record));
  }

  async usage(containerId: string): Promise<{ sizeRw: number; sizeRootFs: number }> {
    const record = this.#record(containerId);
    const sizeRw = await bytesUnder(this.#upper(record));
    return { sizeRw, sizeRootFs: sizeRw + record.imageSize };
  }

  describe(containerId: string): { Name: string; Data: Record<string, string> } {
    const record = this.#record(containerId);
    const own = join(this.#directory, record.mountId);
    const lower = record.diffIds
      .filter((diffId) => this.#layers.has(diffId))
      .map((diffId) => this.#layers.path(diffId));
    return {
      Name: 'overlay2',
      Data: {
        ID: containerId,
        LowerDir: lower.reverse().join(':'),
        MergedDir: join(own, 'merged'),
        UpperDir: join(own, 'diff'),
        WorkDir: join(own, 'work'),
      },
    };
  }

  async remove(containerId: string): Promise<void> {
    await this.#lanes.run(containerId, async () => {
      if (this.#mounted.has(containerId)) {
        throw conflict(`the root filesystem of container ${containerId} is in use`, { code: 'rootfs-busy' });
      }
      await this.#discard(containerId);
    });
  }

  async #discard(containerId: string): Promise<void> {
    const record = this.#records.get(containerId);
    if (record) {
      this.#records.delete(containerId);
      await this.#store.durable();
      await this.#layers.removeDirectory(record.mountId);
    }
    await rm(join(this.#database, containerId), { recursive: true, force: true });
  }

  list(): Promise<string[]> {
    return Promise.resolve(this.#records.all().map(({ id }) => id));
  }

  async stop(): Promise<void> {
    for (const { path } of this.#mounted.values()) await this.#unmount(path);
    this.#mounted.clear();
  }
}
