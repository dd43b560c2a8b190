/** The room of the builds: one engine behind the classic API and BuildKit's. */
import { join } from 'node:path';
import type { StepRunner } from '../container/port.ts';
import type { ImageStore, RootfsStore } from '../image/port.ts';
import type { Catalog } from '../image/store-port.ts';
import type { Networks } from '../network/port.ts';
import type { Room, RoomDeps } from '../reactor/room.ts';
import { buildRoutes } from '../api/routes/build.ts';
import { BuildKit } from './buildkit/front.ts';
import { BuildCache } from './cache.ts';
import { Collector } from './collect.ts';
import { BuildFiles } from './files/pool.ts';
import { Builds } from './service.ts';

export interface BuildRoomDeps extends RoomDeps {
  images: ImageStore;
  rootfs: RootfsStore;
  catalog: Catalog;
  steps: StepRunner;
  networks: Networks;
}

export async function createBuildRoom(deps: BuildRoomDeps): Promise<Room & { builds: Builds; buildkit: BuildKit }> {
  const { config, store, images, rootfs, steps, clock, log, bus, reactor, host } = deps;
  const cache = new BuildCache({ store, images, clock, directory: join(config.dataRoot, 'buildkit') });
  const builds = new Builds(
    {
      images, rootfs, steps, cache, files: new BuildFiles(), clock, log, bus, remap: deps.remap, containers: store.collection('build-containers'), listImages: () => deps.catalog.list(),
      hostPlatform: { os: 'linux', architecture: host.architecture },
    }, // prettier-ignore
    { reactor, directory: join(config.dataRoot, 'builder'), ended: () => collector.soon() },
  );
  const collector: Collector = new Collector({
    builds,
    builder: config.builder,
    directory: config.dataRoot,
    clock,
    log,
  });
  const buildkit = new BuildKit(builds, {
    directory: join(config.dataRoot, 'builder'),
    historyDirectory: join(config.dataRoot, 'buildkit/history'),
    keepHistory: config.builder.history,
    hostGateway: async () => deps.networks.hostGateways()[0],
    allowed: config.builder,
  });
  // What builds of the last life left is taken away before the first of this one begins: it would lose its own files to that.
  const swept = Promise.withResolvers<void>();
  return {
    builds,
    buildkit,
    async boot() {
      await builds.sweep();
      swept.resolve();
      collector.collect();
    },
    async stop() {
      swept.resolve();
      await collector.stop();
      await buildkit.stop();
      await builds.stop();
    },
    routes(api) {
      for (const path of ['/build', '/grpc', '/session'])
        api.use(path, async (_, next) => {
          await swept.promise;
          await next();
        });
      buildRoutes(api, builds, buildkit);
    },
  };
}
