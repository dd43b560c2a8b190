/** Documents of an image: the config that comes from anywhere, and the manifest we write when it came without one. */
import { check } from '../../api/validate.ts';
import { DaemonError, invalid } from '../../errors.ts';
import { digestOf } from '../content/content.ts';
import { MEDIA } from '../manifest.ts';
import { manifestFor } from '../oci-manifest.ts';
import type { ImageConfigDocument } from '../port.ts';
import { isDigest } from '../reference.ts';
import type { ContentStore, Descriptor, Lease } from '../store-port.ts';

/** Go's decoder takes null for "not there" everywhere, and so do the tools that write these documents. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, inner]) => inner !== null);
  return Object.fromEntries(entries.map(([key, inner]) => [key, withoutNulls(inner)]));
}

/** Checks a config document; what we rely on is there afterwards. Throws `invalid` (code bad-image). */
export function checkedConfig(document: unknown): ImageConfigDocument {
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw invalid('invalid image config: not an object', { code: 'bad-image' });
  }
  const given = withoutNulls(document) as Partial<ImageConfigDocument>;
  const config = {
    ...given,
    architecture: given.architecture ?? '',
    os: given.os || 'linux',
    config: given.config ?? {},
    rootfs: { type: 'layers', diff_ids: given.rootfs?.diff_ids ?? [] },
  };
  try {
    check('oci-image-config', config);
  } catch (error) {
    const why = error instanceof DaemonError ? error.message.replace('invalid JSON: ', '') : String(error);
    throw invalid(`invalid image config: ${why}`, { code: 'bad-image', cause: error });
  }
  const odd = config.rootfs.diff_ids.find((diffId) => !isDigest(diffId));
  if (odd !== undefined) throw invalid(`invalid image config: diff id ${odd}`, { code: 'bad-image' });
  return config as ImageConfigDocument;
}

/** Writes the OCI manifest of an image that came without one. */
export async function writeManifest(
  content: ContentStore,
  image: { id: string; config: ImageConfigDocument; blobs: readonly Descriptor[] },
  lease: Lease,
): Promise<Descriptor> {
  const bytes = manifestFor({ digest: image.id, size: content.size(image.id) }, image.blobs);
  lease.add(digestOf(bytes));
  const digest = await content.write(bytes);
  const { os, architecture, variant } = image.config;
  const platform = { os, architecture, ...(variant ? { variant } : {}) };
  return { mediaType: MEDIA.ociManifest, digest, size: bytes.length, platform };
}
