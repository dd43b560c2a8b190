/**
 * HTTP to registries over undici: one pool of connections for each endpoint's trust, loaded at the first use. Follows
 * redirects of reads itself, so that credentials and client certificates never reach another host.
 */
import { createSecureContext, getCACertificates, rootCertificates } from 'node:tls';
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { cancelled, DaemonError } from '../../errors.ts';
import type { Endpoint } from './endpoints.ts';
import { BrokenAnswer, connectionFailure } from './failure.ts';

export interface Exchange {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  url: URL;
  headers?: Record<string, string>;
  body?: string | Uint8Array | Readable;
  signal: AbortSignal;
}

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  /** Must be read or destroyed. */
  body: Readable;
  /** Where the answer came from after redirects. */
  url: URL;
}

export interface TransportLimits {
  connectMs: number;
  /** Until the first byte of an answer. */
  headersMs: number;
  /** Between two pieces of a body; a stalled transfer ends after it. */
  stallMs: number;
}

const LIMITS: TransportLimits = { connectMs: 15_000, headersMs: 60_000, stallMs: 60_000 };
const MOST_REDIRECTS = 10;
const CONNECTIONS = 16;
const SHORT_BODY = 16 << 10;
/** Read ahead of whoever consumes a body; what piled up comes as one piece. */
const BODY_BUFFER = 1 << 20;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

export const requestText = (method: string, url: URL): string =>
  `${method[0]}${method.slice(1).toLowerCase()} "${url.origin}${url.pathname}"`;

const isLoopback = (hostname: string): boolean => /^(?:localhost|127\.[\d.]+|\[::1\])$/.test(hostname);

export class Transport {
  #pools = new Map<string, Dispatcher>();
  #roots: string[] | undefined;
  #limits: TransportLimits;
  #userAgent: string;

  constructor(options: { userAgent: string; limits?: Partial<TransportLimits> }) {
    this.#limits = { ...LIMITS, ...options.limits };
    this.#userAgent = options.userAgent;
  }

  /** Sends, and follows redirects of GET and HEAD. Answers of any status resolve. */
  async send(endpoint: Endpoint, exchange: Exchange): Promise<Answer> {
    let { url } = exchange;
    for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
      const answer = await this.#once(endpoint, { ...exchange, url });
      const location = answer.headers.location;
      const readsOnly = exchange.method === 'GET' || exchange.method === 'HEAD';
      if (!readsOnly || !REDIRECTS.has(answer.status) || typeof location !== 'string') return answer;
      discard(answer.body);
      url = placeOf(endpoint, url, location);
    }
    throw new BrokenAnswer(`${requestText(exchange.method, exchange.url)}: stopped after ${MOST_REDIRECTS} redirects`);
  }

  async #once(endpoint: Endpoint, exchange: Exchange): Promise<Answer> {
    const { method, url, signal, body } = exchange;
    const home = url.origin === endpoint.origin;
    const { authorization, ...others } = exchange.headers ?? {};
    const headers = { 'user-agent': this.#userAgent, ...others, ...(home && authorization ? { authorization } : {}) };
    const dispatcher = await this.#pool(endpoint, url, home);
    try {
      const path = `${url.pathname}${url.search}`;
      const answer = await dispatcher.request({
        origin: url.origin,
        path,
        method,
        headers,
        signal,
        body: body ?? null,
        highWaterMark: BODY_BUFFER,
      });
      return { status: answer.statusCode, headers: answer.headers, body: answer.body, url };
    } catch (thrown) {
      if (signal.aborted) throw signal.reason instanceof Error ? signal.reason : cancelled('the request was cancelled');
      throw connectionFailure(requestText(method, url), thrown);
    }
  }

  async #pool(endpoint: Endpoint, url: URL, home: boolean): Promise<Dispatcher> {
    const { ca, cert, key } = endpoint.tls;
    const own = home && cert ? { cert, key } : {};
    const proxied = !isLoopback(url.hostname) && hasProxy();
    const name = JSON.stringify([url.protocol, endpoint.insecure, ca, own, proxied]);
    const pool = this.#pools.get(name);
    if (pool) return pool;
    // By its default export: a bundle gives a CommonJS module no others.
    const { Agent, EnvHttpProxyAgent } = (await import('undici')).default;
    // Reading the authorities of the world takes a while: not for one whose certificate is not looked at.
    const trusted = (): string[] => (endpoint.insecure ? [] : [...this.#authorities(), ...ca]);
    const tls =
      url.protocol === 'https:'
        ? { secureContext: createSecureContext({ ca: trusted(), ...own }), rejectUnauthorized: !endpoint.insecure }
        : {};
    const options = {
      connect: { timeout: this.#limits.connectMs, ...tls },
      connections: CONNECTIONS,
      headersTimeout: this.#limits.headersMs,
      bodyTimeout: this.#limits.stallMs,
    };
    const made = proxied ? new EnvHttpProxyAgent({ ...options, requestTls: tls }) : new Agent(options);
    const raced = this.#pools.get(name);
    if (raced) return raced;
    this.#pools.set(name, made);
    return made;
  }

  #authorities(): string[] {
    if (!this.#roots) {
      const system = getCACertificates('system');
      this.#roots = system.length ? system : [...rootCertificates];
    }
    return this.#roots;
  }

  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }
}

/** Where a Location header leads. Never from HTTPS to plain HTTP, unless the registry is an insecure one. */
export function placeOf(endpoint: Endpoint, from: URL, location: unknown): URL {
  if (typeof location !== 'string' || !URL.canParse(location, from))
    throw new BrokenAnswer(`${requestText('GET', from)}: no valid Location in the answer`);
  const to = new URL(location, from);
  const plain = to.protocol === 'http:' && (from.protocol === 'http:' || endpoint.insecure);
  if (to.protocol !== 'https:' && !plain)
    throw new BrokenAnswer(`${requestText('GET', from)}: redirect from ${from.protocol}// to ${to.protocol}// refused`);
  return to;
}

const hasProxy = (): boolean =>
  ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy'].some((name) => Boolean(process.env[name]));

/** Lets go of a body nobody reads; a short one is read to its end, which keeps the connection. */
export function discard(body: Readable & { dump?(options: { limit: number }): Promise<void> }): void {
  body.on('error', () => {});
  if (body.dump && !body.readableDidRead) body.dump({ limit: SHORT_BODY }).catch(() => body.destroy());
  else body.destroy();
}

/** A whole body of at most `limit` bytes. */
export async function readBody(
  answer: Answer,
  limit: number,
  request = requestText('GET', answer.url),
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > limit) throw new BrokenAnswer(`${request}: the answer is larger than ${limit} bytes`);
      chunks.push(chunk);
    }
  } catch (thrown) {
    discard(answer.body);
    if (thrown instanceof BrokenAnswer || thrown instanceof DaemonError) throw thrown;
    throw connectionFailure(request, thrown);
  }
  return Buffer.concat(chunks);
}
