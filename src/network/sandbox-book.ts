/** The sandboxes' records, and what the rest of the networks is told when an endpoint comes or goes: names, askers, events. */
import type { Bus } from '../bus/bus.ts';
import type { Collection } from '../store/port.ts';
import { Askers } from './askers.ts';
import type { Names } from './dns/names.ts';
import type { Sandbox } from './port.ts';
import type { EndpointRecord, SandboxRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';
import { pathsOf } from './sandbox-files.ts';
import { sandboxView } from './view.ts';

export interface SandboxBookDeps {
  bus: Bus;
  registry: NetworkRegistry;
  names: Names;
  records: Collection<SandboxRecord>;
}

export class SandboxBook {
  #sandboxes = new Map<string, SandboxRecord>();
  #deps: SandboxBookDeps;
  readonly askers: Askers;

  constructor(deps: SandboxBookDeps) {
    this.#deps = deps;
    this.askers = new Askers(deps.registry);
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

  /** A rename does not wait in the lane: it may have come meanwhile. */
  latest(sandbox: SandboxRecord): SandboxRecord {
    return this.get(sandbox.containerId) ?? sandbox;
  }

  put(sandbox: SandboxRecord): SandboxRecord {
    this.#sandboxes.set(sandbox.containerId, sandbox);
    this.#deps.records.put(sandbox.containerId, sandbox);
    return sandbox;
  }

  drop(sandbox: SandboxRecord): void {
    this.#sandboxes.delete(sandbox.containerId);
    this.#deps.records.delete(sandbox.containerId);
  }

  view(sandbox: SandboxRecord): Sandbox {
    return sandboxView(sandbox, (id) => this.#deps.registry.nameOf(id), pathsOf(sandbox.request.directory));
  }

  announce(sandbox: SandboxRecord, endpoint: EndpointRecord): void {
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

  entered(sandbox: SandboxRecord, endpoint: EndpointRecord): void {
    this.announce(sandbox, endpoint);
    this.#event('connect', sandbox, endpoint);
  }

  left(sandbox: SandboxRecord, endpoint: EndpointRecord, wasOpen: boolean): void {
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
}
