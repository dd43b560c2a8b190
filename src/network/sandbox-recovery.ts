/** After a restart of the daemon, and when somebody else took something away: what is known is taken up, what is missing is made. */
import { conflict } from '../errors.ts';
import { portElements } from './firewall-rules.ts';
import type { Sandbox, SandboxRequest } from './port.ts';
import type { EndpointRecord, SandboxRecord } from './record.ts';
import { isServedInside } from './sandbox-files.ts';
import { joined, type SandboxParts } from './sandbox-parts.ts';

export class SandboxRecovery {
  #parts: SandboxParts;

  constructor(parts: SandboxParts) {
    this.#parts = parts;
  }

  /** Takes addresses, names and ports of a record up again, before anything new is given out. */
  async load(sandbox: SandboxRecord): Promise<void> {
    const { registry, reservations } = this.#parts.deps;
    const endpoints = sandbox.endpoints.filter((endpoint) => registry.get(endpoint.networkId));
    for (const endpoint of endpoints)
      for (const address of [endpoint.ipv4, endpoint.ipv6])
        if (address) registry.addresses(endpoint.networkId).restore(address);
    const loaded = this.#parts.book.put({ ...sandbox, endpoints });
    if (loaded.phase === 'open') for (const endpoint of loaded.endpoints) this.#parts.book.announce(loaded, endpoint);
    const lost = await reservations.restore(loaded.ports);
    for (const port of lost)
      this.#parts.deps.log.warn(
        { port, container: sandbox.containerId },
        'a published port was taken by another program meanwhile',
      );
    await this.#parts.deps.firewall.add(loaded.ports.flatMap(portElements));
  }

  /** When all are loaded. */
  async loadLinks(): Promise<void> {
    const parents = this.#parts.book.all().filter(({ request }) => request.links.length);
    await Promise.all(parents.map(({ containerId }) => this.#parts.linkRules.follow(containerId)));
  }

  /** Links that vanished while nobody looked are made again, with the same addresses. */
  restore(request: SandboxRequest, isThere: (link: string) => Promise<boolean>): Promise<Sandbox> {
    return this.#parts.lanes.run(request.containerId, async () => {
      const other = joined(request.mode);
      if (other !== undefined) return { ...this.#parts.filesOf(other), sandboxId: '', endpoints: {}, ports: {} };
      const sandbox = this.#parts.book.get(request.containerId);
      if (!sandbox) throw conflict(`the network of container ${request.containerId} is gone`);
      const missing: EndpointRecord[] = [];
      for (const endpoint of sandbox.endpoints)
        if (endpoint.hostLink && !(await isThere(endpoint.hostLink))) missing.push(endpoint);
      const halfway = sandbox.phase === 'prepared';
      // Servers inside went with the daemon that held them.
      const served = isServedInside(this.#parts.deps.registry, sandbox);
      if (missing.length || halfway || served) await this.#parts.plumbing.link(sandbox, missing);
      if (!halfway) return this.#parts.book.view(sandbox);
      // The daemon ended between the links and the record: the container runs, and the rest is done now.
      const ports = await this.#parts.publishing.publish(sandbox);
      const opened = this.#parts.book.put({ ...this.#parts.book.latest(sandbox), ports, phase: 'open' });
      for (const endpoint of opened.endpoints) this.#parts.book.entered(opened, endpoint);
      await this.#parts.followLinks(opened.containerId);
      return this.#parts.book.view(opened);
    });
  }

  /** Host ends that somebody deleted are made again; where that fails, as in a namespace that is gone, others are none the worse. */
  async repair(isThere: (link: string) => Promise<boolean>): Promise<void> {
    for (const sandbox of this.#parts.book.all())
      await this.#repair(sandbox, isThere).catch((error: unknown) =>
        this.#parts.deps.log.warn(
          { err: error, container: sandbox.containerId },
          'the links of a container are gone, and could not be made again',
        ),
      );
  }

  async #repair(sandbox: SandboxRecord, isThere: (link: string) => Promise<boolean>): Promise<void> {
    if (sandbox.phase !== 'open') return;
    for (const { hostLink } of sandbox.endpoints)
      if (hostLink && !(await isThere(hostLink)) && this.#parts.book.get(sandbox.containerId) === sandbox)
        await this.restore(sandbox.request, isThere);
  }

  /** The DNS server of a network moved: its containers are led to it anew. */
  async follow(networkId: string): Promise<void> {
    await Promise.all(
      this.#parts.book.on(networkId).map(({ containerId }) =>
        this.#parts.lanes.run(containerId, async () => {
          const sandbox = this.#parts.book.get(containerId);
          if (sandbox?.phase === 'open') await this.#parts.plumbing.link(sandbox, []);
        }),
      ),
    );
  }
}
