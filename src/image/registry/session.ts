/**
 * One repository at one endpoint, spoken to as one user: the reading half of the distribution specification, and `call`
 * for the writing half. Everything read is bounded and checked against its digest.
 */
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { unauthorized } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import type { RegistryAuth } from '../port.ts';
import { ACCEPT_MANIFESTS, isForeign } from '../manifest.ts';
import { isDigest } from '../reference.ts';
import type { Descriptor } from '../store-port.ts';
import type { Authority } from './auth.ts';
import type { Endpoint } from './endpoints.ts';
import { BrokenAnswer, RegistryRefusal } from './failure.ts';
import { refusalOf } from './refusal.ts';
import { withRetries } from './retry.ts';
import { type Answer, discard, type Exchange, placeOf, readBody, requestText, type Transport } from './transport.ts';

export interface SessionOptions {
  transport: Transport;
  endpoint: Endpoint;
  authority: Authority;
  /** "library/x". */
  repository: string;
  auth: RegistryAuth | undefined;
  scopes: readonly string[];
  clock: Clock;
  attempts: number;
  backoffMs: number;
}

export interface Call {
  headers?: Record<string, string>;
  /** Called for each try. */
  body?: () => string | Uint8Array | Readable;
  signal: AbortSignal;
}

export interface OpenBlob {
  body: Readable;
  /** Of the body's first byte. */
  offset: number;
}

export interface ReceivedManifest {
  bytes: Buffer;
  descriptor: Descriptor;
}

const MANIFEST_BYTES = 4 << 20;
const CONFIG_BYTES = 8 << 20;
const TAGS_BYTES = 8 << 20;
const MOST_TAG_PAGES = 100;
/** Somebody waits for these, so that a rate limit is told soon. */
const DOCUMENT_ATTEMPTS = 3;

