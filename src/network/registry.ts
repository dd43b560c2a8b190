/** All networks of the daemon: their records, addresses and statecharts. */
import type { Actor } from 'xstate';
import { conflict, DaemonError, forbidden, invalid, notFound } from '../errors.ts';
import { nowNano, rfc3339Nano } from '../lib/clock.ts';
import { newId } from '../lib/ids.ts';
import { ask } from '../reactor/ask.ts';
import type { RoomDeps } from '../reactor/room.ts';
import type { Collection } from '../store/port.ts';
import { type Family, parseSubnet, type Subnet } from './address.ts';
import { driverOf, type NetworkCreate, planNetwork } from './create.ts';
import { isClosed, linkClash } from './driver-options.ts';
import { NetworkAddresses } from './ipam.ts';
import { networkMachine, type NetworkEffects } from './machine.ts';
import { NETWORKS, type NetworkRecord } from './record.ts';

type NetworkActor = Actor<ReturnType<typeof networkMachine>>;

interface Entry {
  record: NetworkRecord;
  addresses: NetworkAddresses;
}

export interface RegistryDeps extends Pick<RoomDeps, 'config' | 'log' | 'clock' | 'bus' | 'store' | 'reactor'> {
  effects: NetworkEffects;
  routes(): Promise<Subnet[]>;
}

/** Names that stand for networks nobody may make or remove. */
const PREDEFINED = ['bridge', 'host', 'none', 'default'];

export class NetworkRegistry {
  #entries = new Map<string, Entry>();
  #byName = new Map<string, string>();
  #creating = new Set<string>();
  #deps: RegistryDeps;
  #machine: ReturnType<typeof networkMachine>;
  #records: Collection<NetworkRecord>;

  constructor(deps: RegistryDeps) {
    this.#deps = deps;
    this.#machine = networkMachine(deps.effects);
    this.#records = deps.store.collection<NetworkRecord>(NETWORKS);
  }

  get(id: string): NetworkRecord | undefined {
    return this.#entries.get(id)?.record;
  }

  all(): NetworkRecord[] {
    return [...this.#entries.values()].map((entry) => entry.record);
  }

  nameOf(id: string): string {
    return this.get(id)?.name ?? id.slice(0, 12);
  }

  /** Full id, then name, then a prefix of an id. */
  resolve(text: string): NetworkRecord {
    const matches = this.#matching(text);
    if (matches.length > 1)
      throw invalid(`network ${text} is ambiguous (${matches.length} matches found on ID prefix)`);
    if (!matches[0]) throw notFound(`network ${text} not found`);
    return matches[0];
  }

  #matching(text: string): NetworkRecord[] {
    const name = text === 'default' ? 'bridge' : text;
    const known = this.get(name) ?? this.get(this.#byName.get(name) ?? '');
    if (known) return [known];
    return /^[0-9a-f]+$/.test(text) ? this.all().filter((record) => record.id.startsWith(text)) : [];
  }

  /** As `resolve` would find it. */
  has(text: string): boolean {
    return this.#matching(text).length > 0;
  }

  addresses(id: string): NetworkAddresses {
    const entry = this.#entries.get(id);
    if (!entry) throw notFound(`network ${id} not found`);
    return entry.addresses;
  }

  gatewayOf(record: NetworkRecord, family: Family, address: string): string {
    const pool = record.pools.find(
      (candidate) =>
        candidate.gateway.includes(':') === (family === 6) &&
        this.addresses(record.id).pools.some((own) => own.owns(address) && own.owns(candidate.gateway)),
    );
    // An auxiliary address of that name is another router on the network, as --default-gateway has it.
    return isClosed(record) ? '' : (pool?.aux[`DefaultGatewayIPv${family}`] ?? pool?.gateway ?? '');
  }

  /** Makes a record of an earlier start known, before its chart runs: names and addresses are taken from it. */
  add(record: NetworkRecord): void {
    this.#put(record);
  }

  /** Starts a network's chart from its record; resolves when its links are made. One that fails is kept and reported. */
  async start(record: NetworkRecord, endpoints: readonly string[]): Promise<void> {
    try {
      await new Promise<NetworkRecord>((resolve, reject) => this.#spawn(record, endpoints, { resolve, reject }));
    } catch (error) {
      this.#deps.log.error({ err: error, network: record.name }, 'a network could not be made');
    }
  }

  async create(body: NetworkCreate): Promise<NetworkRecord> {
    const name = body.Name.trim();
    if (!name) throw invalid('invalid network name: name is empty');
    if (PREDEFINED.includes(name)) throw forbidden(`operation is not permitted on predefined ${name} network`);
    driverOf(body);
    const taken = (): void => {
      if (this.#byName.has(name) || this.#creating.has(name))
        throw conflict(`network with name ${name} already exists`);
    };
    taken();
    this.#creating.add(name);
    try {
      // Only default pools avoid what the host routes elsewhere.
      const routed = body.IPAM?.Config?.some((config) => config.Subnet) ? [] : await this.#deps.routes();
      const configFrom = body.ConfigFrom?.Network ? this.resolve(body.ConfigFrom.Network) : undefined;
      if (configFrom && !configFrom.configOnly)
        throw forbidden(`config-from network "${configFrom.name}" is not a configuration only network`);
      const record = planNetwork(
        { ...body, Name: name },
        {
          id: newId(),
          created: rfc3339Nano(nowNano(this.#deps.clock)),
          used: this.#used(),
          routed,
          defaultPools: this.#deps.config.defaultAddressPools,
          seed: this.#deps.config.dataRoot,
          configFrom,
        },
      );
      const clash = linkClash(record, this.all());
      if (clash) throw clash;
      return await this.#make(record);
    } finally {
      this.#creating.delete(name);
    }
  }

  async #make(record: NetworkRecord): Promise<NetworkRecord> {
    this.#put(record);
    try {
      const made = await new Promise<NetworkRecord>((resolve, reject) => this.#spawn(record, [], { resolve, reject }));
      this.#event('create', made);
      await this.#deps.store.durable();
      return made;
    } catch (error) {
      await this.#remove(record).catch((cause: unknown) =>
        this.#deps.log.warn({ err: cause, network: record.name }, 'a network that failed was not taken away whole'),
      );
      throw error;
    }
  }

  #spawn(
    record: NetworkRecord,
    endpoints: readonly string[],
    reply?: { resolve(made: NetworkRecord): void; reject(error: unknown): void },
  ): void {
    const onFailure = (error: unknown): void => {
      reply?.reject(error);
      if (this.get(record.id)) this.#spawn(this.get(record.id)!, [...this.#endpointsOf(record.id)]);
    };
    this.#deps.reactor.spawn('network', record.id, this.#machine, {
      input: { record, endpoints, reply },
      onFailure,
      reply,
    });
  }

  #endpointsOf(id: string): ReadonlySet<string> {
    return this.#actor(id)?.getSnapshot().context.endpoints ?? new Set();
  }

