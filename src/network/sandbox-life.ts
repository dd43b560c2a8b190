/**
 * A sandbox from its namespace to its end. Addresses are taken in one turn of the loop; whatever fails half-way is taken back.
 */
import { newId } from '../lib/ids.ts';
import { UndoStack } from '../lib/undo.ts';
import { releaseEndpoint, wantedEndpoints } from './endpoints.ts';
import type { Sandbox, SandboxRequest } from './port.ts';
import type { EndpointRecord, SandboxRecord } from './record.ts';
import { pathsOf } from './sandbox-files.ts';
import { joined, type NamespaceFiles, type SandboxParts } from './sandbox-parts.ts';

export class SandboxLife {
  #parts: SandboxParts;

  constructor(parts: SandboxParts) {
    this.#parts = parts;
  }

  prepare(request: SandboxRequest): Promise<NamespaceFiles> {
    return this.#parts.lanes.run(request.containerId, async () => {
      const other = joined(request.mode);
      if (other !== undefined) return this.#parts.filesOf(other);
      const known = this.#parts.book.get(request.containerId);
      // One that is open still was not closed by whoever stopped the container: it must not be inherited.
      if (known?.phase === 'open') await this.#close(known);
      const sandbox = this.#parts.book.get(request.containerId) ?? (await this.#prepare(request));
      return { netnsPath: sandbox.netnsPath, ...pathsOf(request.directory) };
    });
  }

  async #prepare(request: SandboxRequest): Promise<SandboxRecord> {
    const undo = new UndoStack();
    const { registry, links } = this.#parts.deps;
    try {
      const sandboxId = newId();
      const host = registry.resolve(request.mode).driver === 'host';
      const ifnames = new Set<string>();
      const endpoints: EndpointRecord[] = [];
      for (const wanted of wantedEndpoints(registry, request)) {
        const endpoint = await this.#parts.allocate(request, wanted, ifnames);
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
      this.#parts.book.put(sandbox);
      undo.push('record', () => this.#parts.book.drop(sandbox));
      if (netnsPath) undo.push('namespace', () => links.removeNamespace(netnsPath));
      // Both are waited for, whatever happens: what comes after its undo stays for ever.
      const attempts = await Promise.allSettled([
        netnsPath ? links.makeNamespace(netnsPath) : undefined,
        this.#parts.files.write(sandbox),
      ]);
      for (const attempt of attempts) if (attempt.status === 'rejected') throw attempt.reason;
      return sandbox;
    } catch (error) {
      await this.#unwind(undo, request.containerId);
      throw error;
    }
  }

  open(request: SandboxRequest): Promise<Sandbox> {
    return this.#parts.lanes.run(request.containerId, async () => {
      const other = joined(request.mode);
      if (other !== undefined) return { ...this.#parts.filesOf(other), sandboxId: '', endpoints: {}, ports: {} };
      const prepared = this.#parts.book.get(request.containerId) ?? (await this.#prepare(request));
      if (prepared.phase === 'open') return this.#parts.book.view(prepared);
      // Both are waited for, so that what one made while the other failed is taken back too.
      const [ports, links] = await Promise.allSettled([
        this.#parts.publishing.publish(prepared),
        this.#parts.plumbing.link(prepared, prepared.endpoints),
      ]);
      if (ports.status === 'rejected' || links.status === 'rejected') {
        await this.#close({ ...prepared, ports: ports.status === 'fulfilled' ? ports.value : [] }, true);
        throw this.#parts.explained(
          prepared,
          ports.status === 'rejected' ? ports.reason : (links as PromiseRejectedResult).reason,
        );
      }
      const opened = this.#parts.book.put({ ...this.#parts.book.latest(prepared), ports: ports.value, phase: 'open' });
      for (const endpoint of opened.endpoints) this.#parts.book.entered(opened, endpoint);
      await this.#parts.followLinks(opened.containerId);
      return this.#parts.book.view(opened);
    });
  }

  close(containerId: string): Promise<void> {
    return this.#parts.lanes.run(containerId, async () => {
      const sandbox = this.#parts.book.get(containerId);
      if (sandbox) await this.#close(sandbox);
    });
  }

  /** `made`: its links were at least begun. */
  async #close(sandbox: SandboxRecord, made = sandbox.phase === 'open'): Promise<void> {
    const { registry } = this.#parts.deps;
    const wasOpen = sandbox.phase === 'open';
    for (const endpoint of sandbox.endpoints) this.#parts.book.left(sandbox, endpoint, wasOpen);
    const attempts = await Promise.allSettled([
      this.#parts.publishing.unpublish(sandbox.ports),
      this.#parts.deps.inside.close(sandbox.containerId),
      sandbox.netnsPath ? this.#parts.plumbing.removeNamespace(sandbox) : undefined,
    ]);
    for (const attempt of attempts)
      if (attempt.status === 'rejected')
        this.#parts.deps.log.warn(
          { err: attempt.reason, container: sandbox.containerId },
          'a part of the network stayed',
        );
    const hostLinks = sandbox.endpoints.map((endpoint) => endpoint.hostLink).filter((link) => link && made);
    void this.#parts.teardown.delete(hostLinks).then(() => {
      for (const endpoint of sandbox.endpoints) releaseEndpoint(registry, endpoint);
    });
    this.#parts.book.drop(sandbox);
    if (!wasOpen) return;
    await this.#parts.followLinks(sandbox.containerId);
  }

  async #unwind(undo: UndoStack, containerId: string): Promise<void> {
    await undo.unwind((name, error) =>
      this.#parts.deps.log.warn({ err: error, container: containerId }, `undoing ${name} failed`),
    );
  }
}
