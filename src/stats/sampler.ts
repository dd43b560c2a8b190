/**
 * Samples of running containers. A container that is watched is sampled once a second, however many watch it; nobody
 * watching costs nothing.
 */
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import type { HostFacts } from '../host/port.ts';
import { type Clock, nowNano, rfc3339Nano } from '../lib/clock.ts';
import { type CgroupTarget, readCgroupStats } from './cgroup.ts';
import type { Sample } from './document.ts';
import { interfaces, systemCpu } from './parse.ts';

export interface StatsTarget extends CgroupTarget {
  /** False for the host's network: its traffic is not the container's. */
  ownNetwork: boolean;
}

/** Tells where a container is now; undefined while it does not run. */
export type Locate = () => StatsTarget | undefined;

export interface StatsSampler {
  /** One sample now; undefined when the container does not run. */
  sample(locate: Locate): Sample | undefined;
  /** Calls back with each sample of the container until the returned function is called. The first comes at once, or with the next second when others watch already. */
  watch(id: string, locate: Locate, listener: (sample: Sample | undefined) => void): () => void;
  /** Containers watched now. */
  readonly watched: number;
  stop(): void;
}

const PERIOD_MS = 1000;

interface Watch {
  listeners: Set<(sample: Sample | undefined) => void>;
  cancel: () => void;
}

class Sampler implements StatsSampler {
  readonly #host: HostFacts;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #watches = new Map<string, Watch>();

  constructor(deps: { host: HostFacts; clock: Clock; log: Logger }) {
    this.#host = deps.host;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  get watched(): number {
    return this.#watches.size;
  }

  sample(locate: Locate): Sample | undefined {
    const target = locate();
    if (!target) return undefined;
    try {
      const cgroup = readCgroupStats(this.#host, target);
      // Read beside the container's own counters, so that both are of one moment.
      const system = systemCpu(readFileSync('/proc/stat', 'utf8'));
      return {
        ...cgroup,
        read: rfc3339Nano(nowNano(this.#clock)),
        cpu: { ...cgroup.cpu, system_cpu_usage: system.usage, online_cpus: system.cpus },
        networks: target.ownNetwork ? interfaces(readFileSync(`/proc/${target.pid}/net/dev`, 'utf8')) : undefined,
      };
    } catch (error) {
      // It ended while it was read.
      if (locate()) this.#log.debug({ err: error }, 'a container could not be sampled');
      return undefined;
    }
  }

  watch(id: string, locate: Locate, listener: (sample: Sample | undefined) => void): () => void {
    const watch = this.#watches.get(id) ?? this.#begin(id, locate);
    watch.listeners.add(listener);
    return () => {
      watch.listeners.delete(listener);
      if (watch.listeners.size) return;
      watch.cancel();
      if (this.#watches.get(id) === watch) this.#watches.delete(id);
    };
  }

  #begin(id: string, locate: Locate): Watch {
    const watch: Watch = { listeners: new Set(), cancel: () => {} };
    this.#watches.set(id, watch);
    const tick = (): void => {
      if (this.#watches.get(id) !== watch) return;
      const due = this.#clock.now() + PERIOD_MS;
      const sample = this.sample(locate);
      for (const listener of [...watch.listeners]) listener(sample);
      if (this.#watches.get(id) !== watch) return;
      watch.cancel = this.#clock.after(Math.max(0, due - this.#clock.now()), tick);
    };
    queueMicrotask(tick);
    return watch;
  }

  stop(): void {
    for (const watch of this.#watches.values()) watch.cancel();
    this.#watches.clear();
  }
}

export const createSampler = (deps: { host: HostFacts; clock: Clock; log: Logger }): StatsSampler => new Sampler(deps);
