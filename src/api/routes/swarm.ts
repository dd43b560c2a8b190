/** Swarm's addresses, as a daemon answers them that is in no swarm. */
import { notImplemented, unavailable } from '../../errors.ts';
import type { Api } from '../kit.ts';

const NOT_A_MANAGER =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

export function swarmRoutes(api: Api): void {
  for (const path of ['/swarm/init', '/swarm/join'])
    api.post(path, () => {
      throw notImplemented('swarm mode is not supported by this daemon');
    });
  api.post('/swarm/leave', () => {
    throw unavailable('This node is not part of a swarm');
  });
  for (const kind of ['swarm', 'nodes', 'services', 'tasks', 'secrets', 'configs'])
    for (const path of [`/${kind}`, `/${kind}/*`])
      api.all(path, () => {
        throw unavailable(NOT_A_MANAGER);
      });
}
