/** The inner parts of the containers' room, put together: registry, sessions, execs, and what the effects reach. */
import { Execs } from '../exec/service.ts';
import type { ImageStore, RootfsStore } from '../image/port.ts';
import type { LogDrivers, LogInfo } from '../logs/port.ts';
import type { Networks } from '../network/port.ts';
import type { RoomDeps } from '../reactor/room.ts';
import type { Runtime } from '../runtime/port.ts';
import { StreamBroker } from '../streams/broker.ts';
import type { Volumes } from '../volume/port.ts';
import type { Outlet } from './actors.ts';
import type { Creation, EffectDeps } from './deps.ts';
import { CONTAINERS, type ContainerRecord, hasProcesses } from './record.ts';
import { Registry } from './registry.ts';
import { Sessions } from './session.ts';
import { processOf } from './start.ts';
import { volumeUsers } from './users.ts';

export interface ContainerRoomDeps extends RoomDeps {
  runtime: Runtime;
  images: ImageStore;
  rootfs: RootfsStore;
  networks: Networks;
  volumes: Volumes;
  logs: LogDrivers;
}

export type Publish = EffectDeps['publish'];

export const logInfoOf = (record: ContainerRecord): LogInfo => ({
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

const publisher =
  ({ bus }: ContainerRoomDeps): Publish =>
  (record, action, attributes = {}) => {
    const { Labels, Image } = record.config;
    const all = { ...Labels, image: Image, name: record.name, ...attributes };
    bus.publish({ topic: 'event', type: 'container', action, id: record.id, attributes: all });
  };

/** Records whose actor is not there yet are read already: the API answers from the first moment on. */
function openRegistry({ store, log }: ContainerRoomDeps): Registry {
  const registry = new Registry((error) => log.error({ err: error }, 'a watcher of containers failed'));
  for (const { record } of store.collection<ContainerRecord>(CONTAINERS).all()) registry.put(record);
  return registry;
}

export interface Parts {
  registry: Registry;
  sessions: Sessions;
  execs: Execs;
  effects: EffectDeps;
  outlet: Outlet;
  publish: Publish;
}

export function assemble(deps: ContainerRoomDeps): Parts {
  const { log } = deps;
  const registry = openRegistry(deps);
  const sessions = new Sessions();
  const publish = publisher(deps);
  const volumes = volumeUsers(registry);
  const reads = { find: (id: string) => registry.get(id), resolve: (reference: string) => registry.resolve(reference) };
  const execs = new Execs({
    ...deps,
    ...reads,
    task: (id) => sessions.find(id)?.task,
    process: (id) => processOf(effects, id),
    publish,
  });
  const effects: EffectDeps = {
    ...deps,
    ...reads,
    sessions,
    creations: deps.store.collection<Creation>('creations'),
    logInfo: logInfoOf,
    publish,
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
  return {
    registry,
    sessions,
    execs,
    effects,
    publish,
    outlet: outletOf(deps, { registry, sessions, execs, publish }),
  };
}

function outletOf(
  { store, reactor }: ContainerRoomDeps,
  { registry, sessions, execs, publish }: Pick<Parts, 'registry' | 'sessions' | 'execs' | 'publish'>,
): Outlet {
  const records = store.collection<ContainerRecord>(CONTAINERS);
  return {
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
      execs.containerRemoved(record.id);
      // Not from inside its own last step.
      queueMicrotask(() => reactor.remove('container', record.id));
    },
  };
}
