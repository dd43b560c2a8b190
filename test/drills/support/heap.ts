/** What a daemon's heap holds once its garbage is collected: Node is given a signal for that by a module that is loaded before the daemon. */
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { TestDaemon } from '../../support/daemon.ts';
import { eventually } from '../../support/eventually.ts';
import { all } from './table.ts';

const fileOf = (pid: number | string): string => join(tmpdir(), `reactord-heap-${pid}`);

const PRELOADED = `
import { renameSync, writeFileSync } from 'node:fs';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
process.on('SIGPWR', () => {
  for (let i = 0; i < 3; i++) collect();
  // V8 goes on compiling what runs often; that is no state of the daemon.
  const spaces = getHeapSpaceStatistics().filter(({ space_name }) => !/code|trusted/.test(space_name));
  const used = spaces.reduce((sum, { space_used_size }) => sum + space_used_size, process.memoryUsage().external);
  const file = ${JSON.stringify(fileOf(''))} + process.pid;
  writeFileSync(file + '.new', String(used));
  renameSync(file + '.new', file);
});
`;

/** For the environment of a daemon whose heap is asked for. */
export const HEAP_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(PRELOADED)}`;

/** Megabytes of objects on the heap and of what they hold beside it. */
export async function heap(daemon: TestDaemon): Promise<number> {
  const pid = daemon.pid();
  rmSync(fileOf(pid), { force: true });
  process.kill(pid, 'SIGPWR');
  const text = await eventually(() => readFileSync(fileOf(pid), 'utf8'), { what: 'the heap is told' });
  rmSync(fileOf(pid), { force: true });
  return Number(text) / 2 ** 20;
}

/** It has come back to where it was, within 5 %. Only a daemon that has seen much is at rest. */
export async function expectSameHeap(daemon: TestDaemon, before: number): Promise<number> {
  let after = 0;
  const most = all ? before * 1.05 : before * 1.5;
  await eventually(async () => (after = await heap(daemon)) <= most, {
    within: 30_000,
    what: 'the heap comes back',
  }).catch(() => expect(after).toBeLessThanOrEqual(most));
  return after;
}
