/** The docker CLI on a terminal: see terminal.py. */
import { join } from 'node:path';
import type { TestDaemon } from '../support/daemon.ts';

export type Step = { expect: string } | { send: string } | { resize: [rows: number, columns: number] };

export function onTerminal(daemon: TestDaemon, steps: Step[], ...args: string[]): { output: string; code: number } {
  const script = join(import.meta.dirname, 'terminal.py');
  const done = daemon.inside('python3', script, JSON.stringify(steps), 'docker', ...args);
  if (done.code !== 0) throw new Error(`docker ${args.join(' ')}: ${done.stderr || done.stdout}`);
  return JSON.parse(done.stdout) as { output: string; code: number };
}
