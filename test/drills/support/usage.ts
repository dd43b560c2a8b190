/** What a daemon uses of its host, by look at the kernel. */
import { readdirSync, readFileSync } from 'node:fs';
import type { TestDaemon } from '../../support/daemon.ts';
import { eventually } from '../../support/eventually.ts';

export function usage(daemon: TestDaemon): { descriptors: number; megabytes: number } {
  const pid = daemon.pid();
  const kilobytes = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, megabytes: Math.round(kilobytes / 1024) };
}

/** Counts that must not grow with the lives that a daemon has served. */
export function counts(daemon: TestDaemon): Record<string, number> {
  const pid = daemon.pid();
  return {
    descriptors: usage(daemon).descriptors,
    processes: readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).length,
    rules: daemon.inside('nft', '-a', 'list', 'ruleset').stdout.split('\n').length,
    links: daemon.inside('ip', '-o', 'link').stdout.split('\n').length,
    mounts: readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(daemon.directory)).length,
  };
}

/** The counts once idle shims and spare parts have come to rest: the same over a while. */
export async function steadyCounts(daemon: TestDaemon): Promise<Record<string, number>> {
  let last = '';
  let same = 0;
  await eventually(
    () => {
      const now = JSON.stringify(counts(daemon));
      same = now === last ? same + 1 : 0;
      last = now;
      return same >= 20;
    },
    { within: 40_000, what: 'the daemon is at rest' },
  );
  return JSON.parse(last) as Record<string, number>;
}
