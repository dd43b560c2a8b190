/** The links, routes and resolver of a container's namespace: one task for the link thread a call. */
import type { Config } from '../config/config.ts';
import { INSIDE_ADDRESS, type InsideServers } from './dns/inside.ts';
import { byPriority, endpointSysctls } from './endpoints.ts';
import { defaultRoute, hostLink, mtuOf, namespaceSteps, resolverTable } from './link-script.ts';
import type { Links } from './links.ts';
import type { LinkStep } from './netlink/steps.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';
import { isServedInside, resolverOf } from './sandbox-files.ts';

export interface PlumbingDeps {
  config: Config;
  registry: NetworkRegistry;
  links: Links;
  /** How our links' aliases begin. */
  tag: string;
  /** DNS servers of containers that no gateway of ours serves. */
  inside: InsideServers;
  ipv6: boolean;
}

/** In the host's mode and in `none` an endpoint has no interface. */
export const isLinked = (endpoint: EndpointRecord): boolean => endpoint.ifname !== '';

export class Plumbing {
  #deps: PlumbingDeps;

  constructor(deps: PlumbingDeps) {
    this.#deps = deps;
  }

  /** Makes the links of `fresh`, and sets routes and resolver to what all endpoints say. */
  async link(sandbox: SandboxRecord, fresh: readonly EndpointRecord[]): Promise<void> {
    const { registry, links } = this.#deps;
    const all = byPriority(registry, sandbox.endpoints.filter(isLinked));
    if (!sandbox.netnsPath || all.length === 0) return;
    const linked = fresh.filter(isLinked);
    const resolver = resolverOf(registry, all);
    const inside = isServedInside(registry, sandbox);
    const port = inside ? await this.#deps.inside.open(sandbox.containerId, sandbox.netnsPath) : 0;
    if (!inside) await this.#deps.inside.close(sandbox.containerId);
    const translated = resolver?.endpoint.ipv4 ? resolver : undefined;
    await links.connect(
      linked.map((endpoint) => this.#hostLink(sandbox, endpoint)),
      sandbox.netnsPath,
      {
        sysctls: {
          ...this.#sysctls(linked),
          ...(translated ? { [`net/ipv4/conf/${translated.endpoint.ifname}/route_localnet`]: '1' } : {}),
        },
        steps: [...linked.flatMap(namespaceSteps), ...this.#routes(all, 4), ...this.#routes(all, 6)],
        nft: inside
          ? resolverTable(INSIDE_ADDRESS, port)
          : translated
            ? resolverTable(translated.network.pools[0]!.gateway, translated.network.dnsPort)
            : '',
      },
    );
    for (const endpoint of linked) registry.attach(endpoint.networkId, sandbox.containerId);
  }

  #network(endpoint: EndpointRecord): NetworkRecord {
    return this.#deps.registry.resolve(endpoint.networkId);
  }

  #hostLink(sandbox: SandboxRecord, endpoint: EndpointRecord): LinkStep | string {
    const network = this.#network(endpoint);
    const mtu = mtuOf(network, network.name === 'bridge' ? this.#deps.config.mtu : 1500);
    return hostLink(network, endpoint, this.#deps.tag, sandbox.netnsPath, mtu);
  }

  #sysctls(linked: readonly EndpointRecord[]): Record<string, string> {
    const sysctls: Record<string, string> = {};
    for (const endpoint of linked) {
      // Off in a new namespace until somebody has an address.
      if (this.#deps.ipv6 && endpoint.ipv6) sysctls[`net/ipv6/conf/${endpoint.ifname}/disable_ipv6`] = '0';
      Object.assign(sysctls, endpointSysctls(endpoint.config, endpoint.ifname));
    }
    return sysctls;
  }

  /** The default route of a family goes by the first endpoint that has a gateway in it. */
  #routes(all: readonly EndpointRecord[], family: 4 | 6): LinkStep[] {
    for (const endpoint of all) {
      const steps = defaultRoute(this.#network(endpoint), endpoint, family);
      if (steps.length) return steps;
    }
    return [];
  }

  async unlink(endpoint: EndpointRecord, netnsPath: string): Promise<void> {
    if (endpoint.hostLink) await this.#deps.links.remove([endpoint.hostLink]);
    else if (isLinked(endpoint) && netnsPath) await this.#deleteInside([endpoint], netnsPath);
  }

  /**
   * Ends that lie on a parent are deleted, and not only their namespace: the kernel takes its time over that, and until
   * then nobody else may have their addresses on this parent.
   */
  async removeNamespace({ netnsPath, endpoints }: SandboxRecord): Promise<void> {
    const ends = endpoints.filter((endpoint) => isLinked(endpoint) && !endpoint.hostLink);
    try {
      if (ends.length) await this.#deleteInside(ends, netnsPath);
    } finally {
      await this.#deps.links.removeNamespace(netnsPath);
    }
  }

  #deleteInside(ends: readonly EndpointRecord[], netnsPath: string): Promise<void> {
    const steps = ends.map(({ ifname }): LinkStep => ({ kind: 'delete', link: ifname }));
    return this.#deps.links.connect([], netnsPath, { sysctls: {}, steps, nft: '' });
  }
}
