/**
 * Unpacks the layers of an archive while the rest of it still comes in, before anything says which of its files are layers:
 * what looks like one is tried. One that fails is tried again, and then told, when an image asks for it.
 */
import { open } from 'node:fs/promises';
import { shortId } from '../../lib/ids.ts';
import { compressionOf } from '../../tar/decompress.ts';
import type { BlobStore } from '../content/content.ts';
import { layerMediaType, type OverlayLayers, PLAIN_LAYER } from '../layers/layers.ts';
import type { Descriptor } from '../store-port.ts';
import { progressLine } from './progress.ts';

/** Smaller ones are unpacked at the end sooner than they are looked at. */
const LEAST_BYTES = 256 << 10;
const HEAD_BYTES = 512;

export async function headOf(path: string): Promise<Buffer> {
  const handle = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

const isTar = (head: Buffer): boolean => head.subarray(257, 262).equals(Buffer.from('ustar'));

export class Ahead {
  #stores: { content: BlobStore; layers: OverlayLayers };
  #controller = new AbortController();
  /** Diff ids by digest of the blob; undefined for what could not be unpacked. */
  #tried = new Map<string, Promise<string | undefined>>();

  constructor(stores: { content: BlobStore; layers: OverlayLayers }) {
    this.#stores = stores;
  }

  /** A file of the archive is in the content store, under a lease of the caller's. */
  async take(digest: string, size: number, tell: (line: object) => void): Promise<void> {
    if (size < LEAST_BYTES || this.#tried.has(digest)) return;
    const { content, layers } = this.#stores;
    const head = await headOf(content.path(digest));
    const isPlain = isTar(head);
    if (isPlain && layers.has(digest)) return;
    const mediaType = isPlain ? PLAIN_LAYER : layerMediaType(head);
    if (!isPlain && compressionOf(head) !== 'gzip' && compressionOf(head) !== 'zstd') return;
    const blob: Descriptor = { mediaType, digest, size };
    const onProgress = (current: number): void => tell(progressLine(shortId(digest), 'Loading layer', current, size));
    const unpacked = layers.unpackAhead(blob, this.#controller.signal, isPlain ? onProgress : () => {});
    this.#tried.set(
      digest,
      unpacked.catch(() => undefined),
    );
  }

  has(digest: string): boolean {
    return this.#tried.has(digest);
  }

  /** Resolves when nothing is under way for this blob. */
  async settled(digest: string): Promise<void> {
    await this.#tried.get(digest);
  }

  async stop(): Promise<void> {
    this.#controller.abort();
    await Promise.all(this.#tried.values());
  }
}
