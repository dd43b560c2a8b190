/**
 * Blobs in an OCI image layout (image-spec image-layout.md), so that skopeo and umoci read the store as it is. A blob
 * enters by rename after fsync: what has a name is whole. Half-fetched ones wait in ingest/, named by digest.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { open, readdir, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { internal, invalid, notFound } from '../../errors.ts';
import type { ContentStore, Lease } from '../store-port.ts';
import { diskFull, isDiskFull, spaceGuard } from './space.ts';

/** Documents (manifests, configs) larger than this are refused. */
const DOCUMENT_LIMIT = 8 << 20;
const STALE_INGEST_MS = 24 * 3600 * 1000;

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
    for (const name of await readdir(this.#ingest)) {
      const path = join(this.#ingest, name);
      const { mtimeMs } = await stat(path);
      if (name.startsWith('tmp-') || now - mtimeMs > STALE_INGEST_MS) await rm(path, { recursive: true, force: true });
    }
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
    const hash = createHash('sha256');
    const written = spaceGuard(this.#ingest);
    let size = 0;
    try {
      const handle = await open(temporary, 'wx', 0o600);
      try {
        for await (const chunk of source) {
          hash.update(chunk);
          written(chunk.length);
          size += chunk.length;
          for (let at = 0; at < chunk.length;) at += (await handle.write(chunk, at)).bytesWritten;
        }
      } finally {
        await handle.close();
      }
      const digest = `sha256:${hash.digest('hex')}`;
      lease.add(digest);
      if (this.has(digest)) await unlink(temporary);
      else await this.#take(temporary, digest);
      return { digest, size };
    } catch (error) {
      await rm(temporary, { force: true });
      throw isDiskFull(error) ? diskFull() : error;
    }
  }

  ingestPath(digest: string): string {
    return join(this.#ingest, hexOf(digest));
  }

  async commitIngest(digest: string): Promise<void> {
    await this.#take(this.ingestPath(digest), digest);
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

  /** Deletes a blob. Returns its bytes, 0 when it was not there. */
  async delete(digest: string): Promise<number> {
    const size = this.#sizes.get(digest);
    if (size === undefined) return 0;
    this.#sizes.delete(digest);
    await rm(this.path(digest), { force: true });
    return size;
  }

  #temporary(): string {
    return join(this.#ingest, `tmp-${randomBytes(8).toString('hex')}`);
  }

  async #take(file: string, digest: string): Promise<void> {
    const handle = await open(file, 'r');
    let size: number;
    try {
      await handle.sync();
      size = (await handle.stat()).size;
    } finally {
      await handle.close();
    }
    await rename(file, this.path(digest));
    await syncDirectory(this.#blobs);
    this.#sizes.set(digest, size);
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
