/** strace(1) on a running daemon: its own threads and their calls; its children are left alone. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { eventually } from '../../support/eventually.ts';

export interface Traced {
  /** Lets go of the daemon, or waits until it is dead; the record is whole then. */
  detach(): Promise<void>;
}

/** Resolves when all threads are held; what is asked for is written to `record`. */
export async function traced(pid: number, record: string, options: readonly string[]): Promise<Traced> {
  const threads = readdirSync(`/proc/${pid}/task`);
  const strace = spawn('strace', ['-o', record, ...options, ...threads.flatMap((thread) => ['-p', thread])], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let words = '';
  strace.stderr.on('data', (chunk: Buffer) => (words += chunk.toString()));
  const ended = once(strace, 'exit');
  const detach = async (): Promise<void> => {
    strace.kill('SIGINT');
    await ended;
  };
  try {
    await eventually(() => (words.match(/ attached/g) ?? []).length >= threads.length, {
      what: `strace holds all threads: ${words}`,
    });
  } catch (error) {
    await detach();
    throw error;
  }
  return { detach };
}
