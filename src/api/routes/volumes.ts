/** /volumes: list, create, inspect, remove, prune. */
import { unavailable } from '../../errors.ts';
import type { VolumeInfo } from '../../volume/port.ts';
import { type Api, atLeast, type Filters, filtersOf, flag, jsonBody, noContent } from '../kit.ts';

export interface VolumeBackend {
  /** Warnings: of plugins that could not tell theirs. */
  list(filters: Filters): Promise<{ Volumes: VolumeInfo[]; Warnings: string[] }>;
  inspect(name: string): Promise<VolumeInfo>;
  /** An empty name makes an anonymous volume. */
  create(volume: {
    name: string;
    driver?: string;
    options?: Record<string, string>;
    labels?: Record<string, string>;
  }): Promise<VolumeInfo>;
  remove(name: string, force: boolean): Promise<void>;
  prune(filters: Filters): Promise<{ VolumesDeleted: string[]; SpaceReclaimed: number }>;
}

const CLUSTER = 'volume update only valid for cluster volumes, but swarm is unavailable';

export function volumeRoutes(api: Api, volumes: VolumeBackend): void {
  api.get('/volumes', async (c) => c.json(await volumes.list(filtersOf(c, ['dangling', 'name', 'driver', 'label']))));

  api.post('/volumes/create', async (c) => {
    const body = await jsonBody(c, 'volume-create');
    if (body.ClusterVolumeSpec) throw unavailable('This node is not a swarm manager. Cluster volumes need one.');
    const created = await volumes.create({
      name: body.Name ?? '',
      driver: body.Driver || undefined,
      options: body.DriverOpts ?? undefined,
      labels: body.Labels ?? undefined,
    });
    return c.json(created, 201);
  });

  api.post('/volumes/prune', async (c) => {
    const filters = new Map(filtersOf(c, ['label', 'label!', 'all']));
    // Before 1.42 every unused volume went.
    if (!atLeast(c, '1.42')) filters.set('all', ['true']);
    return c.json(await volumes.prune(filters));
  });

  api.get('/volumes/:name{.+}', async (c) => c.json(await volumes.inspect(c.req.param('name'))));

  api.put('/volumes/:name{.+}', () => {
    throw unavailable(CLUSTER);
  });

  api.delete('/volumes/:name{.+}', async (c) => {
    await volumes.remove(c.req.param('name'), flag(c, 'force'));
    return noContent(c);
  });
}
