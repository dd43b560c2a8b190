/** The visualizer's half in the daemon: reads over the reactor, the bus and the journal. The page itself is served by `reactord ui`. */
import type { Room, RoomDeps } from '../reactor/room.ts';
import { type VisualizerSource, visualizerRoutes } from './routes.ts';

export function createVisualizerRoom(deps: RoomDeps & { label: VisualizerSource['label'] }): Room {
  return {
    boot: async () => {},
    stop: async () => {},
    routes: (api) =>
      visualizerRoutes(api, {
        reactor: deps.reactor,
        bus: deps.bus,
        clock: deps.clock,
        journal: deps.store.journal,
        label: deps.label,
      }),
  };
}
