/**
 * The composition root: builds the parts, starts them in order, stops them in reverse. It is the only file that knows every
 * room; what it holds is handed in, so that each room can be read and tested alone.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { createActor, fromPromise, waitFor } from 'xstate';
import { createApp } from './api/app.ts';
import type { SystemInfo } from './api/routes/system.ts';
import { listen, type Listening } from './api/server.ts';
import { createArchiveRoom } from './archive/room.ts';
import { createBuildRoom } from './build/room.ts';
import { Bus } from './bus/bus.ts';
import type { Config } from './config/config.ts';
import { liveSettings, reloaded } from './config/load.ts';
import { type ContainerRoom, createContainerRoom } from './container/room.ts';
import { loadDefaultProfile } from './host/apparmor.ts';
import { readHostFacts } from './host/facts.ts';
import { openUserRemap } from './host/user-remap.ts';
import { unavailable } from './errors.ts';
import { createImageRoom } from './image/room.ts';
import { systemClock } from './lib/clock.ts';
import { createLogDrivers } from './logs/drivers.ts';
import { createNetworkRoom } from './network/room.ts';
import { armDrill, parseDrill } from './reactor/drill.ts';
import { waitingFor } from './reactor/ask.ts';
import { lifecycle } from './reactor/lifecycle.ts';
import { Reactor } from './reactor/reactor.ts';
import type { Room, RoomDeps } from './reactor/room.ts';
import { stateText } from './reactor/state-text.ts';
import { createShimRuntime } from './runtime/shim/runtime.ts';
import { runtimeWarnings } from './runtime/version-gate.ts';
import { lockDataRoot, writePidfile } from './service/lock.ts';
import { keepJournal } from './store/retention.ts';
import { createStatsRoom } from './stats/room.ts';
import { createSampler } from './stats/sampler.ts';
import { sqliteStore } from './store/sqlite.ts';
import { readComponents, systemInfo } from './system-info.ts';
import { containerUsage, countContainers, createViews } from './views.ts';
import { timersOf } from './visualizer/view.ts';
import { createVolumeRoom } from './volume/room.ts';

export interface Daemon {
  /** Resolves when every room has recovered; rejects when the daemon could not start. */
  serving: Promise<void>;
  /** Resolves when all has been let go; the error that ended it, if one did. */
  stopped: Promise<unknown>;
  /** Containers are stopped or left running as `live-restore` says, unless told. */
  stop(containers?: 'stop' | 'leave'): void;
  /** Lets go at once, without waiting for containers. */
  force(): void;
  /** Takes over the live keys of a new configuration and publishes `daemon reload`. */
  reload(next: Config): void;
  /** Actors, timers and pending work, JSON-able. */
  dump(): object;
}

/** Undo steps of the start, run in reverse at the end. */
type Release = () => unknown;

interface Parts {
  deps: RoomDeps;
  /** Rooms that containers need, then the containers, then those that need them. */
  first: Room[];
  containers: ContainerRoom;
  last: Room[];
  system: SystemInfo;
  /** BuildKit's clients speak HTTP/2 from the first byte. */
  onHttp2: (socket: Duplex, head: Buffer) => void;
}

const roomsOf = ({ first, containers, last }: Parts): Room[] => [...first, containers, ...last];

