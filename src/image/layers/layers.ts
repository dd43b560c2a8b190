/**
 * Unpacked layers: one overlayfs directory a diff under overlay2/<cache-id>/diff, with a short name in overlay2/l/ so that
 * the lowerdir option of many layers fits one page. A layer is unpacked in overlay2/new/ and renamed when whole.
 *
 * Unpacked files are not synced one by one: a layer carries the kernel's boot id until a sync has passed, and one that
 * still carries another boot's id was cut by a power failure and is unpacked again from its (synced) blob.
 */
import { randomBytes } from 'node:crypto';
import { createReadStream, mkdirSync, readFileSync } from 'node:fs';
import { chmod, lstat, mkdir, readdir, rename, rm, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { MessageChannel } from 'node:worker_threads';
import { createGzip } from 'node:zlib';
import type { Logger } from 'pino';
import { Piscina } from 'piscina';
import { asDaemonError, cancelled, DaemonError, invalid, notFound } from '../../errors.ts';
import { newId } from '../../lib/ids.ts';
import { runTool } from '../../lib/spawn.ts';
import { workerFile } from '../../lib/worker-file.ts';
import type { Collection, Store } from '../../store/port.ts';
import { compressionOf } from '../../tar/decompress.ts';
import type { BlobStore } from '../content/content.ts';
import { BASE_LINK } from '../rootfs/base.ts';
import type { Descriptor, LayerStore } from '../store-port.ts';
import { makeNursery, NURSERY } from './nursery.ts';
import type { UnpackResult, UnpackTask } from './worker.ts';

export interface LayerRecord {
  /** Directory under overlay2/. */
  cacheId: string;
  /** Name under overlay2/l/. */
  link: string;
  /** Bytes of all files. */
  size: number;
  /** The blob it was unpacked from or compressed to. */
  blob: Descriptor;
  /** Boot id of the kernel whose page cache may still hold parts of it. */
  unsynced?: string;
}

interface Unpacking {
  result: Promise<void>;
  controller: AbortController;
  waiting: number;
  progress: Set<(current: number, total: number) => void>;
}

const IDLE_WORKER_MS = 10_000;
const SYNC_DEADLINE_MS = 600_000;
const SYNC_PAUSE_MS = 2_000;
export const GZIP_LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';
export const PLAIN_LAYER = 'application/vnd.oci.image.layer.v1.tar';

const noop = (): void => {};

const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** 26 characters of base 32, as dockerd's. */
function linkName(): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  return Array.from(randomBytes(26), (byte) => alphabet[byte & 31]).join('');
}

export class OverlayLayers implements LayerStore {
  readonly directory: string;
  #content: BlobStore;
  #records: Collection<LayerRecord>;
  #store: Store;
  #log: Logger;
  #pool: Piscina<UnpackTask, UnpackResult> | undefined;
  #unpacking = new Map<string, Unpacking>();
  #compressing = new Map<string, Promise<Descriptor>>();
  #syncing: Promise<void> | undefined;
  #stopping = new AbortController();
  #boot = bootId();

  constructor(deps: { directory: string; content: BlobStore; store: Store; log: Logger }) {
    this.directory = deps.directory;
    this.#content = deps.content;
    this.#store = deps.store;
    this.#records = deps.store.collection<LayerRecord>('layers');
    this.#log = deps.log;
    mkdirSync(join(this.directory, 'l'), { recursive: true, mode: 0o710 });
    makeNursery(this.directory);
  }

  has(diffId: string): boolean {
    return this.#records.get(diffId) !== undefined;
  }

  record(diffId: string): LayerRecord {
    const record = this.#records.get(diffId);
    if (!record) throw notFound(`layer ${diffId}: not found`, { code: 'no-layer' });
    return record;
  }

  all(): { id: string; record: LayerRecord }[] {
    return this.#records.all();
  }

  blobOf(diffId: string): Descriptor | undefined {
    return this.#records.get(diffId)?.blob;
  }

  /** The layer's files. */
  path(diffId: string): string {
    return join(this.directory, this.record(diffId).cacheId, 'diff');
  }

  /** The short path of the same. */
  linkPath(diffId: string): string {
    return join(this.directory, 'l', this.record(diffId).link);
  }

  async unpack(layer: Parameters<LayerStore['unpack']>[0]): Promise<void> {
    if (layer.signal?.aborted) throw cancelled('unpacking was cancelled');
    if (this.has(layer.diffId)) return;
    let entry = this.#unpacking.get(layer.diffId);
    if (!entry || entry.controller.signal.aborted) entry = this.#begin(layer.blob, layer.diffId);
    await this.#join(entry, layer);
  }

  /** Unpacks a blob whose diff id is not known yet, and returns it. Nobody may have asked for the layer; then it is garbage. */
  unpackAhead(blob: Descriptor, signal: AbortSignal, onProgress: (current: number) => void): Promise<string> {
    return this.#unpack(blob, undefined, signal, onProgress);
  }

