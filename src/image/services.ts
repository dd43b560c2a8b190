/** What the operations on images work with; made once by the room. */
import type { RoomDeps } from '../reactor/room.ts';
import type { ImageCatalog } from './catalog/catalog.ts';
import type { BlobStore } from './content/content.ts';
import type { OverlayLayers } from './layers/layers.ts';
import type { Platform } from './manifest.ts';
import type { ImageStore, ImageUsers } from './port.ts';
import type { OverlayRootfs } from './rootfs/rootfs.ts';

export interface ImageServices extends RoomDeps {
  users: ImageUsers;
  hostPlatform: Platform;
  content: BlobStore;
  layers: OverlayLayers;
  catalog: ImageCatalog;
  rootfs: OverlayRootfs;
  images: ImageStore;
}
