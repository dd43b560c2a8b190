/** Questions a second. */
import { Agent, request } from 'node:http';
import type { Case } from '../case.ts';
import type { Peer } from '../peers.ts';
import { created, many, milliseconds, remove, removeAll } from '../work.ts';

/** Requests a second over kept connections, four at a time for two seconds. */
async function throughput(peer: Peer, path: string): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const once = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const call = request({ socketPath: peer.socket, path, agent }, (answer) => {
        answer.resume();
        answer.on('end', resolve);
      });
      call.on('error', reject);
      call.end();
    });
  for (let i = 0; i < 20; i++) await once();
  let count = 0;
  const end = Date.now() + 2000;
  const elapsed = await milliseconds(() =>
    Promise.all(
      Array.from({ length: 4 }, async () => {
        for (; Date.now() < end; count++) await once();
      }),
    ),
  );
  agent.destroy();
  return (count * 1000) / elapsed;
}

export const readCases: Case[] = [
  {
    name: 'list 100 containers',
    unit: '/s',
    rate: true,
    goal: '≥ 5 ×',
    async measure(peer) {
      const ids = await many(peer, 100);
      const rate = await throughput(peer, '/containers/json?all=1');
      await removeAll(peer, ids);
      return rate;
    },
  },
  {
    name: 'inspect',
    unit: '/s',
    rate: true,
    goal: '≥ 1.2 ×',
    async measure(peer) {
      const id = await created(peer);
      const rate = await throughput(peer, `/containers/${id}/json`);
      await remove(peer, id);
      return rate;
    },
  },
  { name: '_ping', unit: '/s', rate: true, goal: '≥ 1.2 ×', measure: (peer) => throughput(peer, '/_ping') },
  { name: 'version', unit: '/s', rate: true, goal: '≥ 20 ×', measure: (peer) => throughput(peer, '/version') },
  { name: 'info', unit: '/s', rate: true, goal: '≥ 3 ×', measure: (peer) => throughput(peer, '/info') },
];
