/** Search in the index of a registry (the v1 search that Docker Hub answers). */
import { invalid } from '../../errors.ts';
import { withDeadline } from '../../lib/deadline.ts';
import type { RegistryAuth } from '../port.ts';
import type { Endpoint } from './endpoints.ts';
import { BrokenAnswer } from './failure.ts';
import { refusalOf } from './refusal.ts';
import type { Registries } from './registries.ts';
import { readBody } from './transport.ts';
import { transferError } from './wording.ts';

export interface SearchOptions {
  limit?: number;
  official?: boolean;
  automated?: boolean;
  stars?: number;
  auth?: RegistryAuth;
  signal: AbortSignal;
}

export interface SearchResult {
  star_count: number;
  is_official: boolean;
  name: string;
  is_automated: boolean;
  description: string;
}

const DEFAULT_LIMIT = 25;
const MOST = 100;
const SEARCH_MS = 30_000;
const BYTES = 4 << 20;
const INDEX = 'index.docker.io';

/** A term may begin with a registry, as a reference does. */
function placeOf(term: string): { host: string; query: string } {
  const slash = term.indexOf('/');
  const first = slash < 0 ? '' : term.slice(0, slash);
  const isHost = /[.:]/.test(first) || first === 'localhost';
  if (!isHost || first === 'docker.io' || first === INDEX)
    return { host: INDEX, query: (isHost ? term.slice(slash + 1) : term).replace(/^library\//, '') };
  return { host: first, query: term.slice(slash + 1) };
}

export async function search(registries: Registries, term: string, options: SearchOptions): Promise<SearchResult[]> {
  const limit = options.limit || DEFAULT_LIMIT;
  if (limit < 0 || limit > MOST) throw invalid(`limit ${limit} is outside the range of [1, 100]`);
  if (term.includes('://')) throw invalid(`invalid repository name (ex: "registry.domain.tld/myrepos")`);
  const { host, query } = placeOf(term);
  try {
    const results = await withDeadline('search', SEARCH_MS, options.signal, async (signal) => {
      let failure: unknown;
      for (const endpoint of await registries.endpoints(host, 'push')) {
        try {
          return await ask(registries, endpoint, query, limit, options.auth, signal);
        } catch (thrown) {
          failure = thrown;
          if (transferError(thrown).code !== 'unreachable') break;
        }
      }
      throw failure;
    });
    return results.filter((result) => wanted(result, options)).slice(0, limit);
  } catch (thrown) {
    throw transferError(thrown);
  }
}

const wanted = (result: SearchResult, { official, automated, stars }: SearchOptions): boolean =>
  (official === undefined || result.is_official === official) &&
  (automated === undefined || result.is_automated === automated) &&
  (stars === undefined || result.star_count >= stars);

async function ask(
  { transport }: Registries,
  endpoint: Endpoint,
  query: string,
  limit: number,
  auth: RegistryAuth | undefined,
  signal: AbortSignal,
): Promise<SearchResult[]> {
  const url = new URL(`${endpoint.origin}/v1/search`);
  url.searchParams.set('q', query);
  url.searchParams.set('n', String(limit));
  const password = auth?.username ? `${auth.username}:${auth.password ?? ''}` : undefined;
  const headers = {
    'x-docker-token': 'true',
    ...(password ? { authorization: `Basic ${Buffer.from(password).toString('base64')}` } : {}),
  };
  const answer = await transport.send(endpoint, { method: 'GET', url, headers, signal });
  if (answer.status !== 200) throw await refusalOf(answer, Date.now());
  const bytes = await readBody(answer, BYTES);
  try {
    const { results } = JSON.parse(bytes.toString()) as { results: Partial<SearchResult>[] };
    return results.map((result) => ({
      star_count: Number(result.star_count) || 0,
      is_official: Boolean(result.is_official),
      name: String(result.name ?? ''),
      is_automated: Boolean(result.is_automated),
      description: String(result.description ?? ''),
    }));
  } catch {
    throw new BrokenAnswer(`${endpoint.origin} did not send search results`);
  }
}
