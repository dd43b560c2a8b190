/** All registries the daemon talks to: their endpoints, what is known of their authorization, and the connections. */
import { createHash } from 'node:crypto';
import type { Config } from '../../config/config.ts';
import { type DaemonError, notFound } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { withDeadline } from '../../lib/deadline.ts';
import type { RegistryAuth } from '../port.ts';
import type { Reference } from '../reference.ts';
import { Authority } from './auth.ts';
import { type Endpoint, endpointsOf, type EndpointSources } from './endpoints.ts';
import { RegistrySession } from './session.ts';
import { Transport, type TransportLimits } from './transport.ts';
import { transferError } from './wording.ts';

export interface RegistryTuning {
  limits?: Partial<TransportLimits>;
  /** First pause before a retry. */
  backoffMs?: number;
  /** Folder with certificates by registry. */
  certificates?: string;
}

const BACKOFF_MS = 1000;
const CONNECT_MS = 120_000;
const CERTIFICATES = '/etc/docker/certs.d';
/** What we know of users at registries is forgotten beyond this many, oldest first. */
const MOST_AUTHORITIES = 64;

/** Distinguishes users without keeping their secrets in a key. */
export const fingerprint = (auth: RegistryAuth | undefined): string =>
  createHash('sha256')
    .update(JSON.stringify([auth?.username, auth?.password, auth?.identitytoken, auth?.registrytoken]))
    .digest('hex');

export class Registries {
  readonly transport: Transport;
  #authorities = new Map<string, Authority>();
  #sources: EndpointSources;
  #clock: Clock;
  /** The attempts are those of the configuration, which may be reloaded, whenever they are read. */
  readonly retries: { readonly attempts: number; backoffMs: number; clock: Clock };

  constructor(deps: { config: Config; clock: Clock; tuning?: RegistryTuning }) {
    const { config, clock, tuning = {} } = deps;
    this.transport = new Transport({ userAgent: 'reactord', limits: tuning.limits });
    this.#sources = { config, certificates: tuning.certificates ?? CERTIFICATES };
    this.#clock = clock;
    this.retries = {
      get attempts() {
        return Math.max(1, config.maxDownloadAttempts);
      },
      backoffMs: tuning.backoffMs ?? BACKOFF_MS,
      clock,
    };
  }

  endpoints(domain: string, use: 'pull' | 'push'): Promise<Endpoint[]> {
    return endpointsOf(domain, this.#sources, use);
  }

  /** The user's password goes to the registry it was given for, never to a mirror. */
  session(
    endpoint: Endpoint,
    repository: string,
    auth: RegistryAuth | undefined,
    scopes: readonly string[],
  ): RegistrySession {
    const own = endpoint.mirror ? undefined : auth;
    return this.#session(endpoint, this.#authority(endpoint, own), repository, own, scopes);
  }

  #session(
    endpoint: Endpoint,
    authority: Authority,
    repository: string,
    auth: RegistryAuth | undefined,
    scopes: readonly string[],
  ): RegistrySession {
    const { transport } = this;
    return new RegistrySession({ transport, endpoint, authority, repository, auth, scopes, ...this.retries });
  }

  pullSession(endpoint: Endpoint, ref: Reference, auth: RegistryAuth | undefined): RegistrySession {
    return this.session(endpoint, ref.path, auth, [`repository:${ref.path}:pull`]);
  }

  /** A session for pushing, with the first endpoint that lets us in. Throws DaemonErrors. */
  async connect(
    ref: Reference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
    scopes: readonly string[],
  ): Promise<RegistrySession> {
    const endpoints = await this.endpoints(ref.domain, 'push');
    const open = (endpoint: Endpoint): RegistrySession => this.session(endpoint, ref.path, auth, scopes);
    return this.#first(endpoints, open, signal, async (session) => session).catch((thrown: unknown) => {
      throw transferError(thrown);
    });
  }

  /** Reads at the first endpoint that has it. */
  async read<T>(
    ref: Reference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
    work: (session: RegistrySession) => Promise<T>,
  ): Promise<T> {
    const endpoints = await this.endpoints(ref.domain, 'pull');
    return this.#first(endpoints, (endpoint) => this.pullSession(endpoint, ref, auth), signal, work);
  }

  /** A mirror is left for any reason, a registry only when it could not be talked to. */
  async #first<T>(
    endpoints: readonly Endpoint[],
    open: (endpoint: Endpoint) => RegistrySession,
    signal: AbortSignal,
    work: (session: RegistrySession) => Promise<T>,
  ): Promise<T> {
    for (const [at, endpoint] of endpoints.entries()) {
      const session = open(endpoint);
      try {
        await withDeadline('authenticating', CONNECT_MS, signal, (inner) => session.ping(inner));
        return await work(session);
      } catch (thrown) {
        const mayPass = endpoint.mirror || transferError(thrown).code === 'unreachable';
        if (!mayPass || at === endpoints.length - 1) throw thrown;
      }
    }
    throw notFound('no endpoint of the registry is known');
  }

  /** Whether a registry knows the user; asked anew every time. Resolves with the identity token it gave, if any. */
  async login(auth: RegistryAuth, domain: string, signal: AbortSignal): Promise<string> {
    let failure: DaemonError | undefined;
    for (const endpoint of await this.endpoints(domain, 'push')) {
      const authority = new Authority({ transport: this.transport, endpoint, now: () => this.#clock.now() });
      const session = this.#session(endpoint, authority, '', auth, []);
      try {
        await withDeadline('login', CONNECT_MS, signal, (inner) => session.ping(inner));
        return authority.identityToken ?? '';
      } catch (thrown) {
        failure = transferError(thrown);
        if (failure.code !== 'unreachable') break;
      }
    }
    throw failure ?? notFound(`no endpoint for ${domain}`);
  }

  #authority(endpoint: Endpoint, auth: RegistryAuth | undefined): Authority {
    const key = `${endpoint.origin}${endpoint.prefix} ${fingerprint(auth)}`;
    const known = this.#authorities.get(key);
    if (known) return known;
    const made = new Authority({ transport: this.transport, endpoint, now: () => this.#clock.now() });
    this.#authorities.set(key, made);
    if (this.#authorities.size > MOST_AUTHORITIES) this.#authorities.delete(this.#authorities.keys().next().value!);
    return made;
  }

  close(): Promise<void> {
    return this.transport.close();
  }
}
