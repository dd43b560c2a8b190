/**
 * The network side of containers: namespace, endpoints, names, files and published ports, from prepare to close. One lane
 * per container; addresses are taken in one turn of the loop; whatever fails half-way is taken back.
 */
import type { Logger } from 'pino';
import type { Bus } from '../bus/bus.ts';
import type { Config } from '../config/config.ts';
import { asDaemonError, conflict, DaemonError, forbidden, internal, invalid } from '../errors.ts';
import { newId } from '../lib/ids.ts';
import { Lanes } from '../lib/lanes.ts';
import { UndoStack } from '../lib/undo.ts';
import type { Collection } from '../store/port.ts';
import { Askers } from './askers.ts';
import type { Names } from './dns/names.ts';
import {
  allocateEndpoint,
  checkEndpoint,
  publishingEndpoint,
  releaseEndpoint,
  wantedEndpoints,
  type WantedEndpoint,
} from './endpoints.ts';
import type { Firewall } from './firewall.ts';
import { portElements } from './firewall-rules.ts';
import { LinkRules } from './link-rules.ts';
import type { Links } from './links.ts';
import type { EndpointConfig, Sandbox, SandboxRequest } from './port.ts';
import { Plumbing } from './plumbing.ts';
import { portWishes } from './ports.ts';
import { Publishing } from './publishing.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';
import type { Reservations } from './reservations.ts';
import { pathsOf, SandboxFiles } from './sandbox-files.ts';
import { Teardown } from './teardown.ts';
import { sandboxView } from './view.ts';

export interface SandboxesDeps {
  config: Config;
  log: Logger;
  bus: Bus;
  registry: NetworkRegistry;
  links: Links;
  tag: string;
  firewall: Firewall;
  reservations: Reservations;
  names: Names;
  records: Collection<SandboxRecord>;
  ipv6: boolean;
}

const joined = (mode: string): string | undefined =>
  mode.startsWith('container:') ? mode.slice('container:'.length) : undefined;

export class Sandboxes {
  #sandboxes = new Map<string, SandboxRecord>();
  #lanes = new Lanes();
  #deps: SandboxesDeps;
  #files: SandboxFiles;
  #plumbing: Plumbing;
  #publishing: Publishing;
  #teardown: Teardown;
  #linkRules: LinkRules;
  readonly askers: Askers;

  constructor(deps: SandboxesDeps) {
    this.#deps = deps;
    this.askers = new Askers(deps.registry);
    this.#plumbing = new Plumbing(deps);
    this.#publishing = new Publishing(deps);
    this.#linkRules = new LinkRules({ ...deps, sandboxes: this });
    this.#teardown = new Teardown((links) => deps.links.batchForced(links.map((link) => `link del ${link}`)));
    this.#files = new SandboxFiles({ config: deps.config, registry: deps.registry, ipv6: deps.ipv6, sandboxes: this });
  }

  get(containerId: string): SandboxRecord | undefined {
    return this.#sandboxes.get(containerId);
  }

  all(): SandboxRecord[] {
    return [...this.#sandboxes.values()];
  }

  on(networkId: string): SandboxRecord[] {
    return this.all().filter((sandbox) => sandbox.endpoints.some((endpoint) => endpoint.networkId === networkId));
  }

  validate(request: SandboxRequest): void {
    if (joined(request.mode) !== undefined) return;
    const wanted = wantedEndpoints(this.#deps.registry, request);
    for (const { network, config } of wanted) checkEndpoint(network, config);
    if (wanted.length > 1 && wanted.some(({ network }) => network.driver === 'host' || network.driver === 'null'))
      throw invalid(`conflicting options: cannot attach ${wanted[0]!.network.name} network with others`);
    portWishes(request);
  }

  // -- life of a sandbox ------------------------------------------------------------------------------------------

  prepare(request: SandboxRequest): Promise<{ netnsPath: string; hostsPath: string; resolvConfPath: string }> {
    return this.#lanes.run(request.containerId, async () => {
      const other = joined(request.mode);
      if (other !== undefined) return this.#joined(other);
      const known = this.get(request.containerId);
      // One that is open still was not closed by whoever stopped the container: it must not be inherited.
      if (known?.phase === 'open') await this.#close(known);
      const sandbox = this.get(request.containerId) ?? (await this.#prepare(request));
      return { netnsPath: sandbox.netnsPath, ...pathsOf(request.directory) };
    });
  }

  #joined(containerId: string): { netnsPath: string; hostsPath: string; resolvConfPath: string } {
    const other = this.get(containerId);
    if (!other)
      throw conflict(
        `cannot join network namespace of a non running container: container ${containerId} is not running`,
      );
    return { netnsPath: other.netnsPath, ...pathsOf(other.request.directory) };
  }

