/** Makes system calls of a running daemon fail, by strace(1): the kernel's own answer to that thread is replaced, nothing in the daemon is. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { eventually } from '../../support/eventually.ts';

export interface Tampering {
  /** Names of system calls. */
  calls: readonly string[];
  error: 'EIO' | 'ENOMEM' | 'ENOSPC';
  /** Which of them, counted in each thread: 1 is the first. */
  nth: number;
  /** Only calls for these files. */
  paths?: readonly string[];
}

/** Runs `work` meanwhile. Returns how many calls were made to fail; the threads are the daemon's own, its children are left alone. */
export async function tampered(
  pid: number,
  how: Tampering,
  record: string,
  work: () => Promise<void>,
): Promise<number> {
  const calls = how.calls.join(',');
  const threads = readdirSync(`/proc/${pid}/task`);
  const strace = spawn(
    'strace',
    [
      ...['-o', record, '-e', `trace=${calls}`, '-e', `inject=${calls}:error=${how.error}:when=${how.nth}`],
      ...(how.paths ?? []).flatMap((path) => ['-P', path]),
      ...threads.flatMap((thread) => ['-p', thread]),
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let words = '';
  strace.stderr.on('data', (chunk: Buffer) => (words += chunk.toString()));
  const ended = once(strace, 'exit');
  try {
    await eventually(() => (words.match(/ attached/g) ?? []).length >= threads.length, {
      what: `strace holds all threads: ${words}`,
    });
    await work();
  } finally {
    strace.kill('SIGINT');
    await ended;
  }
  return existsSync(record) ? (readFileSync(record, 'utf8').match(/\(INJECTED\)/g) ?? []).length : 0;
}
