/** What a push of an image sends: pure over what is known of the image. */
import type { Image } from '../port.ts';
import { parseReference, type Reference } from '../reference.ts';

/** Repositories of one registry that should have a layer, by diff id, so that it can be mounted instead of sent. */
export function mountSources(images: readonly Image[], ref: Reference): Map<string, string> {
  const sources = new Map<string, string>();
  for (const image of images) {
    const from = image.repoDigests
      .map(parseReference)
      .find(({ domain, path }) => domain === ref.domain && path !== ref.path);
    if (from) for (const diffId of image.config.rootfs.diff_ids) sources.set(diffId, from.path);
  }
  return sources;
}

/** Sources asked for in one token; registries refuse longer lists. */
const MOST_SOURCES = 5;

/** What the push must be allowed to do: write here, and read where layers are mounted from. */
export function scopesFor(ref: Reference, sources: ReadonlyMap<string, string>, diffIds: readonly string[]): string[] {
  const from = new Set(diffIds.flatMap((diffId) => sources.get(diffId) ?? []));
  const reading = [...from].slice(0, MOST_SOURCES).map((path) => `repository:${path}:pull`);
  return [`repository:${ref.path}:pull,push`, ...reading];
}
