/** The processes of a shim, as /proc tells: the runtimes it waits for, and the dead whose end it has not taken note of. */
import { readFileSync, readdirSync } from 'node:fs';

export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function childrenOf(pid: number): number[] {
  let threads: string[] = [];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
  return threads.flatMap((thread) =>
    readText(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );
}

/** Kills the shim's own children that were started for this container: a runc that hangs, never the container's init. */
export function killChildrenNaming(shim: number, id: string): number[] {
  const killed: number[] = [];
  for (const pid of childrenOf(shim)) {
    if (!readText(`/proc/${pid}/cmdline`).split('\0').includes(id)) continue;
    try {
      process.kill(pid, 'SIGKILL');
      killed.push(pid);
    } catch {
      // It ended by itself in between.
    }
  }
  return killed;
}

/** Also while its parent has not buried it. */
export const hasEnded = (pid: number): boolean => {
  const stat = readText(`/proc/${pid}/stat`);
  return stat === '' || /^\d+ \(.*\) [ZX] /s.test(stat);
};

/** Children that have ended and that the shim has not yet buried: it is still busy with the ends of others. */
export const hasUnburied = (shim: number): boolean =>
  childrenOf(shim).some((pid) => /^\d+ \(.*\) Z /s.test(readText(`/proc/${pid}/stat`)));
