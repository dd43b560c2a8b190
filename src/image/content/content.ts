/**
 * Blobs in an OCI image layout (image-spec image-layout.md), so that skopeo and umoci read the store as it is. A blob
 * enters by rename when it is whole and verified; it is synced behind that, and whoever makes a record that names it waits
 * for the sync. Half-fetched ones wait in ingest/, named by digest, and so do whole ones that no image came to use.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { open, readdir, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { internal, invalid, notFound } from '../../errors.ts';
import { Lanes } from '../../lib/lanes.ts';
import type { ContentStore, Lease } from '../store-port.ts';
import { BlobWriters } from './writers.ts';

/** Documents (manifests, configs) larger than this are refused. */
const DOCUMENT_LIMIT = 8 << 20;
const STALE_INGEST_MS = 24 * 3600 * 1000;
/** How long a whole blob that no image came to use is worth keeping, from when it was fetched. */
const KEPT_MS = 3600 * 1000;
/** A smaller one is fetched again sooner than it is looked for. */
const KEPT_BYTES = 64 << 10;

const hexOf = (digest: string): string => {
  const match = /^sha256:([0-9a-f]{64})$/.exec(digest);
  if (!match) throw invalid(`invalid digest ${JSON.stringify(digest)}`, { code: 'bad-digest' });
  return match[1]!;
};

