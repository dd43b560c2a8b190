/** One daemon a data root: an flock(2) that the kernel lets go with the process, however it ends. */
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { conflict } from '../errors.ts';
import { flockExclusive } from '../host/ffi.ts';

/** Takes the lock of a data root; throws conflict when another daemon has it. Returns the release. */
export function lockDataRoot(dataRoot: string): () => void {
  const path = join(dataRoot, 'reactord.lock');
  const fd = openSync(path, 'a', 0o600);
  if (!flockExclusive(fd)) {
    closeSync(fd);
    throw conflict(`another daemon is using ${dataRoot}: its lock ${path} is held`);
  }
  return () => closeSync(fd);
}

/** Whether a process of that id is a daemon of ours; pids are reused, so its command line is looked at too. */
function isDaemon(pid: number): boolean {
  try {
    return /reactord|main\.(ts|mjs)/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
  } catch {
    return false;
  }
}

/** Writes the pid file; a stale one is replaced. Throws conflict when its process is a running daemon. Returns the removal. */
export function writePidfile(path: string): () => void {
  mkdirSync(dirname(path), { recursive: true });
  let known = Number.NaN;
  try {
    known = Number.parseInt(readFileSync(path, 'utf8'), 10);
  } catch {
    // Not there: the usual case.
  }
  if (known !== process.pid && isDaemon(known))
    throw conflict(`process with PID ${known} is still running: delete ${path} if it is no daemon`);
  writeFileSync(path, `${process.pid}\n`);
  return () => rmSync(path, { force: true });
}
