/** What only looks at the rooms: counts and disk use for /info and /system/df, the visualizer's reads, the metrics. */
import type { Counts } from './api/routes/system.ts';
import type { ContainerRoom } from './container/room.ts';
import type { ExecRecord } from './exec/machine.ts';
import type { ImageRoom } from './image/room.ts';
import { createMetricsRoom } from './monitor/room.ts';
import type { Reactor } from './reactor/reactor.ts';
import type { Room, RoomDeps } from './reactor/room.ts';
import { gitCommit, hostId } from './system-info.ts';
import { shownCommand } from './visualizer/redact.ts';
import type { Label } from './visualizer/routes.ts';
import { createVisualizerRoom } from './visualizer/room.ts';

export function countContainers(containers: ContainerRoom, images: ImageRoom): Counts {
  const phases = [...containers.lookup.all()].map(({ phase }) => phase);
  const count = (...wanted: string[]): number => phases.filter((phase) => wanted.includes(phase)).length;
  const running = count('running', 'stopping', 'restarting', 'starting');
  const paused = count('paused');
  return {
    containers: phases.length,
    running,
    paused,
    stopped: phases.length - running - paused,
    images: images.catalog.list().length,
  };
}

const COMPOSE_PROJECT = 'com.docker.compose.project';

/** Rooms that only look: the visualizer's reads and the metrics. */
export function createViews(deps: RoomDeps, containers: ContainerRoom, images: ImageRoom): Room[] {
  const { bus, reactor, store, host, config, log } = deps;
  const container = (id: string): Label => {
    const record = containers.lookup.find(id);
    if (!record) return { name: '', project: '' };
    const { name, config, state } = record;
    return { name, project: config.Labels[COMPOSE_PROJECT] ?? '', restarts: state.restartCount };
  };
  return [
    createVisualizerRoom({
      ...deps,
      label: (kind, id) => {
        if (kind === 'container') return container(id);
        if (kind === 'exec') return execLabel(reactor, id, container);
        if (kind === 'image') return { name: images.catalog.find(id)?.repoTags[0] ?? '', project: '' };
        return { name: nameOfActor(reactor, kind, id), project: '' };
      },
    }),
    createMetricsRoom({
      address: config.metricsAddress,
      log,
      source: {
        bus,
        reactor,
        journal: store.journal,
        host,
        daemonId: hostId(store),
        commit: gitCommit(),
        containers: () =>
          [...containers.lookup.all()].map(({ id, name, config: { Labels }, phase, state }) => ({
            id,
            name,
            labels: Labels,
            state: phase,
            restarts: state.restartCount,
          })),
      },
    }),
  ];
}

/** Its container and its command. */
function execLabel(reactor: Reactor, id: string, container: (id: string) => Label): Label {
  const snapshot = reactor.get('exec', id)?.getSnapshot() as { context?: { record: ExecRecord } } | undefined;
  if (!snapshot?.context) return { name: '', project: '' };
  const { containerId, config } = snapshot.context.record;
  const { name, project } = container(containerId);
  return { name: `${name || containerId.slice(0, 12)}: ${shownCommand(config.command)}`, project };
}

/** What people call an actor that is no container: the name in its record, where its context has one. */
function nameOfActor(reactor: Reactor, kind: string, id: string): string {
  const snapshot = reactor.get(kind, id)?.getSnapshot() as { context?: Record<string, unknown> } | undefined;
  const record = snapshot?.context?.record as { name?: unknown } | undefined;
  const name = record?.name ?? snapshot?.context?.reference ?? snapshot?.context?.name;
  return typeof name === 'string' ? name : '';
}

const ALL_CONTAINERS = { all: true, limit: 0, filters: new Map() };

/** Every container as the list shows it, with sizes. */
export const containerUsage = async (containers: ContainerRoom): Promise<object[]> =>
  JSON.parse(await containers.containers.list(ALL_CONTAINERS, true)) as object[];
