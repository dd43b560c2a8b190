/** What the pieces of a sandbox's life share: the book, the tools, a lane for each container. */
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import { asDaemonError, conflict, type DaemonError, internal } from '../errors.ts';
import { Lanes } from '../lib/lanes.ts';
import type { InsideServers } from './dns/inside.ts';
import { allocateEndpoint, publishingEndpoint, type WantedEndpoint } from './endpoints.ts';
import type { Firewall } from './firewall.ts';
import { LinkRules } from './link-rules.ts';
import type { Links } from './links.ts';
import { Plumbing } from './plumbing.ts';
import type { SandboxRequest } from './port.ts';
import { Publishing } from './publishing.ts';
import type { EndpointRecord, SandboxRecord } from './record.ts';
import type { Reservations } from './reservations.ts';
import { SandboxBook, type SandboxBookDeps } from './sandbox-book.ts';
import { pathsOf, SandboxFiles } from './sandbox-files.ts';
import { Teardown } from './teardown.ts';

export interface SandboxesDeps extends SandboxBookDeps {
  config: Config;
  log: Logger;
  links: Links;
  /** How our links' aliases begin. */
  tag: string;
  inside: InsideServers;
  firewall: Firewall;
  reservations: Reservations;
  ipv6: boolean;
}

export interface NamespaceFiles {
  netnsPath: string;
  hostsPath: string;
  resolvConfPath: string;
}

/** The container whose namespace a mode joins. */
export const joined = (mode: string): string | undefined =>
  mode.startsWith('container:') ? mode.slice('container:'.length) : undefined;

export class SandboxParts {
  readonly deps: SandboxesDeps;
  /** One piece of work after the other for each container. */
  readonly lanes = new Lanes();
  readonly book: SandboxBook;
  readonly files: SandboxFiles;
  readonly plumbing: Plumbing;
  readonly publishing: Publishing;
  readonly teardown: Teardown;
  readonly linkRules: LinkRules;

  constructor(deps: SandboxesDeps) {
    this.deps = deps;
    this.book = new SandboxBook(deps);
    this.plumbing = new Plumbing(deps);
    this.publishing = new Publishing(deps);
    this.linkRules = new LinkRules({ ...deps, sandboxes: this.book });
    this.teardown = new Teardown((links) => deps.links.remove(links));
    this.files = new SandboxFiles({
      config: deps.config,
      registry: deps.registry,
      ipv6: deps.ipv6,
      sandboxes: this.book,
    });
  }

  /** Of the container whose network is joined. */
  filesOf(containerId: string): NamespaceFiles {
    const other = this.book.get(containerId);
    if (!other)
      throw conflict(
        `cannot join network namespace of a non running container: container ${containerId} is not running`,
      );
    return { netnsPath: other.netnsPath, ...pathsOf(other.request.directory) };
  }

  /** What a container that just ended still holds is waited for, and only then. */
  async allocate(request: SandboxRequest, wanted: WantedEndpoint, ifnames: Set<string>): Promise<EndpointRecord> {
    try {
      return allocateEndpoint(this.deps.registry, request, wanted, ifnames);
    } catch (error) {
      if (!(await this.teardown.settled())) throw error;
      return allocateEndpoint(this.deps.registry, request, wanted, ifnames);
    }
  }

  /** dockerd's sentence around a failure of ports. */
  explained(sandbox: SandboxRecord, error: unknown): DaemonError {
    const known = asDaemonError(error);
    if (known.code !== 'port-in-use' && known.code !== 'port-unavailable') return known;
    const endpoint = publishingEndpoint(this.deps.registry, sandbox.endpoints);
    const message = `driver failed programming external connectivity on endpoint ${sandbox.request.name} (${endpoint?.endpointId ?? ''}): ${known.message}`;
    return internal(message, { code: known.code, cause: known });
  }

  /** A container came or went: those that name it by a link learn where it is now. Only names and ways are at stake. */
  async followLinks(containerId: string): Promise<void> {
    const parents = this.linkRules.parentsOf(containerId).filter(({ phase }) => phase === 'open');
    const attempts = [this.linkRules.follow(containerId), ...parents.map((parent) => this.files.write(parent))];
    for (const attempt of await Promise.allSettled(attempts))
      if (attempt.status === 'rejected')
        this.deps.log.warn({ err: attempt.reason, container: containerId }, 'links were not brought up to date');
  }
}
