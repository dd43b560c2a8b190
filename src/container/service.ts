/** Commands and reads of containers. Commands ask the chart; reads are answered from records and never wait. */
import { type AnyActorRef, waitFor as waitForState } from 'xstate';
import { matchesLabels, type Filters } from '../api/filters.ts';
import { asDaemonError, conflict, DaemonError, invalid, notFound, unavailable } from '../errors.ts';
import type { ContainerCreate } from '../generated/types/container-create.ts';
import type { ContainerUpdate } from '../generated/types/container-update.ts';
import { Lanes } from '../lib/lanes.ts';
import type { Execs } from '../exec/service.ts';
import { ask } from '../reactor/ask.ts';
import type { Reactor } from '../reactor/reactor.ts';
import { findBlockDevices } from '../runtime/oci/host-side.ts';
import { apparmorProfile, parseSecurityOptions } from '../runtime/oci/security.ts';
import { resourcesOf } from '../runtime/oci/resources.ts';
import type { Store } from '../store/port.ts';
import { type CreateDeps, createContainer, type CreateOptions } from './create.ts';
import type { Announcement, ContainerEvent, RemoveOrder } from './events.ts';
import { type ListOptions, selectContainers } from './list.ts';
import { checkedName } from './names.ts';
import { parseLink } from './links.ts';
import { sandboxRequest } from './network-request.ts';
import { type ContainerRecord, hasProcesses, isRunning } from './record.ts';
import { refusal } from './refusal.ts';
import { graceOf, signalNumber, stopSignal } from './signals.ts';
import { updateOf } from './update.ts';
import { inspectText, type PathOf, type Sizes, summaryText, type Surroundings } from './view.ts';
import { isWaitCondition, type WaitResult, waitFor } from './wait.ts';

export interface ServiceDeps extends CreateDeps {
  reactor: Reactor;
  store: Store;
  execs: Execs;
  /** Resolves when every container has its chart again after a restart of the daemon. */
  recovered: Promise<void>;
  /** Makes the actor of a new record. */
  spawn(record: ContainerRecord): void;
  /** The `prune` event, in bytes. */
  announcePrune(reclaimed: number): void;
}

export interface StopOptions {
  signal?: string;
  /** Seconds; negative is for ever. */
  timeout?: number;
}

type WithReply = Parameters<typeof ask<void>>[1];

/** Every effect of a recovery ends sooner. */
const RESTORING_MS = 120_000;

/** Filters that decide which stopped containers a prune takes. */
export const PRUNE_FILTERS = ['label', 'label!', 'until'] as const;

export class Containers {
  #deps: ServiceDeps;
  /** Changes of one container that reach out before they change the record. */
  #lanes = new Lanes();

  constructor(deps: ServiceDeps) {
    this.#deps = deps;
  }

  resolve(reference: string): ContainerRecord {
    return this.#deps.registry.resolve(reference);
  }

  find(reference: string): ContainerRecord | undefined {
    return this.#deps.registry.find(reference);
  }

  all(): Iterable<ContainerRecord> {
    return this.#deps.registry.values();
  }

  /** The API answers before the containers of an earlier life are found again: commands wait for that. */
  async #actor(id: string): Promise<AnyActorRef | undefined> {
    if (!this.#deps.reactor.get('container', id)) await this.#deps.recovered;
    const actor = this.#deps.reactor.get('container', id);
    if (actor?.getSnapshot().matches('restoring'))
      await waitForState(actor, (snapshot) => !snapshot.matches('restoring'), { timeout: RESTORING_MS });
    return actor;
  }

