/** /networks, and the explanation of who reaches whom. */
import { invalid } from '../../errors.ts';
import type { Reach } from '../../network/reach.ts';
import { LIST_FILTERS, type NetworkService, PRUNE_FILTERS } from '../../network/service.ts';
import { type Api, type Filters, filtersOf, flag, jsonBody, noContent, text } from '../kit.ts';

export interface NetworkRoutesService extends NetworkService {
  explainReach(from: string, to: string): Promise<Reach>;
}

const UNITS: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1e3, m: 60e3, h: 3600e3 };

/** The `until` filter: a Go duration back from now, seconds since the epoch, or a date. */
function untilOf(filters: Filters): number | undefined {
  const values = filters.get('until');
  if (!values) return undefined;
  const [value = ''] = values;
  if (values.length > 1) throw invalid('more than one until filter specified');
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value) * 1000;
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  if (parts.length && parts.map((part) => part[0]).join('') === value)
    return Date.now() - parts.reduce((sum, part) => sum + Number(part[1]) * UNITS[part[2]!]!, 0);
  const date = Date.parse(value);
  if (Number.isNaN(date)) throw invalid(`failed to parse value as time or duration: "${value}"`);
  return date;
}

/** Clients in other languages write null for what they leave out; the document was checked by its schema before. */
function withoutNulls<T>(document: unknown): T {
  if (Array.isArray(document)) return document.map((item) => withoutNulls(item)) as T;
  if (typeof document !== 'object' || document === null) return document as T;
  const present = Object.entries(document).filter(([, value]) => value !== null);
  return Object.fromEntries(present.map(([key, value]) => [key, withoutNulls(value)])) as T;
}

export function networksRoutes(api: Api, networks: NetworkRoutesService): void {
  api.get('/networks', (c) => c.json(networks.list(filtersOf(c, LIST_FILTERS))));

  api.post('/networks/create', async (c) =>
    c.json(await networks.create(withoutNulls(await jsonBody(c, 'network-create'))), 201),
  );

  api.post('/networks/prune', async (c) => {
    const filters = filtersOf(c, PRUNE_FILTERS);
    return c.json({ NetworksDeleted: await networks.prune(filters, untilOf(filters)) });
  });

  api.get('/networks/:name', (c) => c.json(networks.inspect(c.req.param('name'), { verbose: flag(c, 'verbose') })));

  api.delete('/networks/:name', async (c) => {
    await networks.remove(c.req.param('name'));
    return noContent(c);
  });

  api.post('/networks/:name/connect', async (c) => {
    const body = await jsonBody(c, 'network-connect');
    await networks.connect(c.req.param('name'), body.Container, withoutNulls(body.EndpointConfig ?? {}));
    return c.body(null, 200);
  });

  api.post('/networks/:name/disconnect', async (c) => {
    const body = await jsonBody(c, 'network-disconnect');
    await networks.disconnect(c.req.param('name'), body.Container, body.Force ?? false);
    return c.body(null, 200);
  });

  /** Why can a not reach b? Ours; for people and for the visualizer. */
  api.get('/reactord/reach', async (c) => {
    const [from, to] = [text(c, 'from'), text(c, 'to')];
    if (!from || !to) throw invalid('both from and to are needed: names or ids of running containers');
    return c.json(await networks.explainReach(from, to));
  });
}
