/** Who asks our DNS servers: by network and address, what that container may know. */
import type { Asker } from './dns/answer.ts';
import { isClosed } from './driver-options.ts';
import type { EndpointRecord, SandboxRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';

export class Askers {
  #byAddress = new Map<string, string>();
  #cached = new Map<string, Asker>();
  #registry: NetworkRegistry;

  constructor(registry: NetworkRegistry) {
    this.#registry = registry;
  }

  set(sandbox: SandboxRecord, endpoint: EndpointRecord): void {
    for (const address of [endpoint.ipv4, endpoint.ipv6])
      if (address) this.#byAddress.set(`${endpoint.networkId}/${address}`, sandbox.containerId);
  }

  delete(endpoint: EndpointRecord): void {
    for (const address of [endpoint.ipv4, endpoint.ipv6]) this.#byAddress.delete(`${endpoint.networkId}/${address}`);
  }

  /** What is known of a container is worked out anew at its next question. */
  forget(containerId: string): void {
    this.#cached.delete(containerId);
  }

  /** The host's own servers changed. */
  forgetAll(): void {
    this.#cached.clear();
  }

  find(
    networkId: string,
    address: string,
    sandboxOf: (containerId: string) => SandboxRecord | undefined,
    upstreams: (sandbox: SandboxRecord) => readonly string[],
  ): Asker | undefined {
    const containerId = this.#byAddress.get(`${networkId}/${address}`);
    return containerId ? this.of(containerId, sandboxOf, upstreams) : undefined;
  }

  of(
    containerId: string,
    sandboxOf: (containerId: string) => SandboxRecord | undefined,
    upstreams: (sandbox: SandboxRecord) => readonly string[],
  ): Asker | undefined {
    const cached = this.#cached.get(containerId);
    if (cached) return cached;
    const sandbox = sandboxOf(containerId);
    if (!sandbox) return undefined;
    const networks = sandbox.endpoints
      .map((endpoint) => this.#registry.get(endpoint.networkId))
      .filter((record) => record !== undefined);
    const asker: Asker = {
      containerId,
      networks: networks.filter((record) => !record.predefined).map(({ id, name }) => ({ id, name })),
      links: this.#linksOf(sandbox),
      upstreams: upstreams(sandbox),
      outside: networks.some((record) => !isClosed(record)),
    };
    this.#cached.set(containerId, asker);
    return asker;
  }

  /** Links in a user-defined network, "container:alias": a name that only this container knows. */
  #linksOf(sandbox: SandboxRecord): Map<string, string> {
    const links = new Map<string, string>();
    for (const endpoint of sandbox.endpoints)
      for (const link of endpoint.config.Links ?? []) {
        const [container = '', alias = container] = link.split(':');
        links.set(alias.toLowerCase(), container);
      }
    for (const { containerId, alias } of sandbox.request.links)
      links.set(alias.toLowerCase(), containerId.slice(0, 12));
    return links;
  }
}
