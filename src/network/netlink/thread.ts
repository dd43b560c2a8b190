/** The worker thread that runs link tasks, one after the other; started by the first, ended after a quiet while. */
import { Piscina } from 'piscina';
import { internal } from '../../errors.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { workerFile } from '../../lib/worker-file.ts';
import type { BoundPair } from '../dns/server.ts';
import type { BindTask, LinkTask } from './steps.ts';

/** The kernel answers at once; a machine with far more to do than it can may be slow to let the thread begin. */
const DEADLINE_MS = 60_000;
const IDLE_MS = 60_000;

export class LinkThread {
  #pool: Piscina<LinkTask, unknown> | undefined;

  /** Fails with what the kernel said; a task that is not done in time is given up with its thread. */
  run(task: BindTask): Promise<BoundPair>;
  run(task: Exclude<LinkTask, BindTask>): Promise<void>;
  async run(task: LinkTask): Promise<unknown> {
    this.#pool ??= new Piscina<LinkTask, unknown>({
      filename: workerFile('network/netlink/worker.ts'),
      minThreads: 0,
      maxThreads: 1,
      idleTimeout: IDLE_MS,
    });
    const pool = this.#pool;
    try {
      return await withDeadline('setting up links', DEADLINE_MS, undefined, (signal) => pool.run(task, { signal }));
    } catch (error) {
      throw internal(`network: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }

  async close(): Promise<void> {
    await this.#pool?.destroy();
  }
}