async function buildParts(config: Config, log: Logger, release: Release[]): Promise<Parts> {
  mkdirSync(config.dataRoot, { recursive: true, mode: 0o710 });
  // Users of containers that are nobody here have to pass on their way to their own root.
  mkdirSync(config.execRoot, { recursive: true, mode: 0o700 });
  if (config.usernsRemap) chmodSync(config.execRoot, 0o711);
  release.push(lockDataRoot(config.dataRoot), writePidfile(config.pidfile));
  const clock = systemClock;
  const store = sqliteStore({
    path: join(config.dataRoot, 'reactord.db'),
    onDamaged: (movedTo, error) =>
      log.error(
        { err: error, movedTo },
        'the database was damaged and is set aside; while that file is there, nothing that no record names is removed',
      ),
    onError: (error) => log.error({ err: error }, 'records could not be written'),
  });
  release.push(() => store.close());
  const bus = new Bus({
    clock,
    lastSeq: store.journal.lastSeq,
    onError: (error) => log.error({ err: error }, 'a subscriber of the bus failed'),
  });
  bus.facts$.subscribe((fact) => store.journal.append(fact));
  if (process.env.REACTORD_DRILL) armDrill(bus, parseDrill(process.env.REACTORD_DRILL));
  release.push(keepJournal({ store, clock, config, log }));
  const reactor = new Reactor({ bus, clock, log });
  release.push(() => reactor.stop());
  const components = readComponents(config);
  const host = await readHostFacts(config);
  // Containers that need it then say so themselves: none runs without.
  if (host.apparmor)
    await loadDefaultProfile().catch((error: unknown) =>
      log.error({ err: error }, 'the AppArmor profile of containers could not be loaded'),
    );
  const remap = config.usernsRemap ? await openUserRemap(config) : undefined;
  // Containers that live on stay in their namespace, and find it there again.
  release.push(() => config.liveRestore || remap?.close());
  const deps: RoomDeps = { config, log, clock, bus, store, reactor, host, remap };
  const logs = createLogDrivers({ config, log, clock });
  const runtime = await createShimRuntime({ config, log, clock, directory: join(config.execRoot, 'runtime') });
  release.push(() => runtime.close());

  // The rooms know each other only through ports; who uses what is asked of the containers, which come last.
  const users: { room?: ContainerRoom } = {};
  const volumes = await createVolumeRoom({
    ...deps,
    users: { using: (volume) => users.room?.volumeUsers.using(volume) ?? [] },
  });
  const images = await createImageRoom({
    ...deps,
    users: { using: (image) => users.room?.imageUsers.using(image) ?? [] },
  });
  const networks = await createNetworkRoom({
    ...deps,
    users: {
      using: (network) => users.room?.networkUsers.using(network) ?? [],
      connect: (...args) => users.room!.networkUsers.connect(...args),
      disconnect: (...args) => users.room!.networkUsers.disconnect(...args),
    },
  });
  const containers = await createContainerRoom({
    ...deps,
    runtime,
    images: images.images,
    rootfs: images.rootfs,
    networks: networks.networks,
    volumes: volumes.volumes,
    logs,
  });
  users.room = containers;
  const build = await createBuildRoom({
    ...deps,
    images: images.images,
    rootfs: images.rootfs,
    catalog: images.catalog,
    steps: containers.steps,
    networks: networks.networks,
  });
  const known = await components;
  for (const { Name, Version } of known) for (const warning of runtimeWarnings(Name, Version)) log.warn(warning);
  const archive = createArchiveRoom({
    log,
    containers: containers.lookup,
    rootfs: images.rootfs,
    volumes: volumes.volumes,
    remap,
  });
  const stats = createStatsRoom({ containers: containers.lookup, sampler: createSampler(deps), host, config });
  const views = createViews(deps, containers, images);
  return {
    deps,
    first: [volumes, images, networks],
    containers,
    last: [build, archive, stats, ...views],
    onHttp2: (socket, head) => {
      socket.unshift(head);
      void build.buildkit.serve(socket);
    },
    system: systemInfo({
      config,
      host,
      store,
      components: known,
      counts: () => countContainers(containers, images),
      usage: {
        image: async () => images.imageUsage(),
        container: () => containerUsage(containers),
        volume: () => volumes.usage(),
        'build-cache': async () => build.builds.usage(),
      },
    }),
  };
}

