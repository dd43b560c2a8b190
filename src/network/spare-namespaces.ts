/**
 * Network namespaces of another user namespace, made ahead, so that a container that starts need not wait for one. Each is held by a helper that
 * waits for the end of its input: it goes with us, however we end. Nobody needs spares on a quiet daemon: they are made
 * after a container took one, and go when none did for a while.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { internal } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';

/** How many stand ready. */
const SPARES = 2;
/** After a container took one, and the busy moment of its start is over. */
const REFILL_MS = 150;
const IDLE_MS = 30_000;
const MAKE_MS = 15_000;

interface Spare {
  child: ChildProcess;
  ready: boolean;
}

export class SpareNamespaces {
  #spares = new Set<Spare>();
  #cancelRefill: (() => void) | undefined;
  #cancelIdle = (): void => {};
  #closed = false;
  #script: string;
  #command: string[];
  #clock: Clock;

  /** `setup`: shell commands that make a new namespace what containers get; `owner`: path of the user namespace it belongs to. */
  constructor(setup: string, clock: Clock, owner: string) {
    this.#command = ['nsenter', `--user=${owner}`, 'unshare', '--net', 'sh', '-c'];
    this.#script = `${setup} && echo ready && read -r end`;
    this.#clock = clock;
  }

  /** Hands a ready namespace to `use` as a path in /proc; false when there is none, or it could not be used. */
  take(use: (path: string) => void): boolean {
    this.#soon();
    const spare = [...this.#spares].find((one) => one.ready);
    if (!spare) return false;
    this.#spares.delete(spare);
    try {
      use(`/proc/${spare.child.pid}/ns/net`);
      return true;
    } catch {
      return false;
    } finally {
      spare.child.stdin?.end();
    }
  }

  #soon(): void {
    if (this.#closed) return;
    this.#cancelIdle();
    // One container after another must not put it off for ever.
    this.#cancelRefill ??= this.#clock.after(REFILL_MS, () => {
      this.#cancelRefill = undefined;
      while (this.#spares.size < SPARES) this.#make();
    });
    this.#cancelIdle = this.#clock.after(IDLE_MS, () => this.#drop());
  }

  #make(): void {
    const child = this.#spawn();
    const spare: Spare = { child, ready: false };
    this.#spares.add(spare);
    const gone = (): void => void this.#spares.delete(spare);
    child.on('error', gone).on('exit', gone);
    child.stdin!.on('error', gone);
    child.stdout!.once('data', () => (spare.ready = true)).on('error', gone);
    child.unref();
  }

  #spawn(): ChildProcess {
    const [command = '', ...args] = this.#command;
    return spawn(command, [...args, this.#script], { stdio: ['pipe', 'pipe', 'ignore'] });
  }

  /** Makes one now, and hands it to `use` like `take`. */
  async make(use: (path: string) => void): Promise<void> {
    const child = this.#spawn();
    child.stdin!.on('error', () => {});
    try {
      await withDeadline(
        'making a network namespace',
        MAKE_MS,
        undefined,
        () =>
          new Promise<void>((resolve, reject) => {
            child.once('error', reject);
            child.once('exit', (code) => reject(internal(`a network namespace could not be made: ended with ${code}`)));
            child.stdout!.once('data', () => resolve());
          }),
      );
      use(`/proc/${child.pid}/ns/net`);
    } finally {
      child.stdin!.end();
    }
  }

  #drop(): void {
    for (const { child } of this.#spares) child.stdin?.end();
    this.#spares.clear();
  }

  close(): void {
    this.#closed = true;
    this.#cancelRefill?.();
    this.#cancelIdle();
    this.#drop();
  }
}