  async #ask(record: ContainerRecord, command: WithReply): Promise<void> {
    const actor = await this.#actor(record.id);
    if (!actor)
      throw unavailable(`container ${record.id} could not be recovered after a restart of the daemon, try again`);
    await ask<void>(actor, command, refusal);
    await this.#deps.store.durable();
  }

  /** A change of the record alone. */
  revise(record: ContainerRecord, change: Partial<ContainerRecord>, announce?: Announcement): Promise<void> {
    return this.#ask(record, (reply): ContainerEvent => ({ type: 'REVISE', reply, change, announce }));
  }

  async create(body: ContainerCreate, options: CreateOptions = {}): Promise<{ Id: string; Warnings: string[] }> {
    // What it names (networks, volumes, other containers) has to be found again first.
    await this.#deps.recovered;
    const { record, warnings } = await createContainer(this.#deps, body, options);
    this.#deps.registry.put(record);
    this.#deps.spawn(record);
    // From here on the record itself keeps its volumes.
    this.#deps.creations.delete(record.id);
    for (const { type, name } of record.mounts) if (type === 'volume') this.#deps.volumes.release(name, record.id);
    await this.#deps.store.durable();
    return { Id: record.id, Warnings: warnings };
  }

  start(reference: string): Promise<void> {
    return this.#ask(this.resolve(reference), (reply): ContainerEvent => ({ type: 'START', reply }));
  }

  async stop(reference: string, options: StopOptions = {}): Promise<void> {
    const record = this.resolve(reference);
    const order = { ...this.#order(record, options), announced: true };
    await this.#ask(record, (reply): ContainerEvent => ({ type: 'STOP', reply, order }));
  }

  /** The daemon stops: the container is not meant to stay down, so its policy brings it back. */
  stopForShutdown(record: ContainerRecord, seconds: number): Promise<void> {
    const own = this.#order(record, {});
    const grace = own.grace < 0 ? seconds * 1000 : Math.min(own.grace, seconds * 1000);
    const order = { ...own, grace, announced: true, shutdown: true };
    return this.#ask(record, (reply): ContainerEvent => ({ type: 'STOP', reply, order }));
  }

  async restart(reference: string, options: StopOptions = {}): Promise<void> {
    const record = this.resolve(reference);
    const order = { ...this.#order(record, options), announced: true };
    await this.#ask(record, (reply): ContainerEvent => ({ type: 'RESTART', reply, order }));
  }

  #order(record: ContainerRecord, { signal, timeout }: StopOptions): { signal: number; grace: number } {
    return { signal: signal ? signalNumber(signal) : stopSignal(record), grace: graceOf(record, timeout) };
  }

  async kill(reference: string, signalText = 'KILL'): Promise<void> {
    const [record, signal] = ofKill(reference, () => [this.resolve(reference), signalNumber(signalText)] as const);
    await this.#ask(record, (reply): ContainerEvent => ({ type: 'KILL', reply, signal }));
  }

  pause(reference: string): Promise<void> {
    return this.#ask(this.resolve(reference), (reply): ContainerEvent => ({ type: 'PAUSE', reply }));
  }

  unpause(reference: string): Promise<void> {
    return this.#ask(this.resolve(reference), (reply): ContainerEvent => ({ type: 'UNPAUSE', reply }));
  }

  async remove(reference: string, order: RemoveOrder & { link?: boolean }): Promise<void> {
    if (order.link) return this.#unlink(reference);
    const record = this.resolve(reference);
    await this.#ask(record, (reply): ContainerEvent => ({ type: 'REMOVE', reply, order }));
  }

  /** `parent/alias`: the container goes on, its parent no longer knows it by that name. */
  async #unlink(reference: string): Promise<void> {
    const [, parentName = '', alias = ''] = /^\/?([^/]+)(?:\/(.+))?$/.exec(reference) ?? [];
    const { id } = this.resolve(parentName);
    if (!alias) throw conflict('Conflict, cannot remove the default link name of the container');
    await this.#lanes.run(id, async () => {
      const parent = this.resolve(id);
      const links = parent.hostConfig.Links ?? [];
      const Links = links.filter((link) => parseLink(link).alias !== alias);
      if (Links.length === links.length) throw notFound(`No such container: ${reference}`);
      const hostConfig = { ...parent.hostConfig, Links };
      await this.revise(parent, { hostConfig });
      if (hasProcesses(parent))
        await this.#deps.networks.relink(sandboxRequest({ ...parent, hostConfig }, this.#deps.idOf));
    });
  }

  async rename(reference: string, given: string): Promise<void> {
    const record = this.resolve(reference);
    if (!given) throw invalid('Neither old nor new names may be empty');
    const name = checkedName(given);
    if (name === record.name) throw invalid('Renaming a container with the same name as its current name');
    this.#deps.registry.reserve(name, record.id);
    try {
      await this.revise(record, { name }, { action: 'rename', attributes: { oldName: `/${record.name}` } });
    } catch (error) {
      this.#deps.registry.release(name, record.id);
      throw error;
    }
    this.#deps.networks.rename(record.id, name);
  }

  /** Resources and the restart policy, also of a running container. */
  update(reference: string, body: ContainerUpdate): Promise<{ Warnings: string[] }> {
    const { id } = this.resolve(reference);
    return this.#lanes.run(id, async () => {
      const record = this.resolve(id);
      const { change, hostConfig, warnings } = updateOf(record, body, this.#deps.host, this.#deps.config);
      const task = this.#deps.sessions.find(id)?.task;
      if (task && hasProcesses(record)) {
        await task.update(resourcesOf(change, await findBlockDevices(change)));
      }
      await this.revise(record, { hostConfig }, { action: 'update' });
      return { Warnings: warnings };
    });
  }

  wait(reference: string, condition: string, gone: AbortSignal): Promise<WaitResult> {
    const chosen = condition || 'not-running';
    if (!isWaitCondition(chosen)) throw invalid(`invalid condition: "${condition}"`);
    return waitFor(this.#deps.registry, this.resolve(reference), chosen, gone);
  }

  async resize(reference: string, size: { width: number; height: number }): Promise<void> {
    const record = this.resolve(reference);
    const task = this.#deps.sessions.find(record.id)?.task;
    if (!task || !hasProcesses(record)) throw conflict(`container ${record.id} is not running`);
    await task.resize(size);
    const attributes = { height: String(size.height), width: String(size.width) };
    this.#deps.publish(record, 'resize', attributes);
  }

  // -- reads ---------------------------------------------------------------------------------------------------------

  #around(record: ContainerRecord): Surroundings {
    return {
      pathOf: this.#pathOf,
      logPath: this.#deps.logs.path(record.hostConfig.LogConfig, this.#deps.logInfo(record)),
      graphDriver: this.#driver(record),
      apparmorProfile: this.#apparmor(record),
    };
  }

  #pathOf: PathOf = (volume) => {
    const found = this.#deps.volumes.find(volume);
    return { path: found?.Mountpoint ?? '', driver: found?.Driver ?? 'local' };
  };

  #apparmor({ hostConfig }: ContainerRecord): string {
    const { host, config } = this.#deps;
    return host.apparmor ? apparmorProfile(hostConfig, parseSecurityOptions(hostConfig, config)) : '';
  }

  #driver(record: ContainerRecord): Surroundings['graphDriver'] {
    try {
      return this.#deps.rootfs.describe(record.id);
    } catch {
      return { Name: 'overlay2', Data: {} };
    }
  }

  async inspect(reference: string, size: boolean): Promise<string> {
    const record = this.resolve(reference);
    const sizes = size ? await this.#deps.rootfs.usage(record.id) : undefined;
    return inspectText(record, () => this.#around(record), { execIds: this.#deps.execs.of(record.id), sizes });
  }

  /** The JSON text of the list. */
  async list(options: ListOptions, size: boolean): Promise<string> {
    const chosen = selectContainers(this.all(), options, {
      resolve: (reference) => this.resolve(reference),
      descends: (image, ancestor) => this.#descends(image, ancestor),
    });
    const now = this.#deps.clock.now();
    const imageName = this.#imageNames();
    const sizes = size ? await Promise.all(chosen.map((record) => this.#sizes(record))) : [];
    const textOf = (record: ContainerRecord, index: number): string => {
      const around = { image: imageName(record), pathOf: this.#pathOf, recovering: this.#isRecovering(record) };
      return summaryText(record, around, now, sizes[index]);
    };
    return `[${chosen.map(textOf).join(',')}]`;
  }

  /** What is told of it is what was last known, and is asked of its shim right now. */
  #isRecovering({ id }: ContainerRecord): boolean {
    const entry = this.#deps.reactor.entry('container', id);
    return !entry || entry.state.startsWith('restoring');
  }

  /** A container may go while its size is counted. */
  #sizes(record: ContainerRecord): Promise<Sizes | undefined> {
    return this.#deps.rootfs.usage(record.id).catch(() => undefined);
  }

  /** The name of the config, or the id once that name means another image; each name is looked up once a list. */
  #imageNames(): (record: ContainerRecord) => string {
    const ids = new Map<string, string | undefined>();
    return ({ config: { Image }, image }) => {
      if (!ids.has(Image)) ids.set(Image, this.#deps.images.find(Image)?.id);
      return ids.get(Image) === image ? Image : image;
    };
  }

  #descends(image: string, reference: string): boolean {
    const ancestor = this.#deps.images.find(reference);
    if (!ancestor) return false;
    const wanted = ancestor.config.rootfs.diff_ids;
    if (image === ancestor.id) return true;
    const own = this.#deps.images.find(image)?.config.rootfs.diff_ids ?? [];
    return own.length > wanted.length && wanted.every((diffId, index) => own[index] === diffId);
  }

  /** Removes what does not run and matches. */
  async prune(filters: Filters): Promise<{ ContainersDeleted: string[] | null; SpaceReclaimed: number }> {
    const until = untilOf(filters.get('until'), this.#deps.clock.now());
    const without = filters.get('label!') ?? [];
    const deleted: string[] = [];
    let reclaimed = 0;
    for (const record of [...this.all()]) {
      if (isRunning(record) || (record.phase !== 'created' && record.phase !== 'exited')) continue;
      if (until !== undefined && Date.parse(record.created) > until) continue;
      if (!matchesLabels(record.config.Labels, filters.get('label'))) continue;
      if (without.length && without.some((label) => matchesLabels(record.config.Labels, [label]))) continue;
      const size = await this.#sizes(record);
      try {
        await this.remove(record.id, { force: false, volumes: false });
      } catch (error) {
        if (error instanceof DaemonError && (error.kind === 'notFound' || error.kind === 'conflict')) continue;
        throw error;
      }
      deleted.push(record.id);
      reclaimed += size?.sizeRw ?? 0;
    }
    this.#deps.announcePrune(reclaimed);
    return { ContainersDeleted: deleted.length ? deleted : null, SpaceReclaimed: reclaimed };
  }
}

/** What refuses a kill before it reaches the container, in dockerd's words around it. */
function ofKill<T>(reference: string, look: () => T): T {
  try {
    return look();
  } catch (error) {
    const { kind, message } = asDaemonError(error);
    throw new DaemonError(kind, `cannot kill container: ${reference}: ${message}`, { cause: error });
  }
}

/** "24h" ago, a Unix time or RFC 3339: milliseconds since the epoch. */
export function untilOf(values: readonly string[] | undefined, now: number): number | undefined {
  if (!values?.length) return undefined;
  if (values.length > 1) throw invalid('more than one until filter specified');
  const value = values[0]!;
  const ago = [...value.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)];
  if (ago.length && ago.map(([part]) => part).join('') === value) {
    const unit = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;
    return now - ago.reduce((sum, [, count, name]) => sum + Number(count) * unit[name as keyof typeof unit], 0);
  }
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  if (Number.isNaN(date)) throw invalid(`invalid filter: failed to parse value as time or duration: "${value}"`);
  return date;
}
