/** Memory, and the time until a daemon is there. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Case } from '../case.ts';
import { type Peer, pss } from '../peers.ts';
import { many, milliseconds, removeAll, start } from '../work.ts';

/** The most bytes that the daemon's processes had resident meanwhile, each at its own time. */
async function peakOf(peer: Peer, work: () => unknown): Promise<number> {
  const pids = peer.daemonPids();
  // Sets the peak to what there is now (proc(5), clear_refs).
  for (const pid of pids) writeFileSync(`/proc/${pid}/clear_refs`, '5');
  await work();
  const peak = (pid: number): number =>
    Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  return pids.reduce((sum, pid) => sum + peak(pid), 0);
}

/** An image's way in, out and in again. */
function pullSaveLoad(peer: Peer): void {
  const archive = join(peer.directory, 'image.tar');
  peer.docker('pull', '-q', peer.bigImage);
  peer.docker('save', '-o', archive, peer.bigImage);
  peer.docker('rmi', peer.bigImage);
  peer.docker('load', '-q', '-i', archive);
  peer.docker('rmi', peer.bigImage);
  rmSync(archive);
}

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
    name: 'peak memory of pull, save and load, 300 MB',
    unit: 'MB',
    goal: '≤ 200 MB',
    rounds: 3,
    measure: async (peer) => (await peakOf(peer, () => pullSaveLoad(peer))) / 1e6,
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
