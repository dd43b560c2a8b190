/**
 * The shims of this daemon. A shim costs 5 MB and 8 ms, so several containers share one; but a shim makes and starts one
 * container at a time, so one that is busy is passed over for another. An empty one waits a little for its next container.
 */
import { mkdirSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { internal } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { newId } from '../../lib/ids.ts';
import { Shim, type ShimHooks } from './shim.ts';

/** Containers that the death of one shim can end. */
const GROUP = 12;
/** More shims with room than this make nothing faster; beyond it a busy one takes the next container too. */
const PARALLEL = 2 * availableParallelism();
const IDLE_MS = 5_000;

export interface PoolOptions {
  binary: string;
  directory: string;
  namespace: string;
  address: string;
  events: string;
  launchDeadline: number;
  clock: Clock;
  hooks: Omit<ShimHooks, 'gone'>;
}

export class ShimPool {
  #options: PoolOptions;
  #shims = new Map<string, Shim>();
  #hooks: ShimHooks;
  /** Cancels of the retirement of idle shims. */
  #idle = new Map<Shim, () => void>();
  #retiring = new Set<Promise<void>>();
  #starting = new Set<Promise<Shim>>();
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#hooks = { ...options.hooks, gone: (shim) => this.#forget(shim) };
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  }

  /** Takes up the shims of an earlier daemon with the containers they hold; ends those that hold none. */
  async adopt(containersOf: (shim: string) => string[]): Promise<void> {
    const { directory, namespace } = this.#options;
    const attach = async (id: string): Promise<void> => {
      const shim = await Shim.attach({ id, directory: join(directory, id), namespace }, this.#hooks);
      if (!shim) return;
      for (const container of containersOf(id)) shim.containers.add(container);
      this.#shims.set(id, shim);
      if (!shim.containers.size) await this.#retire(shim);
    };
    await Promise.all(readdirSync(directory).map(attach));
  }

  get(id: string): Shim | undefined {
    const shim = this.#shims.get(id);
    return shim?.live ? shim : undefined;
  }

  /** A shim for one more container, which is counted in at once, as is the work of creating it. */
  async acquire(container: string): Promise<Shim> {
    for (;;) {
      const shim = this.#choose() ?? (this.#starting.size < PARALLEL ? await this.#start() : undefined);
      if (!shim) {
        await Promise.race(this.#starting).catch(() => {});
        continue;
      }
      this.#idle.get(shim)?.();
      this.#idle.delete(shim);
      shim.containers.add(container);
      shim.busy++;
      return shim;
    }
  }

  release(shim: Shim, container: string): void {
    shim.containers.delete(container);
    if (shim.containers.size || !shim.live || this.#idle.has(shim)) return;
    if (this.#idle.size || this.#closed) return void this.#retire(shim);
    this.#idle.set(
      shim,
      this.#options.clock.after(IDLE_MS, () => {
        this.#idle.delete(shim);
        if (!shim.containers.size) void this.#retire(shim);
      }),
    );
  }

  /** Ends idle shims and lets go of the others. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#starting);
    for (const cancel of this.#idle.values()) cancel();
    this.#idle.clear();
    for (const shim of [...this.#shims.values()]) {
      if (shim.containers.size) shim.detach();
      else void this.#retire(shim);
    }
    await Promise.all(this.#retiring);
    this.#shims.clear();
  }

  #choose(): Shim | undefined {
    const open = [...this.#shims.values()].filter((shim) => shim.live && shim.containers.size < GROUP);
    const free = open.filter((shim) => !shim.busy).sort((a, b) => b.containers.size - a.containers.size);
    if (free[0]) return free[0];
    if (open.length + this.#starting.size < PARALLEL) return undefined;
    return open.sort((a, b) => a.busy - b.busy)[0];
  }

  async #start(): Promise<Shim> {
    const { binary, namespace, address, events, launchDeadline } = this.#options;
    const id = `s${newId().slice(0, 12)}`;
    const directory = join(this.#options.directory, id);
    const launch = { binary, id, directory, namespace, address, events, deadline: launchDeadline };
    const starting = Shim.start(launch, this.#hooks);
    this.#starting.add(starting);
    try {
      const shim = await starting;
      this.#shims.set(id, shim);
      // The container that was to go there is refused; `close` ends the shim.
      if (this.#closed) throw internal('the daemon is shutting down');
      return shim;
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error);
      throw internal(`failed to start shim: ${words}`, { cause: error });
    } finally {
      this.#starting.delete(starting);
    }
  }

  #retire(shim: Shim): Promise<void> {
    this.#shims.delete(shim.id);
    const retired = shim.retire().finally(() => this.#retiring.delete(retired));
    this.#retiring.add(retired);
    return retired;
  }

  #forget(shim: Shim): void {
    this.#idle.get(shim)?.();
    this.#idle.delete(shim);
    this.#shims.delete(shim.id);
  }
}
