/** The containers' room: records, actors, execs and streams behind the service that the routes and the other rooms use. */
import { attachRoutes } from '../api/routes/attach.ts';
import { commitRoutes } from '../api/routes/commit.ts';
import { containerRoutes } from '../api/routes/containers.ts';
import { execRoutes } from '../api/routes/exec.ts';
import { logRoutes } from '../api/routes/logs.ts';
import { Execs } from '../exec/service.ts';
import type { ImageStore, ImageUsers, RootfsStore } from '../image/port.ts';
import type { LogDrivers, LogInfo } from '../logs/port.ts';
import type { Networks, NetworkUsers } from '../network/port.ts';
import type { Room, RoomDeps } from '../reactor/room.ts';
import type { Runtime } from '../runtime/port.ts';
import { StreamBroker } from '../streams/broker.ts';
import type { Volumes, VolumeUsers } from '../volume/port.ts';
import { type Creation, type EffectDeps, wireMachine } from './actors.ts';
import type { ContainerLookup, StepRunner } from './port.ts';
import { CONTAINERS, type ContainerRecord, hasProcesses, isRunning } from './record.ts';
import { Recovery } from './recovery.ts';
import { Registry } from './registry.ts';
import { Containers } from './service.ts';
import { Sessions } from './session.ts';
import { followSharers } from './sharers.ts';
import { processOf } from './start.ts';
import { stepRunner } from './steps.ts';
import { imageUsers, networkUsers, volumeUsers } from './users.ts';

export interface ContainerRoomDeps extends RoomDeps {
  runtime: Runtime;
  images: ImageStore;
  rootfs: RootfsStore;
  networks: Networks;
  volumes: Volumes;
  logs: LogDrivers;
}

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

export async function createContainerRoom(deps: ContainerRoomDeps): Promise<ContainerRoom> {
  const { bus, clock, config, log, reactor, store } = deps;
  const records = store.collection<ContainerRecord>(CONTAINERS);
  const registry = new Registry((error) => log.error({ err: error }, 'a watcher of containers failed'));
  const sessions = new Sessions();
  const volumes = volumeUsers(registry);
  /** Records whose actor is not there yet: reads answer from the first moment on. */
  for (const { record } of records.all()) registry.put(record);

  const publish = (record: ContainerRecord, action: string, attributes: Record<string, string> = {}): void => {
    const { Labels, Image } = record.config;
    const own = { ...Labels, image: Image, name: record.name };
    bus.publish({ topic: 'event', type: 'container', action, id: record.id, attributes: { ...own, ...attributes } });
  };
  const logInfo = (record: ContainerRecord): LogInfo => ({
    containerId: record.id,
    name: record.name,
    imageId: record.image,
    imageName: record.config.Image,
    created: record.created,
    command: [record.path, ...record.args],
    env: record.config.Env,
    labels: record.config.Labels,
    directory: record.directory,
  });
  const execs = new Execs({
    log,
    clock,
    reactor,
    host: deps.host,
    resolve: (reference) => registry.resolve(reference),
    find: (id) => registry.get(id),
    task: (id) => sessions.find(id)?.task,
    process: (id) => processOf(effects, id),
    publish,
  });
  const effects: EffectDeps = {
    ...deps,
    sessions,
    creations: store.collection<Creation>('creations'),
    logInfo,
    publish,
    find: (id) => registry.get(id),
    resolve: (reference) => registry.resolve(reference),
    idOf: (reference) => registry.find(reference)?.id,
    volumeUsers: (volume) => volumes.using(volume),
    runProbe: execs.runProbe,
    streamsOf(record) {
      const session = sessions.of(record.id);
      session.streams ??= new StreamBroker({
        tty: record.config.Tty,
        stdinOnce: record.config.StdinOnce,
        onLogError: (error) => log.error({ err: error, container: record.id }, 'the log of a container fails'),
      });
      return session.streams;
    },
  };

  const machine = wireMachine(effects, {
    persist(record) {
      records.put(record.id, record);
      registry.put(record);
      if (!hasProcesses(record)) execs.forgetContainer(record.id);
    },
    show: (record) => registry.put(record),
    announce: (record, { action, attributes }) => publish(record, action, attributes),
    removed(record) {
      records.delete(record.id);
      registry.delete(record);
      sessions.find(record.id)?.streams?.close();
      sessions.delete(record.id);
      queueMicrotask(() => reactor.remove('container', record.id));
    },
  });
  const recovery = new Recovery({ effects, registry, reactor, machine });

  const containers = new Containers({
    ...effects,
    images: deps.images,
    registry,
    reactor,
    store,
    execs,
    recovered: recovery.done,
    spawn(record) {
      recovery.spawn(record, { found: false });
      publish(record, 'create');
    },
    announcePrune: (reclaimed) =>
      void bus.publish({
        topic: 'event',
        type: 'container',
        action: 'prune',
        id: '',
        attributes: { reclaimed: String(reclaimed) },
      }),
  });
  const steps = stepRunner(effects, containers);
  const lookup: ContainerLookup = {
    resolve: (reference) => registry.resolve(reference),
    find: (reference) => registry.find(reference),
    all: () => registry.values(),
    task: (id) => sessions.find(id)?.task,
    logInfo,
    publish,
    watch: (id, listener) => registry.watch(id, listener),
  };
  const sharers = followSharers({ bus, containers, log });

  return {
    containers,
    execs,
    effects,
    lookup,
    steps,
    networkUsers: networkUsers({ effects, registry, revise: (record, change) => containers.revise(record, change) }),
    volumeUsers: volumes,
    imageUsers: imageUsers(registry),
    boot: () => recovery.boot(),
    async stopAll(seconds) {
      const running = [...registry.values()].filter(isRunning);
      await Promise.allSettled(running.map((record) => containers.stopForShutdown(record, seconds)));
    },
    async stop() {
      await recovery.ended();
      sharers.unsubscribe();
      execs.stop();
      for (const session of sessions.values()) {
        session.streams?.close();
        await session.log?.close();
      }
      await store.durable();
    },
    routes(api) {
      containerRoutes(api, containers);
      attachRoutes(api, { containers, effects });
      execRoutes(api, execs);
      logRoutes(api, {
        drivers: deps.logs,
        logTarget(name) {
          const record = registry.resolve(name);
          const { Tty } = record.config;
          return { id: record.id, tty: Tty, logConfig: record.hostConfig.LogConfig, info: logInfo(record) };
        },
      });
      commitRoutes(api, { containers, images: deps.images, rootfs: deps.rootfs, publish });
    },
  };
}
