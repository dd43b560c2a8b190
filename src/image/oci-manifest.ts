/** The OCI manifest of an image that was made or changed here, or came in Docker's own form. Pure. */
import { MEDIA } from './manifest.ts';
import type { Descriptor } from './store-port.ts';

const OCI_TYPES: Readonly<Record<string, string>> = {
  [MEDIA.dockerLayer]: MEDIA.ociLayer,
  [MEDIA.dockerLayerGzip]: MEDIA.ociLayerGzip,
  'application/vnd.docker.image.rootfs.diff.tar.zstd': MEDIA.ociLayerZstd,
};

const bare = ({ digest, size }: Omit<Descriptor, 'mediaType'>, mediaType: string): Descriptor => ({
  mediaType,
  digest,
  size,
});

export function manifestFor(config: Omit<Descriptor, 'mediaType'>, layers: readonly Descriptor[]): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA.ociManifest,
      config: bare(config, MEDIA.ociConfig),
      layers: layers.map((layer) => bare(layer, OCI_TYPES[layer.mediaType] ?? layer.mediaType)),
    }),
  );
}
