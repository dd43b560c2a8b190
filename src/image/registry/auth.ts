/**
 * Authorization for one registry and one user: basic, or bearer tokens by scope (the distribution token and OAuth2
 * protocols). Only challenges of the registry itself are met (CVE-2020-15157); the caller sees to that.
 */
import { unauthorized } from '../../errors.ts';
import type { RegistryAuth } from '../port.ts';
import { bestChallenge, type Challenge, parseChallenges } from './challenge.ts';
import type { Endpoint } from './endpoints.ts';
import { BrokenAnswer } from './failure.ts';
import { refusalOf } from './refusal.ts';
import { type Answer, readBody, type Transport } from './transport.ts';

export interface Credentials {
  auth: RegistryAuth | undefined;
  /** "repository:library/x:pull", sorted; empty for a login. */
  scopes: readonly string[];
}

interface Token {
  header: string;
  expires: number;
}

const TOKEN_BYTES = 1 << 20;
const CLIENT_ID = 'docker';
/** Tokens without a lifetime live this long (distribution token specification), and none is used in its last seconds. */
const SHORTEST_MS = 60_000;
const MARGIN_MS = 10_000;

export class Authority {
  #transport: Transport;
  #endpoint: Endpoint;
  #now: () => number;
  #challenge: Challenge | undefined;
  #tokens = new Map<string, Token>();
  /** A refresh token that a login gave us. */
  identityToken: string | undefined;

  constructor(deps: { transport: Transport; endpoint: Endpoint; now: () => number }) {
    this.#transport = deps.transport;
    this.#endpoint = deps.endpoint;
    this.#now = deps.now;
  }

  /** The header known to work now, without asking anybody. */
  header({ auth, scopes }: Credentials): string | undefined {
    if (this.#challenge?.scheme === 'basic') return basicHeader(auth);
    const token = this.#tokens.get(scopes.join(' '));
    return token && token.expires > this.#now() ? token.header : undefined;
  }

  /** Meets the challenge of a 401; undefined when there is nothing to meet it with. */
  async meet(answer: Answer, credentials: Credentials, signal: AbortSignal): Promise<string | undefined> {
    const challenge = bestChallenge(parseChallenges(answer.headers['www-authenticate']));
    if (!challenge) return undefined;
    this.#challenge = challenge;
    this.#tokens.delete(credentials.scopes.join(' '));
    return this.authorize(credentials, signal);
  }

  /** A header for these scopes, fetched when none is known. Needs a challenge met before. */
  async authorize(credentials: Credentials, signal: AbortSignal): Promise<string | undefined> {
    const known = this.header(credentials);
    if (known || !this.#challenge) return known;
    if (this.#challenge.scheme === 'basic') return undefined;
    const { auth, scopes } = credentials;
    if (auth?.registrytoken) return `Bearer ${auth.registrytoken}`;
    const token = await this.#fetch(this.#challenge, auth, scopes, signal);
    for (const [scope, { expires }] of this.#tokens) if (expires <= this.#now()) this.#tokens.delete(scope);
    this.#tokens.set(scopes.join(' '), token);
    return token.header;
  }

  async #fetch(
    { parameters }: Challenge,
    auth: RegistryAuth | undefined,
    scopes: readonly string[],
    signal: AbortSignal,
  ): Promise<Token> {
    const realm = this.#realm(parameters.realm);
    const answer = auth?.identitytoken
      ? await this.#oauth(realm, parameters.service, scopes, auth.identitytoken, signal)
      : await this.#token(realm, parameters.service, scopes, auth, signal);
    if (answer.status !== 200) {
      const refusal = await refusalOf(answer, this.#now());
      if (refusal.status !== 401) throw refusal;
      throw unauthorized(auth ? 'unauthorized: incorrect username or password' : `unauthorized: ${refusal.message}`, {
        cause: refusal,
        code: 'unauthorized',
      });
    }
    return this.#read(answer);
  }

  /** Where tokens come from: HTTPS, unless the registry itself is insecure. */
  #realm(text: string | undefined): URL {
    if (!text || !URL.canParse(text))
      throw new BrokenAnswer(`no valid token realm in the challenge of ${this.#endpoint.origin}`);
    const realm = new URL(text);
    if (
      realm.protocol !== 'https:' &&
      !(realm.protocol === 'http:' && (this.#endpoint.insecure || this.#endpoint.origin.startsWith('http:')))
    )
      throw new BrokenAnswer(`token realm ${realm.origin} of ${this.#endpoint.origin} is not HTTPS: refused`);
    return realm;
  }

  /** The realm is a host of its own: its requests start there, so that redirects from it lose the password too. */
  #at(realm: URL): Endpoint {
    const tls = realm.origin === this.#endpoint.origin ? this.#endpoint.tls : { ca: this.#endpoint.tls.ca };
    return { ...this.#endpoint, origin: realm.origin, prefix: '', tls };
  }

  #token(
    realm: URL,
    service: string | undefined,
    scopes: readonly string[],
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ) {
    const url = new URL(realm);
    if (service) url.searchParams.set('service', service);
    for (const scope of scopes) url.searchParams.append('scope', scope);
    const authorization = basicHeader(auth);
    if (authorization) {
      url.searchParams.set('account', auth!.username!);
      url.searchParams.set('client_id', CLIENT_ID);
      if (scopes.length === 0) url.searchParams.set('offline_token', 'true');
    }
    const headers = authorization ? { authorization } : undefined;
    return this.#transport.send(this.#at(realm), { method: 'GET', url, headers, signal });
  }

  #oauth(realm: URL, service: string | undefined, scopes: readonly string[], refresh: string, signal: AbortSignal) {
    const form = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refresh, client_id: CLIENT_ID });
    if (service) form.set('service', service);
    if (scopes.length) form.set('scope', scopes.join(' '));
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return this.#transport.send(this.#at(realm), {
      method: 'POST',
      url: realm,
      headers,
      body: form.toString(),
      signal,
    });
  }

  async #read(answer: Answer): Promise<Token> {
    let document: Record<string, unknown>;
    try {
      document = JSON.parse((await readBody(answer, TOKEN_BYTES)).toString()) as Record<string, unknown>;
    } catch (error) {
      if (error instanceof SyntaxError)
        throw new BrokenAnswer(`the token server ${answer.url.origin} did not send JSON`);
      throw error;
    }
    const token = document.token ?? document.access_token;
    if (typeof token !== 'string' || !token)
      throw new BrokenAnswer('authorization server did not include a token in the response');
    if (typeof document.refresh_token === 'string') this.identityToken = document.refresh_token;
    const seconds = typeof document.expires_in === 'number' ? document.expires_in : 0;
    const lifetime = Math.max(seconds * 1000, SHORTEST_MS);
    return { header: `Bearer ${token}`, expires: this.#now() + lifetime - MARGIN_MS };
  }
}

function basicHeader(auth: RegistryAuth | undefined): string | undefined {
  if (!auth?.username) return undefined;
  return `Basic ${Buffer.from(`${auth.username}:${auth.password ?? ''}`).toString('base64')}`;
}
