/** DNS servers whose sockets lie in a container's own namespace, where no gateway of ours can be reached (macvlan, ipvlan, isolated bridges). */
import type { BoundPair, DnsServer } from './server.ts';

export const INSIDE_ADDRESS = '127.0.0.11';

export interface InsideServersDeps {
  newServer(containerId: string): DnsServer;
  /** Sockets of both transports at one port of that address, in the namespace at `netnsPath`. */
  bindInside(netnsPath: string, address: string): Promise<BoundPair>;
}

export class InsideServers {
  #servers = new Map<string, { server: DnsServer; port: number }>();
  #deps: InsideServersDeps;

  constructor(deps: InsideServersDeps) {
    this.#deps = deps;
  }

  /** Idempotent for a container. Returns the port. */
  async open(containerId: string, netnsPath: string): Promise<number> {
    const known = this.#servers.get(containerId);
    if (known) return known.port;
    const sockets = await this.#deps.bindInside(netnsPath, INSIDE_ADDRESS);
    const server = this.#deps.newServer(containerId);
    const port = await server.adopt(sockets);
    this.#servers.set(containerId, { server, port });
    return port;
  }

  async close(containerId: string): Promise<void> {
    const known = this.#servers.get(containerId);
    this.#servers.delete(containerId);
    await known?.server.close();
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#servers.keys()].map((containerId) => this.close(containerId)));
  }
}
