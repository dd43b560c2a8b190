/**
 * Keeps attaching a process to a cgroup cheap for a moment. The kernel takes a lock for it that first waits for an RCU grace period (5 to 10 ms, idle) unless
 * somebody had the lock just before (kernel/rcu/sync.c; cgroup_attach_lock in kernel/cgroup/cgroup.c). The OCI runtime attaches a little after it was
 * started: a write that changes nothing, of this process to the cgroup it is in, made meanwhile, waits that period beside it instead of within it.
 */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';

/** Well below a grace period, after which the lock is slow again. */
const EVERY_MS = 3;
/** From the call that starts a runtime to its last attach, with room for a busy machine: counted, as the wall clock may jump. */
const TIMES = 13;

export interface AttachWindowOptions {
  clock: Clock;
  /** /proc/self/cgroup. */
  membership?: string;
  /** Where the hierarchies are mounted. */
  root?: string;
}

export class AttachWindow {
  #clock: Clock;
  #membership: string;
  #root: string;
  #left = 0;
  #open: Promise<void> | undefined;
  /** It could not be written: there is nothing to gain here. */
  #useless = false;

  constructor({ clock, membership = '/proc/self/cgroup', root = '/sys/fs/cgroup' }: AttachWindowOptions) {
    this.#clock = clock;
    this.#membership = membership;
    this.#root = root;
  }

  /** A runtime is about to be started. Nobody has to wait for the end of the window, which the promise tells; it never rejects. */
  open(): Promise<void> {
    this.#left = TIMES;
    return (this.#open ??= this.#hold().finally(() => (this.#open = undefined)));
  }

  async #hold(): Promise<void> {
    while (!this.#useless && this.#left-- > 0) {
      try {
        // Read anew each time: whoever moved this process to another cgroup shall not find it back in the old one.
        await writeFile(ownProcs(readFileSync(this.#membership, 'utf8'), this.#root), '0', { flag: 'r+' });
        await new Promise<void>((resolve) => this.#clock.after(EVERY_MS, resolve));
      } catch {
        this.#useless = true;
      }
    }
  }
}

/** The `cgroup.procs` of the first hierarchy in a cgroups(7) membership file; any will do, as all share the lock. */
export function ownProcs(membership: string, root: string): string {
  const [, controllers = '', path = '/'] = /^\d+:([^:]*):(.*)$/m.exec(membership) ?? [];
  return join(root, controllers.replace(/^name=/, ''), path, 'cgroup.procs');
}
