/**
 * The network side of containers: namespace, endpoints, names, files and published ports, from prepare to close. One lane
 * per container. What there is to do lies in pieces: life, membership, recovery; the book and the tools they share in parts.
 */
import { invalid } from '../errors.ts';
import type { Askers } from './askers.ts';
import { checkEndpoint, wantedEndpoints } from './endpoints.ts';
import type { EndpointConfig, Sandbox, SandboxRequest } from './port.ts';
import { parsePort, portWishes } from './ports.ts';
import type { SandboxRecord } from './record.ts';
import { SandboxLife } from './sandbox-life.ts';
import { SandboxMembership } from './sandbox-membership.ts';
import { joined, type NamespaceFiles, type SandboxesDeps, SandboxParts } from './sandbox-parts.ts';
import { SandboxRecovery } from './sandbox-recovery.ts';

type IsThere = (link: string) => Promise<boolean>;

export class Sandboxes {
  #parts: SandboxParts;
  #life: SandboxLife;
  #membership: SandboxMembership;
  #recovery: SandboxRecovery;

  constructor(deps: SandboxesDeps) {
    this.#parts = new SandboxParts(deps);
    this.#life = new SandboxLife(this.#parts);
    this.#membership = new SandboxMembership(this.#parts);
    this.#recovery = new SandboxRecovery(this.#parts);
  }

  get askers(): Askers {
    return this.#parts.book.askers;
  }

  get(containerId: string): SandboxRecord | undefined {
    return this.#parts.book.get(containerId);
  }

  all(): SandboxRecord[] {
    return this.#parts.book.all();
  }

  on(networkId: string): SandboxRecord[] {
    return this.#parts.book.on(networkId);
  }

  validate(request: SandboxRequest): void {
    if (joined(request.mode) !== undefined) return;
    const wanted = wantedEndpoints(this.#parts.deps.registry, request, 'known');
    for (const { network, config } of wanted) checkEndpoint(network, config);
    if (wanted.length > 1 && wanted.some(({ network }) => network.driver === 'host' || network.driver === 'null'))
      throw invalid(`conflicting options: cannot attach ${wanted[0]!.network.name} network with others`);
    portWishes(request);
    request.exposedPorts.forEach(parsePort);
  }

  prepare(request: SandboxRequest): Promise<NamespaceFiles> {
    return this.#life.prepare(request);
  }

  open(request: SandboxRequest): Promise<Sandbox> {
    return this.#life.open(request);
  }

  close(containerId: string): Promise<void> {
    return this.#life.close(containerId);
  }

  /** Resolves when nothing of closed containers is left. */
  async settled(): Promise<void> {
    await this.#parts.teardown.settled();
  }

  connect(request: SandboxRequest, network: string, config: EndpointConfig): Promise<Sandbox> {
    return this.#membership.connect(request, network, config);
  }

  disconnect(containerId: string, network: string, force: boolean): Promise<Sandbox> {
    return this.#membership.disconnect(containerId, network, force);
  }

  rename(containerId: string, name: string): void {
    this.#membership.rename(containerId, name);
  }

  relink(request: SandboxRequest): Promise<void> {
    return this.#membership.relink(request);
  }

  load(sandbox: SandboxRecord): Promise<void> {
    return this.#recovery.load(sandbox);
  }

  loadLinks(): Promise<void> {
    return this.#recovery.loadLinks();
  }

  restore(request: SandboxRequest, isThere: IsThere): Promise<Sandbox> {
    return this.#recovery.restore(request, isThere);
  }

  repair(isThere: IsThere): Promise<void> {
    return this.#recovery.repair(isThere);
  }

  follow(networkId: string): Promise<void> {
    return this.#recovery.follow(networkId);
  }
}