  #begin(blob: Descriptor, diffId: string): Unpacking {
    const controller = new AbortController();
    const progress: Unpacking['progress'] = new Set();
    const entry: Unpacking = { controller, progress, waiting: 0, result: Promise.resolve() };
    const unpacked = this.#unpack(blob, diffId, controller.signal, (current) => {
      for (const tell of progress) tell(current, blob.size);
    });
    entry.result = unpacked.then(noop).finally(() => {
      if (this.#unpacking.get(diffId) === entry) this.#unpacking.delete(diffId);
    });
    entry.result.catch(() => {});
    this.#unpacking.set(diffId, entry);
    return entry;
  }

  /** Waits with the others; the last one who leaves stops the work. */
  async #join(entry: Unpacking, layer: Parameters<LayerStore['unpack']>[0]): Promise<void> {
    const { onProgress, signal } = layer;
    entry.waiting++;
    if (onProgress) entry.progress.add(onProgress);
    let onAbort: (() => void) | undefined;
    try {
      await Promise.race([
        entry.result,
        new Promise<never>((_, reject) => {
          onAbort = () => reject(cancelled('unpacking was cancelled'));
          signal?.addEventListener('abort', onAbort, { once: true });
        }),
      ]);
    } finally {
      if (onAbort) signal?.removeEventListener('abort', onAbort);
      if (onProgress) entry.progress.delete(onProgress);
      if (--entry.waiting === 0) entry.controller.abort();
    }
  }

  async #unpack(
    blob: Descriptor,
    expected: string | undefined,
    signal: AbortSignal,
    onProgress: (current: number) => void,
  ): Promise<string> {
    const cacheId = newId();
    const temporary = join(this.directory, NURSERY, cacheId);
    const lease = this.#content.lease();
    lease.add(blob.digest);
    if (expected) lease.add(expected);
    try {
      await mkdir(join(temporary, 'diff'), { recursive: true, mode: 0o710 });
      await chmod(join(temporary, 'diff'), 0o755);
      const { diffId, bytes } = await this.#run(
        this.#content.path(blob.digest),
        join(temporary, 'diff'),
        signal,
        onProgress,
      );
      if (expected !== undefined && diffId !== expected) {
        throw invalid(`wrong diff id calculated on extraction ${JSON.stringify(diffId)}, expected ${expected}`, {
          code: 'wrong-diff-id',
        });
      }
      const link = linkName();
      await symlink(`../${cacheId}/diff`, join(this.directory, 'l', link));
      await rename(temporary, join(this.directory, cacheId));
      if (this.has(diffId)) {
        // Another blob of the same files was faster.
        await unlink(join(this.directory, 'l', link));
        await this.removeDirectory(cacheId);
        return diffId;
      }
      this.#records.put(diffId, { cacheId, link, size: bytes, blob, unsynced: this.#boot });
      this.#syncSoon();
      return diffId;
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw error;
    } finally {
      lease.release();
    }
  }

  async #run(
    blob: string,
    target: string,
    signal: AbortSignal,
    onProgress: (current: number) => void,
  ): Promise<UnpackResult & { ok: true }> {
    this.#pool ??= new Piscina<UnpackTask, UnpackResult>({
      filename: workerFile('image/layers/worker.ts'),
      minThreads: 0,
      maxThreads: 2,
      idleTimeout: IDLE_WORKER_MS,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    const { port1, port2 } = new MessageChannel();
    port1.on('message', onProgress).unref();
    try {
      // Piscina's type of the list follows a newer signature of postMessage than the one it calls.
      const transferList = [port2] as never;
      const result = await this.#pool.run({ blob, target, progress: port2 }, { transferList, signal });
      if (result.ok) return result;
      throw new DaemonError(result.kind, `failed to register layer: ${result.message}`, { code: result.code });
    } catch (error) {
      if (signal.aborted) throw cancelled('unpacking was cancelled');
      throw asDaemonError(error, 'failed to register layer');
    } finally {
      port1.close();
    }
  }

  async ensureBlob(diffId: string, signal?: AbortSignal): Promise<Descriptor> {
    const { blob } = this.record(diffId);
    if (blob.mediaType !== PLAIN_LAYER && this.#content.has(blob.digest)) return blob;
    const running = this.#compressing.get(diffId) ?? this.#compress(diffId, blob);
    this.#compressing.set(diffId, running);
    try {
      return await running;
    } finally {
      if (this.#compressing.get(diffId) === running) this.#compressing.delete(diffId);
      if (signal?.aborted) throw cancelled('compressing was cancelled');
    }
  }

  /** gzip runs on libuv's threads. Level 1 is what registries get from us: the network is faster than level 6. */
  async #compress(diffId: string, blob: Descriptor): Promise<Descriptor> {
    const lease = this.#content.lease();
    lease.add(blob.digest);
    lease.add(diffId);
    try {
      const source = createReadStream(this.#content.path(blob.digest), { highWaterMark: 1 << 20 });
      const gzip = createGzip({ level: 1, chunkSize: 1 << 20 });
      source.on('error', (error) => gzip.destroy(error));
      const { digest, size } = await this.#content.writeStream(source.pipe(gzip), lease);
      const descriptor = { mediaType: GZIP_LAYER, digest, size };
      const record = this.#records.get(diffId);
      if (record) this.#records.put(diffId, { ...record, blob: descriptor });
      return descriptor;
    } finally {
      lease.release();
    }
  }

  /** One sync for all layers that came in meanwhile. A failure leaves the mark, which is always safe. */
  #syncSoon(): void {
    this.#syncing ??= this.#sync()
      .catch((error: unknown) => {
        if (!this.#stopping.signal.aborted) this.#log.warn({ err: error }, 'syncing layers failed');
      })
      .finally(() => (this.#syncing = undefined));
  }

  async #sync(): Promise<void> {
    for (;;) {
      // While layers come in, a sync of them would only stand in their way.
      await setTimeout(SYNC_PAUSE_MS, undefined, { signal: this.#stopping.signal, ref: false });
      if (this.#unpacking.size) continue;
      const fresh = this.#records.all().filter(({ record }) => record.unsynced !== undefined);
      if (!fresh.length) return;
      await runTool('sync', ['-f', this.directory], { deadline: SYNC_DEADLINE_MS, signal: this.#stopping.signal });
      for (const { id, record } of fresh) {
        const now = this.#records.get(id);
        if (now?.cacheId === record.cacheId) this.#records.put(id, { ...now, unsynced: undefined });
      }
    }
  }

  /** Removes what an earlier life left half done, and unpacks again what a power failure may have cut. */
  async boot(): Promise<void> {
    for (const name of await readdir(this.directory)) {
      if (name.startsWith('tmp-') || name === NURSERY) await this.sweep(name);
    }
    makeNursery(this.directory);
    for (const { id, record } of this.#records.all()) {
      const whole = await lstat(join(this.directory, record.cacheId, 'diff')).catch(() => undefined);
      const cut = record.unsynced !== undefined && record.unsynced !== this.#boot;
      if (whole && !cut) continue;
      this.#log.warn({ diffId: id }, 'a layer is not whole; unpacking it again');
      await this.delete(id);
      if (!this.#content.has(record.blob.digest)) continue;
      await this.unpack({ blob: record.blob, diffId: id }).catch((error: unknown) =>
        this.#log.error({ err: error, diffId: id }, 'a layer cannot be unpacked again'),
      );
    }
    if (!this.#store.incomplete) await this.#sweepLinks();
    if (this.#records.all().some(({ record }) => record.unsynced !== undefined)) this.#syncSoon();
  }

  async #sweepLinks(): Promise<void> {
    const known = new Set([BASE_LINK, ...this.#records.all().map(({ record }) => record.link)]);
    for (const name of await readdir(join(this.directory, 'l'))) {
      if (!known.has(name)) await unlink(join(this.directory, 'l', name));
    }
  }

  /** Deletes a layer's directory. The name goes first, so that a crash leaves garbage and never a broken layer. */
  async delete(diffId: string): Promise<void> {
    const record = this.#records.get(diffId);
    if (!record) return;
    this.#records.delete(diffId);
    await this.#store.durable();
    await rm(join(this.directory, 'l', record.link), { force: true });
    await this.removeDirectory(record.cacheId);
  }

  /** Removes a directory under overlay2/ as a whole: it is out of its place before anything in it goes. */
  async removeDirectory(name: string): Promise<void> {
    const doomed = join(this.directory, `tmp-${newId()}`);
    try {
      await rename(join(this.directory, name), doomed);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    await rm(doomed, { recursive: true, force: true });
  }

  /** Removes garbage. What cannot go, as when something is mounted in it, is no reason not to start: it waits for the next start. */
  async sweep(name: string): Promise<void> {
    await this.removeDirectory(name).catch((error: unknown) =>
      this.#log.warn({ err: error, directory: name }, 'a directory that nobody needs cannot be removed'),
    );
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const { controller } of this.#unpacking.values()) controller.abort();
    await this.#pool?.destroy();
    await this.#syncing;
  }
}

/** The media type for a blob that came without one. */
export const layerMediaType = (head: Uint8Array): string =>
  ({ none: PLAIN_LAYER, gzip: GZIP_LAYER, zstd: 'application/vnd.oci.image.layer.v1.tar+zstd' })[
    compressionOf(head) as 'none'
  ] ?? PLAIN_LAYER;
