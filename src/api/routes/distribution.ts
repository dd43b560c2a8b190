/** GET /distribution/{name}/json: what a reference means at its registry. */
import type { Transfers } from '../../image/transfers.ts';
import { type Api, registryAuth } from '../kit.ts';

export function distributionRoutes(api: Api, transfers: Pick<Transfers, 'distribution'>): void {
  api.get('/distribution/:name{.+}/json', async (c) =>
    c.json(await transfers.distribution(c.req.param('name'), registryAuth(c), c.get('gone'))),
  );
}
