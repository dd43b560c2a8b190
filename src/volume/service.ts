/**
 * The volumes as other rooms use them. Work of one volume runs in its own lane, so that a slow driver holds up nobody else;
 * reads are answered from the actors' snapshots.
 */
import { setImmediate } from 'node:timers';
import type { ActorRefFrom } from 'xstate';
import { conflict, type DaemonError, invalid, notFound } from '../errors.ts';
import { newId } from '../lib/ids.ts';
import { Lanes } from '../lib/lanes.ts';
import { ask, type Reply } from '../reactor/ask.ts';
import type { RoomDeps } from '../reactor/room.ts';
import type { Collection } from '../store/port.ts';
import { type FindDriver, volumeLogic } from './actors.ts';
import { copyUp } from './copy-up.ts';
import type { VolumeDriver } from './driver.ts';
import { LocalDriver } from './local.ts';
import type { volumeMachine } from './machine.ts';
import { type PluginDirectories, PluginDriver, pluginNames } from './plugin.ts';
import type { VolumeInfo, Volumes, VolumeUsers } from './port.ts';
import { ANONYMOUS_LABEL, hasOptions, type VolumeRecord, volumeView } from './record.ts';
import type { VolumeEffects } from './setup.ts';

type VolumeActor = ActorRefFrom<typeof volumeMachine>;

export type NewVolume = Parameters<Volumes['ensure']>[0];

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const LONGEST_NAME = 255;

