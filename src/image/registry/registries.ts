/** All registries the daemon talks to: their endpoints, what is known of their authorization, and the connections. */
import { createHash } from 'node:crypto';
import type { Config } from '../../config/config.ts';
import type { Clock } from '../../lib/clock.ts';
import type { RegistryAuth } from '../port.ts';
import type { Reference } from '../reference.ts';
import { Authority } from './auth.ts';
import { type Endpoint, endpointsOf, type EndpointSources } from './endpoints.ts';
import { RegistrySession } from './session.ts';
import { Transport, type TransportLimits } from './transport.ts';

export interface RegistryTuning {
  limits?: Partial<TransportLimits>;
  /** First pause before a retry. */
  backoffMs?: number;
  /** Folder with certificates by registry. */
  certificates?: string;
}

const BACKOFF_MS = 1000;
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
  #attempts: number;
  #backoffMs: number;

  constructor(deps: { config: Config; clock: Clock; tuning?: RegistryTuning }) {
    const { config, clock, tuning = {} } = deps;
    this.transport = new Transport({ userAgent: 'reactord', limits: tuning.limits });
    this.#sources = { config, certificates: tuning.certificates ?? CERTIFICATES };
    this.#clock = clock;
    this.#attempts = Math.max(1, config.maxDownloadAttempts);
    this.#backoffMs = tuning.backoffMs ?? BACKOFF_MS;
  }

  get retries(): { attempts: number; backoffMs: number; clock: Clock } {
    return { attempts: this.#attempts, backoffMs: this.#backoffMs, clock: this.#clock };
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
    return new RegistrySession({
      transport: this.transport,
      endpoint,
      authority: this.#authority(endpoint, own),
      repository,
      auth: own,
      scopes,
      ...this.retries,
    });
  }

  pullSession(endpoint: Endpoint, ref: Reference, auth: RegistryAuth | undefined): RegistrySession {
    return this.session(endpoint, ref.path, auth, [`repository:${ref.path}:pull`]);
  }

  authority(endpoint: Endpoint, auth: RegistryAuth | undefined): Authority {
    return this.#authority(endpoint, auth);
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
