/** Inside the images' room: what pull, push, load and save need of the content and of the catalog of images. */
import type { BlobWriter } from './content/writers.ts';
import type { Image } from './port.ts';

export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  platform?: { architecture: string; os: string; variant?: string; 'os.version'?: string };
  annotations?: Record<string, string>;
  urls?: string[];
}

/** Keeps content from being collected while somebody works on it. Release exactly once; releasing twice is harmless. */
export interface Lease {
  add(digest: string): void;
  release(): void;
}

/** Blobs in an OCI image layout on disk (blobs/sha256/…). A blob that is there is whole and has its digest. */
export interface ContentStore {
  has(digest: string): boolean;
  path(digest: string): string;
  size(digest: string): number;
  /** For small documents (manifests, configs); limit 8 MiB. Throws notFound. */
  read(digest: string): Promise<Buffer>;
  /** Writes a small document, which is synced behind that. `expected` is checked. Returns its digest. */
  write(bytes: Uint8Array, expected?: string): Promise<string>;
  /** Path of the half-fetched blob of this digest (may not exist, may survive a restart); only one writer at a time. */
  ingestPath(digest: string): string;
  /** Takes over a file whose digest and size the caller verified. It is synced behind that. */
  commitIngest(digest: string): Promise<void>;
  /** Removes half-fetched blobs that are too old or (`all`) that nobody works on. Returns their bytes. */
  sweepIngest(now: number, all?: boolean): Promise<number>;
  /** Writes and hashes files outside of the event loop. */
  readonly writers: { open(path: string, from?: number): BlobWriter };
  lease(): Lease;
}

export interface LayerStore {
  /** An unpacked diff is there. */
  has(diffId: string): boolean;
  /**
   * Unpacks a blob that is in the content store into its own directory, in a worker thread; checks the diff id (sha256 of the uncompressed
   * tar). At once for many layers; one unpack for many callers of the same diff id. Nothing is left when it fails.
   */
  unpack(layer: {
    blob: Descriptor;
    diffId: string;
    onProgress?: (current: number, total: number) => void;
    signal?: AbortSignal;
  }): Promise<void>;
  /** The registry blob this diff came from, to push it unchanged. */
  blobOf(diffId: string): Descriptor | undefined;
  /** Makes a compressed blob of an unpacked diff (tar of the overlay directory, gzip) when there is none. */
  ensureBlob(diffId: string, signal?: AbortSignal): Promise<Descriptor>;
}

export interface Catalog {
  get(reference: string, platform?: string): Image;
  find(reference: string, platform?: string): Image | undefined;
  list(): Image[];
  /**
   * Registers an image whose config blob and unpacked layers are there. Idempotent. `source` keeps the very manifest (and index) it came
   * with, so that a push of the unchanged image sends the same bytes. Durable when it resolves.
   */
  add(image: {
    configDigest: string;
    manifest?: Descriptor;
    index?: Descriptor;
    parent?: string;
    /** A step of a build (see ImageStore.create). */
    cache?: boolean;
    /** In the order of diff_ids. */
    blobs: Descriptor[];
  }): Promise<Image>;
  /**
   * Moves a tag ("docker.io/library/x:latest", normalised). Durable when it resolves. Returns the id that had it before. `came`:
   * with the image; as in dockerd, only tags that are given here have a time.
   */
  tag(id: string, reference: string, came?: 'came'): Promise<string | undefined>;
  /** Remembers "name@sha256:…". */
  addDigest(id: string, name: string, digest: string): Promise<void>;
  /** Deletes blobs and diffs that nobody refers to and no lease holds. */
  collect(): Promise<{ deletedBytes: number }>;
}
