/** The containers' room: records, actors, execs and streams behind the service that the routes and the other rooms use. */
import { attachRoutes } from '../api/routes/attach.ts';
import { commitRoutes } from '../api/routes/commit.ts';
import { containerRoutes } from '../api/routes/containers.ts';
import { execRoutes } from '../api/routes/exec.ts';
import { logRoutes } from '../api/routes/logs.ts';
import type { Api } from '../api/kit.ts';
import type { Execs } from '../exec/service.ts';
import type { ImageUsers } from '../image/port.ts';
import type { NetworkUsers } from '../network/port.ts';
import type { Room } from '../reactor/room.ts';
import type { VolumeUsers } from '../volume/port.ts';
import { wireMachine } from './actors.ts';
import type { EffectDeps } from './deps.ts';
import { assemble, type ContainerRoomDeps, logInfoOf, type Parts } from './assembly.ts';
import type { ContainerLookup, StepRunner } from './port.ts';
import { type ContainerRecord, isRunning } from './record.ts';
import { Recovery } from './recovery.ts';
import { Containers } from './service.ts';
import { followSharers, parentsOf } from './sharers.ts';
import { stepRunner } from './steps.ts';
import { imageUsers, networkUsers, volumeUsers } from './users.ts';

export type { ContainerRoomDeps } from './assembly.ts';

export interface ContainerRoom extends Room {
  containers: Containers;
  execs: Execs;
  effects: EffectDeps;
  lookup: ContainerLookup;
  steps: StepRunner;
  networkUsers: NetworkUsers;
  volumeUsers: VolumeUsers;
  imageUsers: ImageUsers;
  /** Stops every running container, each with its own signal and at most so many seconds. */
  stopAll(seconds: number): Promise<void>;
}

const lookupOf = ({ registry, sessions, publish }: Parts): ContainerLookup => ({
  resolve: (reference) => registry.resolve(reference),
  find: (reference) => registry.find(reference),
  all: () => registry.values(),
  task: (id) => sessions.find(id)?.task,
  logInfo: logInfoOf,
  publish,
  watch: (id, listener) => registry.watch(id, listener),
});

/** Those that live in another one's namespaces stop before it, all within the time given (no end when it is negative). */
async function stopInOrder({ registry, effects }: Parts, containers: Containers, seconds: number): Promise<void> {
  const isUp = (record: ContainerRecord): boolean => isRunning(record) || record.phase === 'starting';
  const end = effects.clock.now() + seconds * 1000;
  const stops = new Map<string, Promise<void>>();
  const stop = (record: ContainerRecord): Promise<void> => {
    const known = stops.get(record.id);
    if (known) return known;
    const guests = [...registry.values()].filter(
      (other) => isUp(other) && parentsOf(other, effects.idOf).includes(record.id),
    );
    const stopped = Promise.allSettled(guests.map(stop)).then(() => {
      const left = seconds < 0 ? seconds : Math.max(0, (end - effects.clock.now()) / 1000);
      return containers.stopForShutdown(record, left);
    });
    stops.set(record.id, stopped);
    return stopped;
  };
  // A start that was accepted before may come later.
  const next = (): ContainerRecord[] =>
    [...registry.values()].filter((record) => isUp(record) && !stops.has(record.id));
  for (let running = next(); running.length; running = next()) await Promise.allSettled(running.map(stop));
}

function serviceOf(deps: ContainerRoomDeps, parts: Parts, recovery: Recovery): Containers {
  return new Containers({
    ...parts.effects,
    ...deps,
    registry: parts.registry,
    execs: parts.execs,
    recovered: recovery.done,
    spawn(record) {
      recovery.spawn(record, { found: false });
      parts.publish(record, 'create');
    },
    announcePrune(reclaimed) {
      const attributes = { reclaimed: String(reclaimed) };
      deps.bus.publish({ topic: 'event', type: 'container', action: 'prune', id: '', attributes });
    },
  });
}

function addRoutes(api: Api, deps: ContainerRoomDeps, parts: Parts, containers: Containers): void {
  const { effects, execs, registry, publish } = parts;
  containerRoutes(api, containers);
  attachRoutes(api, { containers, effects });
  execRoutes(api, execs);
  logRoutes(api, {
    drivers: deps.logs,
    logTarget(name) {
      const record = registry.resolve(name);
      const { Tty } = record.config;
      return { id: record.id, tty: Tty, logConfig: record.hostConfig.LogConfig, info: logInfoOf(record) };
    },
  });
  commitRoutes(api, { containers, images: deps.images, rootfs: deps.rootfs, publish });
}

export async function createContainerRoom(deps: ContainerRoomDeps): Promise<ContainerRoom> {
  const parts = assemble(deps);
  const { effects, execs, registry, sessions } = parts;
  const machine = wireMachine(effects, parts.outlet);
  const recovery = new Recovery({
    effects,
    registry,
    reactor: deps.reactor,
    machine,
    recordsLost: deps.store.incomplete,
  });
  const containers = serviceOf(deps, parts, recovery);
  const sharers = followSharers({ bus: deps.bus, containers, log: deps.log });
  return {
    containers,
    execs,
    effects,
    lookup: lookupOf(parts),
    steps: stepRunner(effects, containers),
    networkUsers: networkUsers({ effects, registry, revise: (record, change) => containers.revise(record, change) }),
    volumeUsers: volumeUsers(registry),
    imageUsers: imageUsers(registry),
    boot: () => recovery.boot(),
    stopAll: (seconds) => stopInOrder(parts, containers, seconds),
    async stop() {
      await recovery.ended();
      sharers.unsubscribe();
      execs.stop();
      for (const session of sessions.values()) {
        session.streams?.close();
        await session.log?.close();
      }
      await deps.store.durable();
    },
    routes: (api) => addRoutes(api, deps, parts, containers),
  };
}
