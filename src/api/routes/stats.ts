/** /containers/{name}/stats and top. */
import type { ContainerStats } from '../../stats/service.ts';
import { type Api, flag, jsonStream, text } from '../kit.ts';

export type StatsBackend = Pick<ContainerStats, 'once' | 'stream' | 'top'>;

export function statsRoutes(api: Api, stats: StatsBackend): void {
  api.get('/containers/:name{.+}/stats', async (c) => {
    const [name, gone] = [c.req.param('name'), c.get('gone')];
    if (flag(c, 'stream', true)) return jsonStream(c, stats.stream(name, gone), { separator: '\n' });
    return c.json(await stats.once(name, flag(c, 'one-shot'), gone));
  });

  api.get('/containers/:name{.+}/top', async (c) =>
    c.json(await stats.top(c.req.param('name'), text(c, 'ps_args') ?? '')),
  );
}