export const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export class BlobStore implements ContentStore {
  readonly directory: string;
  #blobs: string;
  #ingest: string;
  /** Digest → bytes of every whole blob. */
  #sizes = new Map<string, number>();
  #leases = new Map<string, number>();
  /** Fetched in this life, and not yet part of an image. */
  #fetched = new Set<string>();
  #syncing = new Map<string, Promise<void>>();
  /** One at a time: syncs would take all threads that files and decompression are served by. */
  #syncs = new Lanes();
  readonly writers = new BlobWriters();

  constructor(directory: string) {
    this.directory = directory;
    this.#blobs = join(directory, 'blobs/sha256');
    this.#ingest = join(directory, 'ingest');
    mkdirSync(this.#blobs, { recursive: true, mode: 0o700 });
    mkdirSync(this.#ingest, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.#blobs)) {
      if (/^[0-9a-f]{64}$/.test(name)) this.#sizes.set(`sha256:${name}`, statSync(join(this.#blobs, name)).size);
    }
  }

  /** Writes the layout's mark, and removes temporary files and old half-fetched blobs. */
  async boot(now: number): Promise<void> {
    await writeFile(join(this.directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    for (const name of await readdir(this.#ingest))
      if (name.startsWith('tmp-')) await rm(join(this.#ingest, name), { recursive: true, force: true });
    await this.sweepIngest(now);
  }

  /**
   * At start, blobs that no record names may be whole or cut by a power failure: none is believed. Those that were fetched
   * a while ago wait in ingest/ to be verified by the pull that wants them, as those will whose layers no image uses; the
   * others go.
   */
  async distrust(needed: { byImages: ReadonlySet<string>; all: ReadonlySet<string> }, now: number): Promise<void> {
    for (const digest of this.digests()) {
      if (needed.byImages.has(digest)) continue;
      const { mtimeMs } = await stat(this.path(digest));
      const isFresh = now - mtimeMs < KEPT_MS;
      if (isFresh) this.#fetched.add(digest);
      if (!needed.all.has(digest)) await this.drop(digest);
    }
  }

  /** Removes what waited too long to be wanted again, or (`all`) whatever nobody works on. Returns its bytes. */
  async sweepIngest(now: number, all = false): Promise<number> {
    let freed = 0;
    for (const name of await readdir(this.#ingest)) {
      if (name.startsWith('tmp-') || this.leased(`sha256:${name}`)) continue;
      const path = join(this.#ingest, name);
      const found = await stat(path).catch(() => undefined);
      if (!found || (!all && now - found.mtimeMs <= STALE_INGEST_MS)) continue;
      if (this.leased(`sha256:${name}`)) continue;
      await rm(path, { force: true });
      freed += found.size;
    }
    return freed;
  }

  has(digest: string): boolean {
    return this.#sizes.has(digest);
  }

  path(digest: string): string {
    return join(this.#blobs, hexOf(digest));
  }

  size(digest: string): number {
    const size = this.#sizes.get(digest);
    if (size === undefined) throw notFound(`content ${digest}: not found`, { code: 'no-blob' });
    return size;
  }

  digests(): string[] {
    return [...this.#sizes.keys()];
  }

  get totalBytes(): number {
    let total = 0;
    for (const size of this.#sizes.values()) total += size;
    return total;
  }

  async read(digest: string): Promise<Buffer> {
    if (this.size(digest) > DOCUMENT_LIMIT) throw invalid(`content ${digest}: too large for a document`);
    return await readFile(this.path(digest));
  }

  async write(bytes: Uint8Array, expected?: string): Promise<string> {
    const digest = digestOf(bytes);
    if (expected !== undefined && expected !== digest) {
      throw invalid(`content has digest ${digest}, expected ${expected}`, { code: 'wrong-digest' });
    }
    if (this.has(digest)) return digest;
    const temporary = this.#temporary();
    try {
      await writeFile(temporary, bytes, { mode: 0o600 });
      await this.#take(temporary, digest);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    return digest;
  }

  /** Takes in bytes of any number; the digest is found on the way, and leased before the blob is there. */
  async writeStream(source: AsyncIterable<Uint8Array>, lease: Lease): Promise<{ digest: string; size: number }> {
    const temporary = this.#temporary();
    const writer = this.writers.open(temporary);
    try {
      for await (const chunk of source) await writer.write(chunk);
      const { digest, size } = await writer.finish();
      lease.add(digest);
      if (this.has(digest)) await unlink(temporary);
      else await this.#take(temporary, digest);
      return { digest, size };
    } catch (error) {
      await writer.abandon();
      await rm(temporary, { force: true });
      throw error;
    }
  }

  ingestPath(digest: string): string {
    return join(this.#ingest, hexOf(digest));
  }

  async commitIngest(digest: string): Promise<void> {
    await this.#take(this.ingestPath(digest), digest);
    this.#fetched.add(digest);
  }

  /** Everything of these that is here survives a power failure from now on. */
  async synced(digests: Iterable<string>): Promise<void> {
    for (const digest of digests) await this.#syncing.get(digest);
  }

  /** They are part of an image: when it goes, they go at once. */
  used(digests: Iterable<string>): void {
    for (const digest of digests) this.#fetched.delete(digest);
  }

  lease(): Lease {
    const held = new Set<string>();
    return {
      add: (digest) => {
        if (held.has(digest)) return;
        held.add(digest);
        this.#leases.set(digest, (this.#leases.get(digest) ?? 0) + 1);
      },
      release: () => {
        for (const digest of held) {
          const count = this.#leases.get(digest)! - 1;
          if (count) this.#leases.set(digest, count);
          else this.#leases.delete(digest);
        }
        held.clear();
      },
    };
  }

  leased(digest: string): boolean {
    return this.#leases.has(digest);
  }

  /** Lets go of a blob that nobody needs: one that a pull fetched and did not come to use waits for the next pull. */
  async drop(digest: string): Promise<number> {
    const size = this.#sizes.get(digest);
    if (size === undefined || !this.#fetched.has(digest)) return await this.delete(digest);
    await this.#setAside(digest);
    return size;
  }

  /** Deletes a blob. Returns its bytes, 0 when it was not there. */
  async delete(digest: string): Promise<number> {
    const size = this.#sizes.get(digest);
    if (size === undefined) return 0;
    this.#sizes.delete(digest);
    this.#fetched.delete(digest);
    await rm(this.path(digest), { force: true });
    return size;
  }

  /** Waits for the syncs that are under way, and ends the thread that writes. */
  async close(): Promise<void> {
    await this.writers.close();
    await Promise.allSettled(this.#syncing.values());
  }

  async #setAside(digest: string): Promise<void> {
    if ((this.#sizes.get(digest) ?? 0) < KEPT_BYTES) return void (await this.delete(digest));
    this.#sizes.delete(digest);
    this.#fetched.delete(digest);
    await rename(this.path(digest), this.ingestPath(digest));
  }

  #temporary(): string {
    return join(this.#ingest, `tmp-${randomBytes(8).toString('hex')}`);
  }

  async #take(file: string, digest: string): Promise<void> {
    const { size } = await stat(file);
    await rename(file, this.path(digest));
    this.#sizes.set(digest, size);
    const syncing = this.#syncs.run('', () => this.#sync(digest));
    this.#syncing.set(digest, syncing);
    const passed = (): void => {
      if (this.#syncing.get(digest) === syncing) this.#syncing.delete(digest);
    };
    // One that failed stays, to be told to whoever is about to name the blob.
    syncing.then(passed, () => {});
  }

  async #sync(digest: string): Promise<void> {
    // One that went again meanwhile is nobody's any more.
    if (!this.has(digest)) return;
    const handle = await open(this.path(digest), 'r').catch(() => undefined);
    if (!handle) return;
    try {
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await syncDirectory(this.#blobs);
  }
}

/** Reads a JSON document that was checked before it entered the store. */
export async function readDocument<T>(content: ContentStore, digest: string): Promise<T> {
  const bytes = await content.read(digest);
  try {
    return JSON.parse(bytes.toString('utf8')) as T;
  } catch (error) {
    throw internal(`content ${digest} is no JSON document`, { cause: error });
  }
}
