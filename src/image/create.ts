/** Makes an image here, for commit, build, import and docker archives: new layers enter as uncompressed tars. */
import { type BlobStore, digestOf } from './content/content.ts';
import type { ImageCatalog } from './catalog/catalog.ts';
import { type OverlayLayers, PLAIN_LAYER } from './layers/layers.ts';
import type { Image, ImageConfigDocument, ImageStore } from './port.ts';
import type { Descriptor, Lease } from './store-port.ts';

interface Stores {
  content: BlobStore;
  layers: OverlayLayers;
  catalog: ImageCatalog;
}

/** Takes in an uncompressed layer tar and unpacks it. Returns its diff id. */
export async function addLayer(
  { content, layers }: Stores,
  lease: Lease,
  tar: AsyncIterable<Uint8Array>,
): Promise<string> {
  const { digest, size } = await content.writeStream(tar, lease);
  await layers.unpack({ blob: { mediaType: PLAIN_LAYER, digest, size }, diffId: digest });
  return digest;
}

/** Keys in alphabetic order, as dockerd writes its config documents. */
const sorted = (document: object): object =>
  Object.fromEntries(Object.entries(document).sort(([a], [b]) => (a < b ? -1 : 1)));

export async function createImage(stores: Stores, image: Parameters<ImageStore['create']>[0]): Promise<Image> {
  const { content, layers, catalog } = stores;
  const lease = content.lease();
  try {
    const diffIds: string[] = [];
    const blobs: Descriptor[] = [];
    for (const layer of image.layers) {
      const diffId = typeof layer === 'string' ? layer : await addLayer(stores, lease, layer);
      lease.add(diffId);
      const { blob } = layers.record(diffId);
      lease.add(blob.digest);
      diffIds.push(diffId);
      blobs.push(blob);
    }
    const document: ImageConfigDocument = { ...image.config, rootfs: { type: 'layers', diff_ids: diffIds } };
    const bytes = Buffer.from(JSON.stringify(sorted(document)));
    // Leased before it is there: a collection may be under way.
    lease.add(digestOf(bytes));
    const configDigest = await content.write(bytes);
    return await catalog.add({
      configDigest,
      blobs,
      ...(image.parent ? { parent: image.parent } : {}),
      cache: image.cache,
    });
  } catch (error) {
    lease.release();
    // What came in before it failed is in nobody's way, but takes room.
    await catalog.collect();
    throw error;
  } finally {
    lease.release();
  }
}
