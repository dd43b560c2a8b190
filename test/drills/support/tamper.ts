/** Makes system calls of a running daemon fail: the kernel's own answer to that thread is replaced, nothing in the daemon is. */
import { existsSync, readFileSync } from 'node:fs';
import { traced } from './strace.ts';

export interface Tampering {
  /** Names of system calls. */
  calls: readonly string[];
  error: 'EIO' | 'ENOMEM' | 'ENOSPC';
  /** Which of them, counted in each thread: 1 is the first. */
  nth: number;
  /** Only calls for these files. */
  paths?: readonly string[];
}

/** Runs `work` meanwhile. Returns how many calls were made to fail. */
export async function tampered(
  pid: number,
  how: Tampering,
  record: string,
  work: () => Promise<void>,
): Promise<number> {
  const calls = how.calls.join(',');
  const { detach } = await traced(pid, record, [
    ...['-e', `trace=${calls}`, '-e', `inject=${calls}:error=${how.error}:when=${how.nth}`],
    ...(how.paths ?? []).flatMap((path) => ['-P', path]),
  ]);
  try {
    await work();
  } finally {
    await detach();
  }
  return existsSync(record) ? (readFileSync(record, 'utf8').match(/\(INJECTED\)/g) ?? []).length : 0;
}
