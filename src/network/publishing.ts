/** The published ports of a container: reserved on the host, and led to it by an element each. */
import { runTool } from '../lib/spawn.ts';
import { publishingEndpoint } from './endpoints.ts';
import type { Firewall } from './firewall.ts';
import { gatewayMode } from './driver-options.ts';
import { portElements } from './firewall-rules.ts';
import { isDirect, portWishes } from './ports.ts';
import type { EndpointRecord, PublishedPort, SandboxRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';
import type { Reservations } from './reservations.ts';

export interface PublishingDeps {
  registry: NetworkRegistry;
  reservations: Reservations;
  firewall: Firewall;
}

const CONNTRACK_MS = 5_000;

export class Publishing {
  #deps: PublishingDeps;

  constructor(deps: PublishingDeps) {
    this.#deps = deps;
  }

  /** All ports the container asked for, or none; without a bridge that leads out there are none. */
  async publish(sandbox: SandboxRecord): Promise<PublishedPort[]> {
    const { registry, reservations, firewall } = this.#deps;
    const endpoint = publishingEndpoint(registry, sandbox.endpoints);
    const wishes = endpoint ? portWishes(sandbox.request) : [];
    if (!endpoint || wishes.length === 0) return [];
    const network = registry.resolve(endpoint.networkId);
    const direct = new Set(([4, 6] as const).filter((family) => gatewayMode(network, family) === 'routed'));
    const bound = wishes.map((wish) => ({ ...wish, direct, hostIp: wish.hostIp || this.#defaultAddress(endpoint) }));
    const ports = await reservations.reserve(bound);
    // The sockets that hold the ports share these objects: they pass on from now.
    for (const port of ports)
      port.target = port.hostIp.includes(':') && endpoint.ipv6 ? endpoint.ipv6 : endpoint.ipv4 || endpoint.ipv6;
    try {
      await firewall.add(ports.flatMap(portElements));
    } catch (error) {
      await this.unpublish(ports);
      throw error;
    }
    await forgetFlows(ports);
    return ports;
  }

  #defaultAddress(endpoint: EndpointRecord): string {
    const { options } = this.#deps.registry.resolve(endpoint.networkId);
    const address = options['com.docker.network.bridge.host_binding_ipv4'] ?? '';
    return address === '0.0.0.0' ? '' : address;
  }

  async unpublish(ports: readonly PublishedPort[]): Promise<void> {
    if (ports.length === 0) return;
    const { firewall, reservations } = this.#deps;
    await Promise.all([firewall.remove(ports.flatMap(portElements)), reservations.release(ports)]);
    await forgetFlows(ports);
  }

  /** After endpoints changed: the ports follow the endpoint that publishes. */
  async republish(sandbox: SandboxRecord): Promise<PublishedPort[]> {
    const endpoint = publishingEndpoint(this.#deps.registry, sandbox.endpoints);
    const addresses = [endpoint?.ipv4, endpoint?.ipv6];
    if (sandbox.ports.length > 0 && sandbox.ports.every((port) => addresses.includes(port.target)))
      return sandbox.ports;
    await this.unpublish(sandbox.ports);
    return this.publish(sandbox);
  }
}

/**
 * A flow of datagrams never ends by itself: the kernel would go on leading it where it led before. Where conntrack is not
 * installed it ends when nobody speaks for half a minute.
 */
async function forgetFlows(ports: readonly PublishedPort[]): Promise<void> {
  const numbers = new Set(
    ports.filter((port) => port.protocol === 'udp' && !isDirect(port)).map((port) => port.hostPort),
  );
  await Promise.all(
    [...numbers].map((port) =>
      runTool('conntrack', ['-D', '-p', 'udp', '--orig-port-dst', String(port)], {
        deadline: CONNTRACK_MS,
        accept: [0, 1],
      }).catch(() => {}),
    ),
  );
}