function checkName(name: string): void {
  if (name.length < 2) {
    throw invalid(`create ${name}: volume name is too short, names should be at least two alphanumeric characters`);
  }
  if (!NAME.test(name)) {
    throw invalid(
      `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
    );
  }
  // It is the name of a directory.
  if (name.length > LONGEST_NAME) throw invalid(`create ${name}: file name too long`);
}

export class VolumeService implements Volumes {
  readonly #deps: RoomDeps;
  readonly #users: VolumeUsers;
  readonly #records: Collection<VolumeRecord>;
  readonly #lanes = new Lanes();
  readonly #local: LocalDriver;
  readonly #plugins = new Map<string, VolumeDriver>();
  readonly #directories: PluginDirectories;
  /** Containers that asked for a volume and do not name it yet. */
  readonly #held = new Map<string, Set<string>>();
  readonly #logic: ReturnType<typeof volumeLogic>;

  constructor(deps: RoomDeps & { users: VolumeUsers }, local: LocalDriver, directories: PluginDirectories) {
    this.#deps = deps;
    this.#users = deps.users;
    this.#records = deps.store.collection<VolumeRecord>('volumes');
    this.#local = local;
    this.#directories = directories;
    this.#logic = volumeLogic(this.#findDriver, () => deps.store.durable());
  }

  /** Spawns an actor for each record, and takes up directories that another daemon left in the data root. */
  async boot(): Promise<void> {
    for (const { record } of this.#records.all()) this.#spawn(record);
    for (const { name, options } of await this.#local.found()) {
      if (!this.#records.get(name) && NAME.test(name)) this.#adopt({ name, options }, this.#local);
    }
  }

  /** Makes volumes known that plugins have and nobody here asked for. Returns what kept plugins from telling. */
  async discover(): Promise<string[]> {
    const names = new Set([...(await pluginNames(this.#directories)), ...this.#plugins.keys()]);
    const failures = await Promise.all(
      [...names].map(async (plugin) => {
        try {
          const driver = await this.#findDriver(plugin);
          for (const name of (await driver.list?.()) ?? [])
            await this.#lanes.run(name, async () => {
              if (!this.#deps.reactor.get('volume', name)) this.#adopt({ name }, driver);
            });
          return [];
        } catch (error) {
          // Plugins of other kinds lie in the same directories.
          return (error as DaemonError).kind === 'notFound' ? [] : `list ${plugin}: ${(error as Error).message}`;
        }
      }),
    );
    return failures.flat();
  }

  #adopt(wanted: NewVolume, driver: VolumeDriver): VolumeRecord {
    const record: VolumeRecord = { ...this.#newRecord(wanted, driver), state: 'active' };
    this.#records.put(record.name, record);
    this.#spawn(record);
    return record;
  }

  find(name: string): VolumeInfo | undefined {
    const record = this.#record(name);
    return record && volumeView(record);
  }

  get(name: string): VolumeInfo {
    const found = this.find(name);
    if (!found) throw notFound(`get ${name}: no such volume`);
    return found;
  }

  records(): VolumeRecord[] {
    return [...this.#deps.reactor.entries('volume')].flatMap(({ id }) => this.#record(id) ?? []);
  }

  /** Ids of all containers that hold the volume. */
  users(name: string): string[] {
    const named = this.#users.using(name);
    const held = this.#held.get(name) ?? new Set<string>();
    for (const id of named) held.delete(id);
    if (held.size === 0) this.#held.delete(name);
    return [...new Set([...named, ...held])];
  }

  async status(name: string): Promise<Record<string, unknown> | undefined> {
    const record = this.#record(name);
    return record && (await this.#findDriver(record.driver)).status?.(name);
  }

  async ensure(wanted: NewVolume): Promise<VolumeInfo> {
    const name = wanted.name || newId();
    return this.#lanes.run(name, async () => {
      const known = this.#record(name);
      if (known) return this.#reuse(known, wanted);
      const driver = await this.#findDriver(wanted.driver || 'local');
      if (driver === this.#local) checkName(name);
      driver.validate(wanted.options ?? {});
      this.#hold(name, wanted.reference);
      try {
        // What a plugin has already is not made, and must not be unmade where that fails.
        const record = (await driver.has?.(name))
          ? this.#adopt({ ...wanted, name }, driver)
          : await this.#create(this.#newRecord({ ...wanted, name }, driver));
        await this.#deps.store.durable();
        return volumeView(record);
      } catch (error) {
        if (wanted.reference) this.release(name, wanted.reference);
        throw error;
      }
    });
  }

  release(name: string, reference: string): void {
    const held = this.#held.get(name);
    held?.delete(reference);
    if (held?.size === 0) this.#held.delete(name);
  }

  mount(name: string, containerId: string, attributes: Record<string, string>): Promise<string> {
    return this.#lanes.run(name, () => this.#mount(name, containerId, { ...attributes, container: containerId }));
  }

  unmount(name: string, containerId: string): Promise<void> {
    return this.#lanes.run(name, () => this.#unmount(name, containerId, { container: containerId }));
  }

  async restore(name: string, containerId: string): Promise<void> {
    await this.#lanes.run(name, () =>
      ask<void>(this.#actor(name), (reply) => ({ type: 'RESTORE', user: containerId, reply }), this.#refusal(name)),
    );
  }

  copyUp(name: string, source: string): Promise<void> {
    return this.#lanes.run(name, async () => {
      const record = this.#record(name);
      if (!record) throw notFound(`get ${name}: no such volume`);
      const user = `copy-up-${newId()}`;
      const path = await this.#mount(name, user, undefined);
      try {
        await copyUp(source, path);
      } finally {
        await this.#unmount(name, user, undefined);
      }
    });
  }

  async remove(name: string, options: { force?: boolean } = {}): Promise<void> {
    await this.#lanes.run(name, async () => {
      if (!this.#record(name)) {
        if (options.force) return;
        throw notFound(`get ${name}: no such volume`);
      }
      const users = this.users(name);
      if (users.length) throw conflict(`remove ${name}: volume is in use - [${users.join(', ')}]`, { code: 'in-use' });
      try {
        await ask<void>(this.#actor(name), (reply) => ({ type: 'REMOVE', reply }), this.#refusal(name));
      } catch (error) {
        if (!options.force || (error as DaemonError).kind === 'conflict') throw error;
        // Forced: a driver that is gone for good must not keep its volumes listed.
        this.#deps.reactor.remove('volume', name);
        this.#records.delete(name);
        this.#publish('destroy', name, this.#attributes(name));
      }
    });
    await this.#deps.store.durable();
  }

  readonly #findDriver: FindDriver = async (name) => {
    if (name === 'local') return this.#local;
    const known = this.#plugins.get(name);
    if (known) return known;
    const plugin = await PluginDriver.connect(name, this.#directories);
    this.#plugins.set(name, plugin);
    return plugin;
  };

  #reuse(known: VolumeRecord, wanted: NewVolume): VolumeInfo {
    if (wanted.driver && wanted.driver !== known.driver) {
      const { name, driver } = known;
      throw conflict(`create ${name}: driver '${driver}' already has volume '${name}': volume name must be unique`);
    }
    this.#hold(known.name, wanted.reference);
    return volumeView(known);
  }

  #hold(name: string, reference: string | undefined): void {
    if (!reference) return;
    const held = this.#held.get(name) ?? new Set();
    this.#held.set(name, held.add(reference));
  }

  #newRecord(wanted: NewVolume, driver: VolumeDriver): VolumeRecord {
    const anonymous: Record<string, string> = wanted.anonymous ? { [ANONYMOUS_LABEL]: '' } : {};
    return {
      name: wanted.name,
      driver: driver.name,
      scope: driver.scope,
      createdAt: new Date(this.#deps.clock.now()).toISOString().replace(/\.\d+Z$/, 'Z'),
      labels: { ...wanted.labels, ...anonymous },
      options: { ...wanted.options },
      state: 'creating',
      mountpoint: driver.path(wanted.name),
    };
  }

  #create(record: VolumeRecord): Promise<VolumeRecord> {
    return new Promise((resolve, reject) => this.#spawn(record, { resolve, reject }));
  }

  #spawn(record: VolumeRecord, reply?: Reply<VolumeRecord>): void {
    const { reactor, log } = this.#deps;
    const rebuild = (): void => {
      const kept = this.#records.get(record.name);
      if (kept) this.#spawn(kept);
      else log.warn({ volume: record.name }, 'a failed volume has no record to be rebuilt from');
    };
    reactor.spawn('volume', record.name, this.#logic, {
      input: { record, effects: this.#effects, reply },
      onFailure: () => setImmediate(rebuild),
      reply,
    });
  }

  readonly #effects: VolumeEffects = {
    persist: (record) => this.#records.put(record.name, record),
    forget: (name) => {
      this.#records.delete(name);
      const actor = this.#deps.reactor.get('volume', name);
      // Not from inside its own last step.
      setImmediate(() => {
        if (actor && this.#deps.reactor.get('volume', name) === actor) this.#deps.reactor.remove('volume', name);
      });
    },
    publish: (action, record, attributes = {}) =>
      this.#publish(action, record.name, { driver: record.driver, ...attributes }),
  };

  #publish(action: string, id: string, attributes: Record<string, string>): void {
    this.#deps.bus.publish({ topic: 'event', type: 'volume', action, id, attributes });
  }

  #attributes(name: string): Record<string, string> {
    return { driver: this.#record(name)?.driver ?? '' };
  }

  #mount(name: string, user: string, attributes: Record<string, string> | undefined): Promise<string> {
    return ask<string>(this.#actor(name), (reply) => ({ type: 'MOUNT', user, attributes, reply }), this.#refusal(name));
  }

  async #unmount(name: string, user: string, attributes: Record<string, string> | undefined): Promise<void> {
    if (!this.#record(name)) return;
    await ask<void>(this.#actor(name), (reply) => ({ type: 'UNMOUNT', user, attributes, reply }), this.#refusal(name));
  }

  #actor(name: string): VolumeActor {
    const actor = this.#deps.reactor.get<VolumeActor>('volume', name);
    if (!actor) throw notFound(`get ${name}: no such volume`);
    return actor;
  }

  #refusal(name: string) {
    return (
      snapshot: { context?: { users?: readonly string[]; record?: VolumeRecord } },
      command: string,
    ): DaemonError => {
      const users = snapshot.context?.users ?? [];
      if (command === 'REMOVE' && users.length) {
        return conflict(`remove ${name}: volume is in use - [${users.join(', ')}]`, { code: 'in-use' });
      }
      return conflict(`volume ${name} is being removed`);
    };
  }

  /** The record of a volume that is there for others: not half made, not going. */
  #record(name: string): VolumeRecord | undefined {
    const snapshot = this.#deps.reactor.get<VolumeActor>('volume', name)?.getSnapshot();
    const record = snapshot?.status === 'active' ? snapshot.context.record : undefined;
    return record?.state === 'active' ? record : undefined;
  }
}

export const isPrunable = (record: VolumeRecord): boolean => record.driver === 'local' && !hasOptions(record);
