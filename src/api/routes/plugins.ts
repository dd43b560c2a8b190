/** Managed plugins: there are none, and none can be added. */
import { notFound, notImplemented } from '../../errors.ts';
import { type Api, type ApiContext, filtersOf } from '../kit.ts';

const absent = (c: ApiContext): never => {
  throw notFound(`plugin "${c.req.param('name')}" not found`);
};

const refused = (): never => {
  throw notImplemented('managed plugins are not supported by this daemon');
};

export function pluginRoutes(api: Api): void {
  api.get('/plugins', (c) => {
    filtersOf(c, ['capability', 'enabled']);
    return c.json([]);
  });
  api.get('/plugins/privileges', refused);
  api.post('/plugins/pull', refused);
  api.post('/plugins/create', refused);
  api.get('/plugins/:name{.+}/json', absent);
  api.delete('/plugins/:name{.+}', absent);
  for (const verb of ['enable', 'disable', 'upgrade', 'push', 'set']) api.post(`/plugins/:name{.+}/${verb}`, absent);
}
