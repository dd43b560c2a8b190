/** Sessions of clients: connections on which the daemon is the one that calls (files, credentials, secrets, agents). */
import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import { invalid, unavailable } from '../../errors.ts';
import { Health } from '../../generated/proto/buildkit/health_pb.ts';
import type { Clock } from '../../lib/clock.ts';
import { GrpcClient } from '../grpc/client.ts';

export interface Session {
  id: string;
  /** The same for all sessions of one client with one directory; '' when it does not say. */
  sharedKey: string;
  client: GrpcClient;
  supports(service: string, method: string): boolean;
}

const WAIT_MS = 20_000;
const HEALTH_EVERY_MS = 10_000;
const HEALTH_DEADLINE_MS = 60_000;

const listOf = (headers: IncomingHttpHeaders, name: string): string[] => {
  const value = headers[name];
  return (Array.isArray(value) ? value : (value ?? '').split(',')).map((one) => one.trim()).filter(Boolean);
};

export class Sessions {
  #sessions = new Map<string, Session>();
  #waiting = new Map<string, Set<(session: Session) => void>>();
  #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes a connection whose other end serves; resolves when it closed. */
  async serve(connection: Duplex, headers: IncomingHttpHeaders): Promise<void> {
    const id = listOf(headers, 'x-docker-expose-session-uuid')[0];
    if (!id) throw invalid('the session has no id');
    const methods = new Set(
      listOf(headers, 'x-docker-expose-session-grpc-method').map((method) => method.toLowerCase()),
    );
    const client = new GrpcClient(connection);
    const session: Session = {
      id,
      sharedKey: listOf(headers, 'x-docker-expose-session-sharedkey')[0] ?? '',
      client,
      supports: (service, method) => methods.has(`/${service}/${method}`.toLowerCase()),
    };
    this.#sessions.set(id, session);
    for (const tell of this.#waiting.get(id) ?? []) tell(session);
    this.#waiting.delete(id);
    const stopWatching = this.#watch(session);
    await client.closed;
    stopWatching();
    if (this.#sessions.get(id) === session) this.#sessions.delete(id);
  }

  /** A client that hangs must not hold its builds for ever. */
  #watch({ client, supports }: Session): () => void {
    const { check } = Health.method;
    if (!supports(Health.typeName, check.name)) return () => {};
    let cancel = (): void => {};
    const next = (): void => {
      cancel = this.#clock.after(HEALTH_EVERY_MS, () => {
        client.unary(check, { service: '' }, { deadline: HEALTH_DEADLINE_MS }).then(next, () => client.close());
      });
    };
    next();
    return () => cancel();
  }

  /** The session of this id; it may come a little later than the build that names it. */
  async get(id: string, signal: AbortSignal): Promise<Session> {
    const name = id.includes(':') ? id.slice(id.indexOf(':') + 1) : id;
    const known = this.#sessions.get(name);
    if (known) return known;
    return new Promise<Session>((resolve, reject) => {
      const waiting = this.#waiting.get(name) ?? new Set();
      this.#waiting.set(name, waiting);
      const settle = (act: () => void): void => {
        cancel();
        signal.removeEventListener('abort', onAbort);
        waiting.delete(tell);
        if (!waiting.size && this.#waiting.get(name) === waiting) this.#waiting.delete(name);
        act();
      };
      const tell = (session: Session): void => settle(() => resolve(session));
      const fail = (): void => settle(() => reject(unavailable(`no active session for ${name}`)));
      const onAbort = fail;
      const cancel = this.#clock.after(WAIT_MS, fail);
      signal.addEventListener('abort', onAbort, { once: true });
      waiting.add(tell);
    });
  }

  close(): void {
    for (const { client } of this.#sessions.values()) client.close();
  }
}
