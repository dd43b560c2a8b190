/** What the effects of a container reach. */
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import type { HostFacts } from '../host/port.ts';
import type { UserRemap } from '../host/user-remap.ts';
import type { RootfsStore } from '../image/port.ts';
import type { Clock } from '../lib/clock.ts';
import type { LogDrivers, LogInfo } from '../logs/port.ts';
import type { Networks } from '../network/port.ts';
import type { Runtime } from '../runtime/port.ts';
import type { Collection } from '../store/port.ts';
import type { StreamBroker } from '../streams/broker.ts';
import type { Volumes } from '../volume/port.ts';
import type { ProbeRunner } from './probes.ts';
import type { ContainerRecord } from './record.ts';
import type { Sessions } from './session.ts';

export interface Creation {
  volumes: string[];
}

/** Ports, and the little the effects need of the room. */
export interface EffectDeps {
  config: Config;
  log: Logger;
  clock: Clock;
  host: HostFacts;
  remap?: UserRemap;
  runtime: Runtime;
  rootfs: RootfsStore;
  networks: Networks;
  volumes: Volumes;
  logs: LogDrivers;
  sessions: Sessions;
  /** Anonymous volumes of containers that are being made. */
  creations: Collection<Creation>;
  /** The container's streams, made when first asked for. */
  streamsOf(record: ContainerRecord): StreamBroker;
  logInfo(record: ContainerRecord): LogInfo;
  find(id: string): ContainerRecord | undefined;
  /** By any reference. Throws notFound. */
  resolve(reference: string): ContainerRecord;
  /** The full id of a container by name or id. */
  idOf(reference: string): string | undefined;
  /** A Docker event of the container, with its own attributes. */
  publish(record: ContainerRecord, action: string, attributes?: Record<string, string>): void;
  /** Ids of the containers that name a volume. */
  volumeUsers(volume: string): string[];
  runProbe: ProbeRunner;
}