  async #prepare(request: SandboxRequest): Promise<SandboxRecord> {
    const undo = new UndoStack();
    const { registry, links } = this.#deps;
    try {
      const sandboxId = newId();
      const host = registry.resolve(request.mode).driver === 'host';
      const ifnames = new Set<string>();
      const endpoints: EndpointRecord[] = [];
      for (const wanted of wantedEndpoints(registry, request)) {
        const endpoint = await this.#allocate(request, wanted, ifnames);
        undo.push('address', () => releaseEndpoint(registry, endpoint));
        endpoints.push(endpoint);
      }
      const netnsPath = host ? '' : links.path(sandboxId);
      const sandbox: SandboxRecord = {
        containerId: request.containerId,
        sandboxId,
        request,
        netnsPath,
        phase: 'prepared',
        endpoints,
        ports: [],
      };
      // The record comes first: a namespace that nobody knows of would stay for ever.
      this.#put(sandbox);
      undo.push('record', () => this.#drop(sandbox));
      if (netnsPath) undo.push('namespace', () => links.removeNamespace(netnsPath));
      // Both are waited for, whatever happens: what comes after its undo stays for ever.
      const attempts = await Promise.allSettled([
        netnsPath ? links.makeNamespace(netnsPath) : undefined,
        this.#files.write(sandbox),
      ]);
      for (const attempt of attempts) if (attempt.status === 'rejected') throw attempt.reason;
      return sandbox;
    } catch (error) {
      await this.#unwind(undo, request.containerId);
      throw error;
    }
  }

  /** What a container that just ended still holds is waited for, and only then. */
  async #allocate(request: SandboxRequest, wanted: WantedEndpoint, ifnames: Set<string>): Promise<EndpointRecord> {
    try {
      return allocateEndpoint(this.#deps.registry, request, wanted, ifnames);
    } catch (error) {
      if (!(await this.#teardown.settled())) throw error;
      return allocateEndpoint(this.#deps.registry, request, wanted, ifnames);
    }
  }

  /** Resolves when nothing of closed containers is left. */
  async settled(): Promise<void> {
    await this.#teardown.settled();
  }

  open(request: SandboxRequest): Promise<Sandbox> {
    return this.#lanes.run(request.containerId, async () => {
      const other = joined(request.mode);
      if (other !== undefined) return { ...this.#joined(other), sandboxId: '', endpoints: {}, ports: {} };
      const prepared = this.get(request.containerId) ?? (await this.#prepare(request));
      if (prepared.phase === 'open') return this.view(prepared);
      // Both are waited for, so that what one made while the other failed is taken back too.
      const [ports, links] = await Promise.allSettled([
        this.#publishing.publish(prepared),
        this.#plumbing.link(prepared, prepared.endpoints),
      ]);
      if (ports.status === 'rejected' || links.status === 'rejected') {
        await this.#close({ ...prepared, ports: ports.status === 'fulfilled' ? ports.value : [] }, true);
        throw this.#explained(
          prepared,
          ports.status === 'rejected' ? ports.reason : (links as PromiseRejectedResult).reason,
        );
      }
      const opened = this.#put({ ...this.#latest(prepared), ports: ports.value, phase: 'open' });
      for (const endpoint of opened.endpoints) this.#entered(opened, endpoint);
      await this.#files.tellPeers(opened.endpoints);
      await this.#followLinks(opened.containerId);
      return this.view(opened);
    });
  }

  /** dockerd's sentence around a failure of ports. */
  #explained(sandbox: SandboxRecord, error: unknown): DaemonError {
    const known = asDaemonError(error);
    if (known.code !== 'port-in-use' && known.code !== 'port-unavailable') return known;
    const endpoint = publishingEndpoint(this.#deps.registry, sandbox.endpoints);
    const message = `driver failed programming external connectivity on endpoint ${sandbox.request.name} (${endpoint?.endpointId ?? ''}): ${known.message}`;
    return internal(message, { code: known.code, cause: known });
  }

  close(containerId: string): Promise<void> {
    return this.#lanes.run(containerId, async () => {
      const sandbox = this.get(containerId);
      if (sandbox) await this.#close(sandbox);
    });
  }

