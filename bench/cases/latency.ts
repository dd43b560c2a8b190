/** How long one thing takes. */
import type { Case } from '../case.ts';
import { created, many, medianOf, milliseconds, remove, removeAll, start } from '../work.ts';

export const latencyCases: Case[] = [
  {
    name: 'run --rm, bridge',
    unit: 'ms',
    goal: '≤ 0.40',
    measure: (peer) => medianOf(5, () => peer.docker('run', '--rm', peer.image, 'true')),
  },
  {
    name: 'run --rm, host network',
    unit: 'ms',
    goal: '≤ 0.50',
    measure: (peer) => medianOf(5, () => peer.docker('run', '--rm', '--network', 'host', peer.image, 'true')),
  },
  {
    name: 'create + start, bridge',
    unit: 'ms',
    goal: '≤ 0.55',
    async measure(peer) {
      const ids: string[] = [];
      const time = await medianOf(5, async () => {
        const id = await created(peer);
        ids.push(id);
        await start(peer, id);
      });
      await removeAll(peer, ids);
      return time;
    },
  },
  {
    name: 'starts, 8 at once',
    unit: '/s',
    rate: true,
    goal: '≥ 2.2 ×',
    async measure(peer) {
      const ids = await many(peer, 24);
      const queue = [...ids];
      const elapsed = await milliseconds(() =>
        Promise.all(
          Array.from({ length: 8 }, async () => {
            for (let id = queue.pop(); id; id = queue.pop()) await start(peer, id);
          }),
        ),
      );
      await removeAll(peer, ids);
      return (ids.length * 1000) / elapsed;
    },
  },
  {
    name: 'exec true (CLI)',
    unit: 'ms',
    goal: '≤ 0.60',
    async measure(peer) {
      const id = await created(peer);
      await start(peer, id);
      const time = await medianOf(7, () => peer.docker('exec', id, 'true'));
      await remove(peer, id);
      return time;
    },
  },
  {
    name: 'publish 100 ports',
    unit: 'ms',
    goal: '≤ 0.10',
    async measure(peer) {
      const numbers = Array.from({ length: 100 }, (_, i) => i + 1);
      const exposed = Object.fromEntries(numbers.map((port) => [`${port}/tcp`, {}]));
      const bindings = Object.fromEntries(
        numbers.map((port) => [`${port}/tcp`, [{ HostPort: String(20_000 + port) }]]),
      );
      const published = { ExposedPorts: exposed, HostConfig: { PortBindings: bindings } };
      const timed = async (more: object): Promise<number> => {
        const id = await created(peer, more);
        const time = await milliseconds(() => start(peer, id));
        await remove(peer, id);
        return time;
      };
      await timed({});
      const without = [await timed({}), await timed({}), await timed({})];
      const withPorts = [await timed(published), await timed(published), await timed(published)];
      return Math.max(Math.min(...withPorts) - Math.min(...without), 0.1);
    },
  },
];