  #actor(id: string): NetworkActor | undefined {
    return this.#deps.reactor.get<NetworkActor>('network', id);
  }

  attach(id: string, containerId: string): void {
    this.#actor(id)?.send({ type: 'ATTACH', containerId });
  }

  detach(id: string, containerId: string): void {
    this.#actor(id)?.send({ type: 'DETACH', containerId });
  }

  repair(id: string): void {
    this.#actor(id)?.send({ type: 'REPAIR' });
  }

  /** `inUse` tells who is on it, as dockerd's message names them. */
  async remove(record: NetworkRecord, inUse: string[]): Promise<void> {
    if (record.predefined) throw forbidden(`${record.name} is a pre-defined network and cannot be removed`);
    if (inUse.length) throw activeEndpoints(record, inUse);
    await this.#remove(record);
    this.#event('destroy', record);
    await this.#deps.store.durable();
  }

  async #remove(record: NetworkRecord): Promise<void> {
    const actor = this.#actor(record.id);
    if (actor)
      await ask<NetworkRecord>(
        actor,
        (reply) => ({ type: 'REMOVE', reply }),
        (snapshot) =>
          snapshot.context?.endpoints.size
            ? activeEndpoints(record, [])
            : conflict(`network ${record.name} is being changed; try again`),
      );
    this.#deps.reactor.remove('network', record.id);
    this.#entries.delete(record.id);
    this.#byName.delete(record.name);
    this.#records.delete(record.id);
  }

  /** One fact for a whole prune, as dockerd has it. */
  pruned(): void {
    this.#deps.bus.publish({
      topic: 'event',
      type: 'network',
      action: 'prune',
      id: '',
      attributes: { reclaimed: '0' },
    });
  }

  /** A record changed while it was made, as its DNS port. */
  update(record: NetworkRecord): void {
    const entry = this.#entries.get(record.id);
    if (!entry) return;
    entry.record = record;
    this.#records.put(record.id, record);
  }

  #put(record: NetworkRecord): void {
    this.#entries.set(record.id, { record, addresses: new NetworkAddresses(record) });
    this.#byName.set(record.name, record.id);
    this.#records.put(record.id, record);
  }

  #used(): Subnet[] {
    return this.all()
      .filter((record) => !record.configOnly)
      .flatMap((record) => record.pools.map((pool) => parseSubnet(pool.subnet)!));
  }

  #event(action: string, record: NetworkRecord): void {
    this.#deps.bus.publish({
      topic: 'event',
      type: 'network',
      action,
      id: record.id,
      attributes: { name: record.name, type: record.driver },
    });
  }
}

const activeEndpoints = (record: NetworkRecord, inUse: string[]): DaemonError =>
  forbidden(
    `error while removing network: network ${record.name} has active endpoints${inUse.length ? ` (${inUse.join(', ')})` : ''}`,
    { code: 'active-endpoints' },
  );
