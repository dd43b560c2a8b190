/**
 * Garbage collection of content and layers: mark and sweep. Deleting takes time; when something changed meanwhile, the marks
 * are made anew before the next deletion. A lease keeps what is worked on, and is taken before one looks whether it is there.
 */
import type { BlobStore } from '../content/content.ts';
import type { OverlayLayers } from '../layers/layers.ts';

export interface Marks {
  /** Changes with every change of what is needed. */
  generation(): number;
  diffs(): Set<string>;
  blobs(): Set<string>;
}

function fresh(generation: () => number, mark: () => Set<string>): () => Set<string> {
  let marked = mark();
  let of = generation();
  return () => {
    if (of !== generation()) [marked, of] = [mark(), generation()];
    return marked;
  };
}

export async function collectGarbage(
  { content, layers }: { content: BlobStore; layers: OverlayLayers },
  marks: Marks,
): Promise<{ deletedBytes: number }> {
  let deletedBytes = 0;
  const diffs = fresh(marks.generation, marks.diffs);
  for (const { id: diffId, record } of layers.all()) {
    if (diffs().has(diffId) || content.leased(diffId) || content.leased(record.blob.digest)) continue;
    await layers.delete(diffId);
    deletedBytes += record.size;
  }
  const blobs = fresh(marks.generation, marks.blobs);
  for (const digest of content.digests()) {
    if (content.leased(digest) || blobs().has(digest)) continue;
    deletedBytes += await content.drop(digest);
  }
  return { deletedBytes };
}