  /** `made`: its links were at least begun. */
  async #close(sandbox: SandboxRecord, made = sandbox.phase === 'open'): Promise<void> {
    const { registry, links } = this.#deps;
    const wasOpen = sandbox.phase === 'open';
    for (const endpoint of sandbox.endpoints) this.#left(sandbox, endpoint, wasOpen);
    const attempts = await Promise.allSettled([
      this.#publishing.unpublish(sandbox.ports),
      sandbox.netnsPath ? links.removeNamespace(sandbox.netnsPath) : undefined,
    ]);
    for (const attempt of attempts)
      if (attempt.status === 'rejected')
        this.#deps.log.warn({ err: attempt.reason, container: sandbox.containerId }, 'a part of the network stayed');
    const hostLinks = sandbox.endpoints.map((endpoint) => endpoint.hostLink).filter((link) => link && made);
    void this.#teardown.delete(hostLinks).then(() => {
      for (const endpoint of sandbox.endpoints) releaseEndpoint(registry, endpoint);
    });
    this.#drop(sandbox);
    if (!wasOpen) return;
    await this.#files.tellPeers(sandbox.endpoints);
    await this.#followLinks(sandbox.containerId);
  }

  // -- while it runs ----------------------------------------------------------------------------------------------

  connect(request: SandboxRequest, network: string, config: EndpointConfig): Promise<Sandbox> {
    return this.#lanes.run(request.containerId, async () => {
      const { registry } = this.#deps;
      const sandbox = this.#running(request.containerId);
      const record = registry.resolve(network);
      if (sandbox.endpoints.some((endpoint) => endpoint.networkId === record.id))
        throw forbidden(`endpoint with name ${sandbox.request.name} already exists in network ${record.name}`);
      refuseHost(sandbox, registry, record);
      if (record.driver === 'null' || sandbox.endpoints.some((one) => registry.get(one.networkId)?.driver === 'null'))
        throw invalid(
          'container cannot be connected to multiple networks with one of the networks in private (none) mode',
        );
      const taken = new Set(sandbox.endpoints.map((one) => one.ifname));
      const endpoint = await this.#allocate(sandbox.request, { network: record, config }, taken);
      const after: SandboxRecord = { ...sandbox, endpoints: [...sandbox.endpoints, endpoint] };
      this.#put(after);
      try {
        await this.#plumbing.link(after, [endpoint]);
        const published = await this.#republished(after);
        this.#entered(published, endpoint);
        await this.#files.write(published);
        await this.#files.tellPeers([endpoint]);
        await this.#followLinks(published.containerId);
        return this.view(published);
      } catch (error) {
        await this.#plumbing.unlink(endpoint, sandbox.netnsPath);
        releaseEndpoint(registry, endpoint);
        this.#put(sandbox);
        throw this.#explained(after, error);
      }
    });
  }

  disconnect(containerId: string, network: string, force: boolean): Promise<Sandbox> {
    return this.#lanes.run(containerId, async () => {
      const { registry } = this.#deps;
      const sandbox = this.#running(containerId);
      const record = registry.resolve(network);
      refuseHost(sandbox, registry, record);
      const endpoint = sandbox.endpoints.find((candidate) => candidate.networkId === record.id);
      if (!endpoint)
        throw internal(`container ${containerId} is not connected to network ${record.name}`, {
          code: 'not-connected',
        });
      const after: SandboxRecord = { ...sandbox, endpoints: sandbox.endpoints.filter((other) => other !== endpoint) };
      this.#left(sandbox, endpoint, true);
      this.#put(after);
      try {
        await this.#plumbing.unlink(endpoint, sandbox.netnsPath);
        const published = await this.#republished(after);
        await this.#plumbing.link(published, []);
        await this.#files.write(published);
      } catch (error) {
        if (!force) throw error;
        this.#deps.log.warn({ err: error, container: containerId }, 'disconnected by force');
      } finally {
        releaseEndpoint(registry, endpoint);
      }
      await this.#files.tellPeers([endpoint]);
      await this.#followLinks(containerId);
      return this.view(this.get(containerId) ?? after);
    });
  }

  async #republished(sandbox: SandboxRecord): Promise<SandboxRecord> {
    const ports = await this.#publishing.republish(sandbox);
    return this.#put({ ...this.#latest(sandbox), ports });
  }

  /** A rename does not wait in the lane: it may have come meanwhile. */
  #latest(sandbox: SandboxRecord): SandboxRecord {
    return this.get(sandbox.containerId) ?? sandbox;
  }

  #running(containerId: string): SandboxRecord {
    const sandbox = this.get(containerId);
    if (sandbox?.phase !== 'open') throw conflict(`container ${containerId} is not running`);
    return sandbox;
  }

  rename(containerId: string, name: string): void {
    const sandbox = this.get(containerId);
    if (!sandbox) return;
    const before = sandbox.request.name;
    const endpoints = sandbox.endpoints.map((endpoint) => ({
      ...endpoint,
      names: endpoint.names.map((known) => (known === before ? name : known)),
    }));
    const renamed = this.#put({ ...sandbox, request: { ...sandbox.request, name }, endpoints });
    if (renamed.phase === 'open') for (const endpoint of renamed.endpoints) this.#announce(renamed, endpoint);
  }

  relink({ containerId, links }: SandboxRequest): Promise<void> {
    return this.#lanes.run(containerId, async () => {
      const sandbox = this.get(containerId);
      if (!sandbox) return;
      await this.#files.write(this.#put({ ...sandbox, request: { ...sandbox.request, links } }));
      await this.#followLinks(containerId);
    });
  }

  /** A container came or went: those that name it by a link learn where it is now. Only names and ways are at stake. */
  async #followLinks(containerId: string): Promise<void> {
    const parents = this.#linkRules.parentsOf(containerId).filter(({ phase }) => phase === 'open');
    const attempts = [this.#linkRules.follow(containerId), ...parents.map((parent) => this.#files.write(parent))];
    for (const attempt of await Promise.allSettled(attempts))
      if (attempt.status === 'rejected')
        this.#deps.log.warn({ err: attempt.reason, container: containerId }, 'links were not brought up to date');
  }

  // -- after a restart --------------------------------------------------------------------------------------------

  /** Takes addresses, names and ports of a record up again, before anything new is given out. */
  async load(sandbox: SandboxRecord): Promise<void> {
    const { registry, reservations } = this.#deps;
    const endpoints = sandbox.endpoints.filter((endpoint) => registry.get(endpoint.networkId));
    for (const endpoint of endpoints)
      for (const address of [endpoint.ipv4, endpoint.ipv6])
        if (address) registry.addresses(endpoint.networkId).restore(address);
    const loaded = this.#put({ ...sandbox, endpoints });
    if (loaded.phase === 'open') for (const endpoint of loaded.endpoints) this.#announce(loaded, endpoint);
    const lost = await reservations.restore(loaded.ports);
    for (const port of lost)
      this.#deps.log.warn(
        { port, container: sandbox.containerId },
        'a published port was taken by another program meanwhile',
      );
    await this.#deps.firewall.add(loaded.ports.flatMap(portElements));
  }

  /** When all are loaded. */
  async loadLinks(): Promise<void> {
    const parents = this.all().filter(({ request }) => request.links.length);
    await Promise.all(parents.map(({ containerId }) => this.#linkRules.follow(containerId)));
  }

  /** Links that vanished while nobody looked are made again, with the same addresses. */
  restore(request: SandboxRequest, isThere: (link: string) => Promise<boolean>): Promise<Sandbox> {
    return this.#lanes.run(request.containerId, async () => {
      const other = joined(request.mode);
      if (other !== undefined) return { ...this.#joined(other), sandboxId: '', endpoints: {}, ports: {} };
      const sandbox = this.get(request.containerId);
      if (!sandbox) throw conflict(`the network of container ${request.containerId} is gone`);
      const missing: EndpointRecord[] = [];
      for (const endpoint of sandbox.endpoints)
        if (endpoint.hostLink && !(await isThere(endpoint.hostLink))) missing.push(endpoint);
      const halfway = sandbox.phase === 'prepared';
      if (missing.length || halfway) await this.#plumbing.link(sandbox, missing);
      if (!halfway) return this.view(sandbox);
      // The daemon ended between the links and the record: the container runs, and the rest is done now.
      const ports = await this.#publishing.publish(sandbox);
      const opened = this.#put({ ...this.#latest(sandbox), ports, phase: 'open' });
      for (const endpoint of opened.endpoints) this.#entered(opened, endpoint);
      await this.#followLinks(opened.containerId);
      return this.view(opened);
    });
  }

  /** Host ends that somebody deleted are made again. */
  async repair(isThere: (link: string) => Promise<boolean>): Promise<void> {
    for (const sandbox of this.all()) {
      if (sandbox.phase !== 'open') continue;
      for (const { hostLink } of sandbox.endpoints)
        if (hostLink && !(await isThere(hostLink)) && this.get(sandbox.containerId) === sandbox)
          await this.restore(sandbox.request, isThere);
    }
  }

  /** The DNS server of a network moved: its containers are led to it anew. */
  async follow(networkId: string): Promise<void> {
    await Promise.all(
      this.on(networkId).map(({ containerId }) =>
        this.#lanes.run(containerId, async () => {
          const sandbox = this.get(containerId);
          if (sandbox?.phase === 'open') await this.#plumbing.link(sandbox, []);
        }),
      ),
    );
  }

  // -- parts ------------------------------------------------------------------------------------------------------

  view(sandbox: SandboxRecord): Sandbox {
    return sandboxView(sandbox, (id) => this.#deps.registry.nameOf(id), pathsOf(sandbox.request.directory));
  }

  #announce(sandbox: SandboxRecord, endpoint: EndpointRecord): void {
    this.askers.forget(sandbox.containerId);
    if (endpoint.names.length)
      this.#deps.names.set({
        containerId: sandbox.containerId,
        networkId: endpoint.networkId,
        ipv4: endpoint.ipv4,
        ipv6: endpoint.ipv6,
        names: endpoint.names,
      });
    this.askers.set(sandbox, endpoint);
  }

  #entered(sandbox: SandboxRecord, endpoint: EndpointRecord): void {
    this.#announce(sandbox, endpoint);
    this.#event('connect', sandbox, endpoint);
  }

  #left(sandbox: SandboxRecord, endpoint: EndpointRecord, wasOpen: boolean): void {
    this.#deps.names.delete(endpoint.networkId, sandbox.containerId);
    this.askers.delete(endpoint);
    this.askers.forget(sandbox.containerId);
    this.#deps.registry.detach(endpoint.networkId, sandbox.containerId);
    if (wasOpen) this.#event('disconnect', sandbox, endpoint);
  }

  #event(action: string, sandbox: SandboxRecord, endpoint: EndpointRecord): void {
    const network = this.#deps.registry.get(endpoint.networkId);
    this.#deps.bus.publish({
      topic: 'event',
      type: 'network',
      action,
      id: endpoint.networkId,
      attributes: { container: sandbox.containerId, name: network?.name ?? '', type: network?.driver ?? '' },
    });
  }

  #put(sandbox: SandboxRecord): SandboxRecord {
    this.#sandboxes.set(sandbox.containerId, sandbox);
    this.#deps.records.put(sandbox.containerId, sandbox);
    return sandbox;
  }

  #drop(sandbox: SandboxRecord): void {
    this.#sandboxes.delete(sandbox.containerId);
    this.#deps.records.delete(sandbox.containerId);
  }

  async #unwind(undo: UndoStack, containerId: string): Promise<void> {
    await undo.unwind((name, error) =>
      this.#deps.log.warn({ err: error, container: containerId }, `undoing ${name} failed`),
    );
  }
}

function refuseHost(sandbox: SandboxRecord, registry: NetworkRegistry, network: NetworkRecord): void {
  const onHost = sandbox.endpoints.some((endpoint) => registry.get(endpoint.networkId)?.driver === 'host');
  if (onHost || network.driver === 'host')
    throw invalid('container cannot be disconnected from host network or connected to host network');
}
