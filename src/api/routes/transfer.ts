/** Pull, push, login and search. `POST /images/create` without `fromImage` is an import, which others answer. */
import { invalid } from '../../errors.ts';
import { Lines } from '../../image/pull/lines.ts';
import { canonical, parseReference, isNameOnly, withTagOrDigest } from '../../image/reference.ts';
import type { RegistryAuth } from '../../image/port.ts';
import type { Transfers } from '../../image/transfers.ts';
import {
  type Api,
  type ApiContext,
  type Filters,
  filtersOf,
  integer,
  jsonBody,
  jsonStream,
  registryAuth,
  text,
} from '../kit.ts';
import { ociPlatform } from '../platform.ts';

/** Streams what a transfer says; what fails before it said anything is an HTTP error. */
async function streamed(
  c: ApiContext,
  transfer: (options: { signal: AbortSignal; onProgress: (line: object) => void }) => Promise<unknown>,
): Promise<Response> {
  const left = new AbortController();
  const lines = new Lines(() => left.abort());
  const signal = AbortSignal.any([left.signal, c.get('gone')]);
  transfer({ signal, onProgress: (line) => lines.push(line) }).then(
    () => lines.end(),
    (error: unknown) => lines.end(error),
  );
  await lines.first();
  return jsonStream(c, lines);
}

function pull(c: ApiContext, transfers: Transfers): Promise<Response> {
  const image = text(c, 'fromImage')!.replace(/:$/, '');
  const tag = text(c, 'tag');
  const named = parseReference(image);
  const ref = tag ? withTagOrDigest(named, tag) : named;
  const auth = registryAuth(c);
  const platform = text(c, 'platform');
  return streamed(c, (progress) =>
    isNameOnly(ref)
      ? transfers.pullAll(ref, { ...progress, auth, platform })
      : transfers.pull(canonical(ref), { ...progress, auth, platform }),
  );
}

function push(c: ApiContext, transfers: Transfers): Promise<Response> {
  const named = parseReference(c.req.param('name')!);
  const tag = text(c, 'tag');
  const ref = tag ? withTagOrDigest(named, tag) : named;
  const [auth, platform] = [registryAuth(c), ociPlatform(c)];
  return streamed(c, (progress) => transfers.push(canonical(ref), { ...progress, auth, platform }));
}

const onlyBoolean = (filters: Filters, key: string): boolean | undefined => {
  const value = filters.get(key)?.[0]?.toLowerCase();
  if (value === undefined) return undefined;
  if (value === 'true' || value === '1') return true;
  if (value === 'false' || value === '0') return false;
  throw invalid(`invalid filter '${key}=[${value}]'`);
};

function starsOf(filters: Filters): number | undefined {
  const values = filters.get('stars') ?? [];
  const odd = values.find((value) => !/^\d+$/.test(value));
  if (odd !== undefined) throw invalid(`invalid filter 'stars=${odd}'`);
  return values.length ? Math.max(...values.map(Number)) : undefined;
}

export function transferRoutes(api: Api, transfers: Transfers): void {
  api.post('/images/create', (c, next) => (text(c, 'fromImage') ? pull(c, transfers) : next()));
  api.post('/images/:name{.+}/push', (c) => push(c, transfers));
  api.get('/images/search', async (c) => {
    const filters = filtersOf(c, ['is-automated', 'is-official', 'stars']);
    const results = await transfers.search(text(c, 'term') ?? '', {
      limit: integer(c, 'limit'),
      official: onlyBoolean(filters, 'is-official'),
      automated: onlyBoolean(filters, 'is-automated'),
      stars: starsOf(filters),
      auth: registryAuth(c),
      signal: c.get('gone'),
    });
    return c.json(results);
  });
  api.post('/auth', async (c) => c.json(await transfers.login(await jsonBody<RegistryAuth>(c), c.get('gone'))));
}
