/** What a push of an image sends: pure over what is known of the image. */
import { MEDIA } from '../manifest.ts';
import type { Image } from '../port.ts';
import { parseReference, type Reference } from '../reference.ts';
import type { Descriptor } from '../store-port.ts';

const OCI_TYPES: Readonly<Record<string, string>> = {
  [MEDIA.dockerLayer]: MEDIA.ociLayer,
  [MEDIA.dockerLayerGzip]: MEDIA.ociLayerGzip,
  'application/vnd.docker.image.rootfs.diff.tar.zstd': MEDIA.ociLayerZstd,
};

const bare = ({ digest, size }: Descriptor, mediaType: string): Descriptor => ({ mediaType, digest, size });

/** The manifest of an image that was made or changed here. */
export function manifestFor(config: Descriptor, layers: readonly Descriptor[]): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA.ociManifest,
      config: bare(config, MEDIA.ociConfig),
      layers: layers.map((layer) => bare(layer, OCI_TYPES[layer.mediaType] ?? layer.mediaType)),
    }),
  );
}

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
