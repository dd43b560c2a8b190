/** A room of the house: one kind of object with its actors, its records and its routes. daemon.ts builds and wires them. */
import type { Logger } from 'pino';
import type { Api } from '../api/kit.ts';
import type { Bus } from '../bus/bus.ts';
import type { Config } from '../config/config.ts';
import type { HostFacts } from '../host/port.ts';
import type { UserRemap } from '../host/user-remap.ts';
import type { Clock } from '../lib/clock.ts';
import type { Store } from '../store/port.ts';
import type { Reactor } from './reactor.ts';

export interface RoomDeps {
  config: Config;
  log: Logger;
  clock: Clock;
  bus: Bus;
  store: Store;
  reactor: Reactor;
  host: HostFacts;
  /** Set when containers' users are none of the host. */
  remap?: UserRemap;
}

export interface Room {
  /** Reads the records, reconciles them with what is true, and spawns the actors. The API already answers. */
  boot(): Promise<void>;
  /** Lets go of everything held; running containers stay unless told otherwise before. */
  stop(): Promise<void>;
  routes?(api: Api): void;
}
