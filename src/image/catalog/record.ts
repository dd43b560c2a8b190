/** What is kept of an image, and what follows from it alone. */
import { createHash } from 'node:crypto';
import type { ImageConfigDocument } from '../port.ts';
import type { Descriptor } from '../store-port.ts';

/** Collection `images`, by image id. Immutable but for `taggedAt`. */
export interface ImageRecord {
  config: ImageConfigDocument;
  manifest: Descriptor;
  /** When that one is of Docker's own form: what index.json lists instead, since readers of OCI layouts know no other. */
  ociManifest?: Descriptor;
  /** True when the manifest is ours, because the image came without one (commit, build, docker archive). */
  ownManifest: boolean;
  /** The multi-platform index it was chosen from. */
  index?: Descriptor;
  /** Layer blobs in the order of diff_ids, as the manifest has them. */
  blobs: Descriptor[];
  /** Image id it was made from here. */
  parent?: string;
  /** Bytes of all layers, unpacked. */
  size: number;
  /** Made by a build to be found again: neither listed nor pruned while it has no name. */
  cache?: true;
  /** Milliseconds since the epoch of the last tag. */
  taggedAt?: number;
}

/** Digests of all blobs that an image refers to. */
export function blobsOf(
  id: string,
  record: Pick<ImageRecord, 'manifest' | 'ociManifest' | 'index' | 'blobs'>,
): string[] {
  const { manifest, ociManifest, index, blobs } = record;
  const documents = [manifest, ociManifest, index].flatMap((each) => (each ? [each.digest] : []));
  return [id, ...documents, ...blobs.map(({ digest }) => digest)];
}

/** Collections `image-tags` and `image-digests`, by canonical reference. */
export interface ReferenceRecord {
  id: string;
}

/** Identities of a stack of layers, bottom first (OCI image-spec config.md "Layer ChainID"). */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(
      below === undefined ? diffId : `sha256:${createHash('sha256').update(`${below} ${diffId}`).digest('hex')}`,
    );
  }
  return chain;
}