export const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export class RegistrySession {
  readonly endpoint: Endpoint;
  readonly repository: string;
  #options: SessionOptions;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.endpoint = options.endpoint;
    this.repository = options.repository;
  }

  /** A URL below the repository: "manifests/latest". */
  url(path: string): URL {
    return new URL(`${this.endpoint.origin}${this.endpoint.prefix}/v2/${this.repository}/${path}`);
  }

  /** Sends with authorization, meeting the registry's challenge once. Throws a refusal for statuses from 400 on. */
  async call(method: Exchange['method'], url: URL, call: Call): Promise<Answer> {
    const { transport, authority, auth, scopes, clock } = this.#options;
    let authorization = await authority.authorize({ auth, scopes }, call.signal);
    for (let met = false; ; met = true) {
      const headers = { ...call.headers, ...(authorization ? { authorization } : {}) };
      const answer = await transport.send(this.endpoint, {
        method,
        url,
        headers,
        body: call.body?.(),
        signal: call.signal,
      });
      if (answer.status < 400) return answer;
      if (answer.status === 401 && answer.url.origin === this.endpoint.origin && !met) {
        authorization = await authority.meet(answer, { auth, scopes }, call.signal);
        if (authorization) {
          discard(answer.body);
          continue;
        }
      }
      const refusal = await refusalOf(answer, clock.now());
      if (refusal.status !== 401) throw refusal;
      const known = auth?.username || auth?.identitytoken || auth?.registrytoken;
      const why = known ? refusal.message : 'no basic auth credentials';
      throw unauthorized(`${requestText(method, url)}: ${why}`, { cause: refusal, code: 'unauthorized' });
    }
  }

  /** Finds out whether the endpoint is a registry and lets us in: GET /v2/. */
  async ping(signal: AbortSignal): Promise<void> {
    const url = new URL(`${this.endpoint.origin}${this.endpoint.prefix}/v2/`);
    const answer = await this.call('GET', url, { signal });
    discard(answer.body);
  }

  #read<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const { backoffMs, clock } = this.#options;
    const attempts = Math.min(this.#options.attempts, DOCUMENT_ATTEMPTS);
    return withRetries({ attempts, backoffMs, clock, signal }, work);
  }

  async manifest(tagOrDigest: string, signal: AbortSignal): Promise<ReceivedManifest> {
    return this.#read(signal, async () => {
      const url = this.url(`manifests/${tagOrDigest}`);
      const answer = await this.call('GET', url, { headers: { accept: ACCEPT_MANIFESTS }, signal });
      const mediaType = contentType(answer);
      if (mediaType === 'text/html') {
        discard(answer.body);
        throw new BrokenAnswer(
          `${requestText('GET', url)}: expected a manifest but received text/html (is this a registry?)`,
        );
      }
      const bytes = await readBody(answer, MANIFEST_BYTES);
      const digest = sha256(bytes);
      for (const expected of [tagOrDigest, answer.headers['docker-content-digest']])
        if (typeof expected === 'string' && expected.startsWith('sha256:') && expected !== digest)
          throw new BrokenAnswer(`manifest verification failed for digest ${expected}`);
      return { bytes, descriptor: { mediaType, digest, size: bytes.length } };
    });
  }

  /** The digest a tag has now, without its content; undefined when the registry does not say. */
  async resolve(tagOrDigest: string, signal: AbortSignal): Promise<Omit<Descriptor, 'size'> | undefined> {
    const answer = await this.call('HEAD', this.url(`manifests/${tagOrDigest}`), {
      headers: { accept: ACCEPT_MANIFESTS },
      signal,
    });
    discard(answer.body);
    const digest = answer.headers['docker-content-digest'];
    return typeof digest === 'string' && isDigest(digest) ? { mediaType: contentType(answer), digest } : undefined;
  }

  /** A blob small enough for memory, such as a config. */
  async document({ digest, size }: Descriptor, signal: AbortSignal): Promise<Buffer> {
    if (size > CONFIG_BYTES) throw new BrokenAnswer(`${digest} is larger than ${CONFIG_BYTES} bytes`);
    return this.#read(signal, async () => {
      const bytes = await readBody(await this.call('GET', this.url(`blobs/${digest}`), { signal }), size);
      if (bytes.length !== size || sha256(bytes) !== digest)
        throw new BrokenAnswer(`image config verification failed for digest ${digest}`);
      return bytes;
    });
  }

  /**
   * A blob from `offset` on. A registry that knows no ranges answers from the start; `offset` in the answer tells. A foreign
   * layer that is not here is fetched from where its descriptor says, without credentials.
   */
  async open(blob: Descriptor, offset: number, signal: AbortSignal): Promise<OpenBlob> {
    const home = this.url(`blobs/${blob.digest}`);
    const elsewhere = isForeign(blob.mediaType) ? (blob.urls ?? []) : [];
    try {
      return await this.#open(home, offset, signal);
    } catch (thrown) {
      if (!elsewhere.length || !(thrown instanceof RegistryRefusal) || thrown.status !== 404) throw thrown;
    }
    for (const [position, place] of elsewhere.entries()) {
      try {
        return await this.#open(placeOf(this.endpoint, home, place), offset, signal);
      } catch (thrown) {
        if (signal.aborted || position === elsewhere.length - 1) throw thrown;
      }
    }
    throw new BrokenAnswer(`${blob.digest} is nowhere to be had`);
  }

  async #open(url: URL, offset: number, signal: AbortSignal): Promise<OpenBlob> {
    const headers = offset > 0 ? { range: `bytes=${offset}-` } : undefined;
    const answer = await this.call('GET', url, { headers, signal });
    if (answer.status !== 200 && answer.status !== 206) {
      discard(answer.body);
      throw new RegistryRefusal(answer.status, '', `received unexpected HTTP status: ${answer.status}`);
    }
    if (answer.status === 200) return { body: answer.body, offset: 0 };
    const from = /^bytes (\d+)-/.exec(String(answer.headers['content-range']))?.[1];
    if (Number(from) === offset) return { body: answer.body, offset };
    discard(answer.body);
    throw new BrokenAnswer(`${requestText('GET', url)}: the answer is another range than the one asked for`);
  }

  async tags(signal: AbortSignal): Promise<string[]> {
    const tags: string[] = [];
    let url: URL | undefined = this.url('tags/list');
    for (let page = 0; url && page < MOST_TAG_PAGES; page++) {
      const from: URL = url;
      const answer = await this.#read(signal, () => this.call('GET', from, { signal }));
      const document = parseTags(await readBody(answer, TAGS_BYTES));
      tags.push(...document);
      const next: string | undefined = /<([^>]+)>\s*;\s*rel="?next"?/.exec(String(answer.headers.link ?? ''))?.[1];
      url = next && URL.canParse(next, from) ? new URL(next, from) : undefined;
      if (url && url.origin !== this.endpoint.origin) url = undefined;
    }
    return tags;
  }
}

const contentType = (answer: Answer): string =>
  String(answer.headers['content-type'] ?? '')
    .split(';')[0]!
    .trim()
    .toLowerCase();

function parseTags(bytes: Buffer): string[] {
  try {
    const { tags } = JSON.parse(bytes.toString()) as { tags?: unknown };
    if (tags === null || tags === undefined) return [];
    if (Array.isArray(tags)) return tags.filter((tag): tag is string => typeof tag === 'string');
  } catch {
    // Falls through: it is no list of tags either way.
  }
  throw new BrokenAnswer('the registry did not send a list of tags');
}
