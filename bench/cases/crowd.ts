/** A hundred containers: found again after a crash, and watched. */
import { readFileSync, writeFileSync } from 'node:fs';
import { type ClientRequest, request } from 'node:http';
import { join } from 'node:path';
import type { Case } from '../case.ts';
import type { Peer } from '../peers.ts';
import { many, milliseconds, removeAll, start } from '../work.ts';

const CROWD = 100;
const WATCHERS = 5;
const WATCHED_MS = 5_000;
const TICKS = 100;

async function crowd(peer: Peer): Promise<string[]> {
  const ids = await many(peer, CROWD);
  const queue = [...ids];
  const worker = async (): Promise<void> => {
    for (let id = queue.pop(); id; id = queue.pop()) await start(peer, id);
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  return ids;
}

const running = async (peer: Peer): Promise<number> => {
  const { status, body } = await peer.call('GET', '/containers/json');
  return status === 200 ? (JSON.parse(body.toString()) as unknown[]).length : 0;
};

/** Seconds of processor time so far. */
function cpu(pids: number[]): number {
  return pids.reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return sum + (Number(fields[11]) + Number(fields[12])) / TICKS;
  }, 0);
}

const watch = (peer: Peer, id: string): ClientRequest => {
  const call = request({ socketPath: peer.socket, path: `/containers/${id}/stats?stream=1` }, (answer) =>
    answer.resume(),
  );
  call.on('error', () => {});
  call.end();
  return call;
};

export const crowdCases: Case[] = [
  {
    name: 'killed and back, 100 containers running',
    unit: 'ms',
    goal: '≤ 0.50',
    rounds: 3,
    async measure(peer) {
      const settings = join(peer.directory, 'daemon.json');
      await peer.halt();
      writeFileSync(settings, JSON.stringify({ 'live-restore': true }));
      await peer.startAgain();
      const ids = await crowd(peer);
      await peer.crash();
      const time = await milliseconds(async () => {
        await peer.startAgain();
        while ((await running(peer)) < CROWD) await new Promise((resolve) => setTimeout(resolve, 5));
      });
      await removeAll(peer, ids);
      writeFileSync(settings, '{}');
      return time;
    },
  },
  {
    name: `stats of 100 containers, ${WATCHERS} watchers each`,
    unit: '% of a core',
    goal: '< 10 %',
    rounds: 2,
    async measure(peer) {
      const ids = await crowd(peer);
      const watchers = ids.flatMap((id) => Array.from({ length: WATCHERS }, () => watch(peer, id)));
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      const pids = peer.daemonPids();
      const before = cpu(pids);
      await new Promise((resolve) => setTimeout(resolve, WATCHED_MS));
      const spent = cpu(pids) - before;
      for (const watcher of watchers) watcher.destroy();
      await removeAll(peer, ids);
      return (spent * 100_000) / WATCHED_MS;
    },
  },
];
