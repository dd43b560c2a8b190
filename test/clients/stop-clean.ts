/** Stops the daemon and holds it to a clean log: whatever clients did, nothing failed by its own fault. */
import { expect } from 'vitest';
import type { TestDaemon } from '../support/daemon.ts';

export async function stopClean(daemon: TestDaemon | undefined): Promise<void> {
  if (!daemon) return;
  const errors = daemon
    .log()
    .split('\n')
    .filter((line) => / (?:ERROR|FATAL) /.test(line));
  await daemon.stop();
  expect(errors).toEqual([]);
}
