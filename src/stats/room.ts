/** The routes of stats and top, over the containers' port. */
import { statsRoutes } from '../api/routes/stats.ts';
import type { Room } from '../reactor/room.ts';
import { ContainerStats, type StatsDeps } from './service.ts';

export function createStatsRoom(deps: StatsDeps): Room & { stats: ContainerStats } {
  const stats = new ContainerStats(deps);
  return {
    stats,
    boot: async () => {},
    stop: async () => deps.sampler.stop(),
    routes: (api) => statsRoutes(api, stats),
  };
}
