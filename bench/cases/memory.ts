/** Memory, and the time until a daemon is there. */
import type { Case } from '../case.ts';
import { pss } from '../peers.ts';
import { many, milliseconds, removeAll, start } from '../work.ts';

export const memoryCases: Case[] = [
  {
    name: 'idle memory, all processes',
    unit: 'MB',
    goal: '≤ 0.75',
    async measure(peer) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      return pss(peer.daemonPids()) / 1e6;
    },
  },
  {
    name: 'an idle container',
    unit: 'MB',
    goal: '≤ 1.0',
    rounds: 3,
    async measure(peer) {
      const ids = await many(peer, 10);
      const before = pss(peer.daemonPids()) + pss(peer.shimPids());
      for (const id of ids) await start(peer, id);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const after = pss(peer.daemonPids()) + pss(peer.shimPids());
      await removeAll(peer, ids);
      return (after - before) / ids.length / 1e6;
    },
  },
  {
    name: 'cold start to /_ping',
    unit: 'ms',
    goal: '≤ 0.40',
    async measure(peer) {
      await peer.halt();
      return milliseconds(() => peer.startAgain());
    },
  },
];
