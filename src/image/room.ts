/** The room of the images: builds the stores and hands out what the others use of them. */
import { join } from 'node:path';
import type { Api } from '../api/kit.ts';
import { distributionRoutes } from '../api/routes/distribution.ts';
import { imageRoutes } from '../api/routes/images.ts';
import { transferRoutes } from '../api/routes/transfer.ts';
import type { Room, RoomDeps } from '../reactor/room.ts';
import { ImageCatalog } from './catalog/catalog.ts';
import { BlobStore } from './content/content.ts';
import { createImage } from './create.ts';
import { publishImage } from './events.ts';
import { OverlayLayers } from './layers/layers.ts';
import { imageUsage, type ImageSummary } from './list.ts';
import { normalizePlatform } from './manifest.ts';
import type { ImageStore, ImageUsers, RootfsStore } from './port.ts';
import { familiar, parseReference, withDefaultTag } from './reference.ts';
import { OverlayRootfs } from './rootfs/rootfs.ts';
import type { ImageServices } from './services.ts';
import { createTransfers, type Transfers } from './transfers.ts';

export interface ImageRoom extends Room {
  images: ImageStore;
  rootfs: RootfsStore;
  catalog: ImageCatalog;
  layers: OverlayLayers;
  content: BlobStore;
  routes(api: Api): void;
  /** For /system/df. */
  imageUsage(): { images: ImageSummary[]; layersSize: number };
}

/** The port of the other rooms, over catalog and transfers. */
function imageStore(
  stores: Pick<ImageServices, 'content' | 'layers' | 'catalog' | 'bus'>,
  transfers: Pick<Transfers, 'pull'>,
  users: ImageUsers,
): ImageStore {
  const { catalog, bus } = stores;
  const store: ImageStore = {
    get: (reference, platform) => catalog.get(reference, platform),
    find: (reference, platform) => catalog.find(reference, platform),
    pull: (reference, options) => transfers.pull(reference, options),
    async create(wanted) {
      const image = await createImage(stores, wanted);
      if (!wanted.tag) return image;
      await store.tag(image.id, wanted.tag);
      return catalog.get(image.id);
    },
    async tag(id, reference) {
      await catalog.tag(id, reference);
      publishImage(bus, 'tag', catalog.get(id), familiar(withDefaultTag(parseReference(reference))));
    },
    async discard(ids) {
      for (const id of ids) {
        const image = catalog.find(id);
        if (!image?.cache || image.repoTags.length || image.repoDigests.length) continue;
        if (users.using(id).length || catalog.childrenOf(id).length) continue;
        catalog.forget(id);
      }
      await catalog.collect();
    },
  };
  return store;
}

export async function createImageRoom(deps: RoomDeps & { users: ImageUsers }): Promise<ImageRoom> {
  const { config, log, store, clock } = deps;
  const content = new BlobStore(join(config.dataRoot, 'image/oci'));
  const layers = new OverlayLayers({ directory: join(config.dataRoot, 'overlay2'), content, store, log });
  const hostPlatform = normalizePlatform({ os: 'linux', architecture: deps.host.architecture });
  const catalog = new ImageCatalog({ content, layers, store, clock, log, hostPlatform });
  const mountRoot = join(config.execRoot, 'rootfs');
  const rootfs = new OverlayRootfs({ dataRoot: config.dataRoot, mountRoot, layers, catalog, store, log });
  const transfers = createTransfers({ ...deps, content, layers, catalog });
  const images = imageStore({ content, layers, catalog, bus: deps.bus }, transfers, deps.users);
  const services: ImageServices = { ...deps, hostPlatform, content, layers, catalog, rootfs, images };
  return {
    images,
    rootfs,
    catalog,
    layers,
    content,
    imageUsage: () => imageUsage(services),
    async boot() {
      await content.boot(clock.now());
      await layers.boot();
      await rootfs.boot();
      catalog.boot(() => rootfs.stacksInUse());
      await catalog.vouch();
      // Garbage of the last life must not keep the daemon from serving.
      void catalog.collect().catch((error: unknown) => log.warn({ err: error }, 'collecting content failed'));
    },
    async stop() {
      await transfers.stop();
      await catalog.collected();
      await rootfs.stop();
      await layers.stop();
      await content.close();
      await catalog.settled();
    },
    routes(api) {
      imageRoutes(api, services);
      transferRoutes(api, transfers);
      distributionRoutes(api, transfers);
    },
  };
}
