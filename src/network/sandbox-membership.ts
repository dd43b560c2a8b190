/** A running container joins and leaves networks, changes its name, and is linked anew. */
import { conflict, forbidden, internal, invalid } from '../errors.ts';
import { releaseEndpoint } from './endpoints.ts';
import type { EndpointConfig, Sandbox, SandboxRequest } from './port.ts';
import type { NetworkRecord, SandboxRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';
import type { SandboxParts } from './sandbox-parts.ts';

export class SandboxMembership {
  #parts: SandboxParts;

  constructor(parts: SandboxParts) {
    this.#parts = parts;
  }

  connect(request: SandboxRequest, network: string, config: EndpointConfig): Promise<Sandbox> {
    return this.#parts.lanes.run(request.containerId, async () => {
      const { registry } = this.#parts.deps;
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
      const endpoint = await this.#parts.allocate(sandbox.request, { network: record, config }, taken);
      const after: SandboxRecord = { ...sandbox, endpoints: [...sandbox.endpoints, endpoint] };
      this.#parts.book.put(after);
      try {
        await this.#parts.plumbing.link(after, [endpoint]);
        const published = await this.#republished(after);
        this.#parts.book.entered(published, endpoint);
        await this.#parts.files.write(published);
        await this.#parts.followLinks(published.containerId);
        return this.#parts.book.view(published);
      } catch (error) {
        await this.#parts.plumbing.unlink(endpoint, sandbox.netnsPath);
        releaseEndpoint(registry, endpoint);
        this.#parts.book.put(sandbox);
        throw this.#parts.explained(after, error);
      }
    });
  }

  disconnect(containerId: string, network: string, force: boolean): Promise<Sandbox> {
    return this.#parts.lanes.run(containerId, async () => {
      const { registry } = this.#parts.deps;
      const sandbox = this.#running(containerId);
      const record = registry.resolve(network);
      refuseHost(sandbox, registry, record);
      const endpoint = sandbox.endpoints.find((candidate) => candidate.networkId === record.id);
      if (!endpoint)
        throw internal(`container ${containerId} is not connected to the network ${record.name}`, {
          code: 'not-connected',
        });
      const after: SandboxRecord = { ...sandbox, endpoints: sandbox.endpoints.filter((other) => other !== endpoint) };
      this.#parts.book.left(sandbox, endpoint, true);
      this.#parts.book.put(after);
      try {
        await this.#parts.plumbing.unlink(endpoint, sandbox.netnsPath);
        const published = await this.#republished(after);
        await this.#parts.plumbing.link(published, []);
        await this.#parts.files.write(published);
      } catch (error) {
        if (!force) throw error;
        this.#parts.deps.log.warn({ err: error, container: containerId }, 'disconnected by force');
      } finally {
        releaseEndpoint(registry, endpoint);
      }
      await this.#parts.followLinks(containerId);
      return this.#parts.book.view(this.#parts.book.get(containerId) ?? after);
    });
  }

  async #republished(sandbox: SandboxRecord): Promise<SandboxRecord> {
    const ports = await this.#parts.publishing.republish(sandbox);
    return this.#parts.book.put({ ...this.#parts.book.latest(sandbox), ports });
  }

  #running(containerId: string): SandboxRecord {
    const sandbox = this.#parts.book.get(containerId);
    if (sandbox?.phase !== 'open') throw conflict(`container ${containerId} is not running`);
    return sandbox;
  }

  rename(containerId: string, name: string): void {
    const sandbox = this.#parts.book.get(containerId);
    if (!sandbox) return;
    const before = sandbox.request.name;
    const endpoints = sandbox.endpoints.map((endpoint) => ({
      ...endpoint,
      names: endpoint.names.map((known) => (known === before ? name : known)),
    }));
    const renamed = this.#parts.book.put({ ...sandbox, request: { ...sandbox.request, name }, endpoints });
    if (renamed.phase === 'open')
      for (const endpoint of renamed.endpoints) this.#parts.book.announce(renamed, endpoint);
  }

  relink({ containerId, links }: SandboxRequest): Promise<void> {
    return this.#parts.lanes.run(containerId, async () => {
      const sandbox = this.#parts.book.get(containerId);
      if (!sandbox) return;
      await this.#parts.files.write(this.#parts.book.put({ ...sandbox, request: { ...sandbox.request, links } }));
      await this.#parts.followLinks(containerId);
    });
  }
}

function refuseHost(sandbox: SandboxRecord, registry: NetworkRegistry, network: NetworkRecord): void {
  const onHost = sandbox.endpoints.some((endpoint) => registry.get(endpoint.networkId)?.driver === 'host');
  if (onHost || network.driver === 'host')
    throw invalid('container cannot be disconnected from host network or connected to host network');
}