/** Starts the daemon. `config` is frozen; what a reload may change lives in the daemon's own copy. */
export function startDaemon(config: Config, log: Logger): Daemon {
  const live: Config = { ...config };
  const release: Release[] = [];
  let parts: Parts | undefined;
  let listening: Listening | undefined;
  const ready = Promise.withResolvers<void>();
  ready.promise.catch(() => {});
  const stopping = new AbortController();

  const actor = lifecycle.provide({
    actors: {
      open: fromPromise(async () => {
        parts = await buildParts(live, log, release);
        parts.deps.reactor.watch('reactor', 'root', root);
        const app = createApp({
          ...{ ...parts.deps, rooms: roomsOf(parts), system: parts.system },
          ...{ ready: ready.promise, stopping: stopping.signal },
        });
        // Plugins judge requests of HTTP/1: BuildKit clients then come by /grpc, which they see, or not at all.
        const onHttp2 = live.authorizationPlugins.length ? undefined : parts.onHttp2;
        listening = await listen({ app, config: live, log, onHttp2 });
        release.push(() => listening?.close());
      }),
      recover: fromPromise(async () => {
        const { first, containers, last } = parts!;
        await Promise.all(first.map((room) => room.boot()));
        ready.resolve();
        await containers.boot();
        await Promise.all(last.map((room) => room.boot()));
      }),
      drain: fromPromise(async () => {
        ready.reject(unavailable('the daemon is stopping'));
        stopping.abort();
        if (!live.liveRestore) await parts?.containers.stopAll(live.shutdownTimeout);
        for (const room of parts ? roomsOf(parts).reverse() : []) await room.stop();
      }),
      release: fromPromise(async () => {
        for (const step of release.reverse()) {
          try {
            await step();
          } catch (error) {
            log.error({ err: error }, 'something could not be let go');
          }
        }
      }),
    },
  });

  const root = createActor(actor);
  root.subscribe({
    next: (snapshot) => log.debug({ state: stateText(snapshot.value) }, 'reactor'),
    error: (error) => log.error({ err: error }, 'the root reactor failed'),
  });
  root.start();
  const stopped = waitFor(root, (snapshot) => snapshot.status === 'done').then((snapshot) => snapshot.context.error);
  return {
    serving: waitFor(root, (snapshot) => snapshot.matches('serving') || snapshot.status === 'done').then((snapshot) => {
      if (!snapshot.matches('serving')) throw snapshot.context.error ?? new Error('stopped before it served');
    }),
    stopped,
    stop(containers) {
      if (containers) live.liveRestore = containers === 'leave';
      root.send({ type: 'STOP' });
    },
    force: () => root.send({ type: 'FORCE' }),
    reload(next) {
      Object.assign(live, reloaded(live, next));
      log.level = live.logLevel;
      parts?.deps.bus.publish({
        topic: 'event',
        type: 'daemon',
        action: 'reload',
        id: parts.system.id,
        attributes: { ...liveSettings(live), name: parts.deps.host.hostname },
      });
    },
    dump: () => dumpOf(parts, root.getSnapshot().value),
  };
}

function dumpOf(parts: Parts | undefined, state: unknown): object {
  if (!parts) return { state, actors: [] };
  const { reactor, bus, store, clock } = parts.deps;
  const now = clock.now();
  return {
    state,
    at: new Date(now).toISOString(),
    memory: process.memoryUsage(),
    handles: process.getActiveResourcesInfo(),
    bus: bus.stats,
    journal: { rows: store.journal.size, lastSeq: store.journal.lastSeq },
    actors: [...reactor.entries()].map((entry) => ({
      actor: `${entry.kind}/${entry.id}`,
      state: entry.state,
      inStateMs: now - entry.since,
      lastEvent: entry.lastEvent,
      effects: [...entry.effects.values()].map(({ name, startedAt, limit }) => ({
        ...{ name, runningMs: now - startedAt, limitMs: limit },
      })),
      timers: timersOf(entry.actor).map(({ event, dueAt }) => ({ event, dueInMs: dueAt - now })),
      commandsWaiting: waitingFor(entry.actor),
    })),
  };
}
