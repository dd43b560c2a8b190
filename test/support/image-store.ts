/** The content and layer stores over a directory of their own, for tests of what lies above them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageCatalog } from '../../src/image/catalog/catalog.ts';
import { BlobStore, digestOf } from '../../src/image/content/content.ts';
import { OverlayLayers } from '../../src/image/layers/layers.ts';
import { OverlayRootfs } from '../../src/image/rootfs/rootfs.ts';
import { testDeps } from './deps.ts';

/** In a new temporary directory unless told where. */
export async function testImageStore(directory?: string) {
  const root = directory ?? (await mkdtemp(join(tmpdir(), 'image-store-')));
  const deps = testDeps({ config: { dataRoot: root } });
  const content = new BlobStore(join(root, 'image/oci'));
  await content.boot(Date.now());
  const layers = new OverlayLayers({ directory: join(root, 'overlay2'), content, store: deps.store, log: deps.log });
  const { store, clock, log } = deps;
  const hostPlatform = { os: 'linux', architecture: 'amd64' };
  const catalog = new ImageCatalog({ content, layers, store, clock, log, hostPlatform });
  const rootfs = new OverlayRootfs({ dataRoot: root, mountRoot: join(root, 'mounts'), layers, catalog, store, log });
  catalog.boot(() => rootfs.stacksInUse());
  await catalog.vouch();
  return {
    root,
    catalog,
    rootfs,
    deps,
    content,
    layers,
    /** Puts a tar (compressed or not) into the store and unpacks it. Returns the path of its files. */
    async unpack(tar: Buffer, blob: Buffer = tar): Promise<string> {
      const digest = await content.write(blob);
      const diffId = digestOf(tar);
      await layers.unpack({ blob: { mediaType: '', digest, size: blob.length }, diffId });
      return layers.path(diffId);
    },
    async dispose(): Promise<void> {
      await rootfs.stop();
      await layers.stop();
      await content.close();
      await catalog.settled();
      if (!directory) await rm(root, { recursive: true, force: true });
    },
  };
}
