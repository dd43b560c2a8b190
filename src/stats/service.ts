/** Stats and processes of containers as the API asks for them. */
import type { Config } from '../config/config.ts';
import type { ContainerLookup } from '../container/port.ts';
import { type ContainerRecord, hasProcesses } from '../container/record.ts';
import { conflict } from '../errors.ts';
import type { HostFacts } from '../host/port.ts';
import { cgroupsPath } from '../runtime/oci/spec.ts';
import { type Sample, statsDocument } from './document.ts';
import type { StatsSampler, StatsTarget } from './sampler.ts';
import { listProcesses, type TopResult } from './top.ts';

export interface StatsDeps {
  containers: Pick<ContainerLookup, 'resolve' | 'find' | 'task' | 'publish'>;
  sampler: StatsSampler;
  host: HostFacts;
  config: Pick<Config, 'cgroupParent'>;
}

export class ContainerStats {
  readonly #deps: StatsDeps;

  constructor(deps: StatsDeps) {
    this.#deps = deps;
  }

  /** One document. Unless `oneShot`, two samples a second apart, so that rates can be computed from it. */
  async once(name: string, oneShot: boolean, gone: AbortSignal): Promise<object> {
    const record = this.#deps.containers.resolve(name);
    if (!hasProcesses(record)) return statsDocument(record, undefined);
    if (oneShot) return statsDocument(record, this.#deps.sampler.sample(this.#locate(record.id)));
    const samples: (Sample | undefined)[] = [];
    for await (const sample of this.#samples(record, gone)) {
      samples.push(sample);
      if (samples.length === 2 || sample === undefined) break;
    }
    return statsDocument(record, samples.at(-1), samples.length === 2 ? samples[0] : undefined);
  }

  /** A document a second until the client leaves or the container is removed; empty ones while it does not run. */
  stream(name: string, gone: AbortSignal): AsyncIterable<object> {
    const record = this.#deps.containers.resolve(name);
    return this.#documents(record, gone);
  }

  async top(name: string, psArguments: string): Promise<TopResult> {
    const record = this.#deps.containers.resolve(name);
    const task = this.#deps.containers.task(record.id);
    if (record.phase === 'restarting') {
      throw conflict(`Container ${record.id} is restarting, wait until the container is running`);
    }
    if (!task || !hasProcesses(record)) throw conflict(`container ${record.id} is not running`);
    const listed = await listProcesses(await task.pids(), psArguments);
    this.#deps.containers.publish(record, 'top');
    return listed;
  }

  async *#documents(record: ContainerRecord, gone: AbortSignal): AsyncGenerator<object> {
    let before: Sample | undefined;
    for await (const sample of this.#samples(record, gone)) {
      const now = this.#deps.containers.find(record.id);
      if (!now) return;
      yield statsDocument(now, sample, before);
      before = sample;
    }
  }

  /** Samples as they come; a reader that is slow gets the newest, and never holds up others. */
  async *#samples(record: ContainerRecord, gone: AbortSignal): AsyncGenerator<Sample | undefined> {
    let newest: { sample: Sample | undefined } | undefined;
    let wake = (): void => {};
    const stop = this.#deps.sampler.watch(record.id, this.#locate(record.id), (sample) => {
      newest = { sample };
      wake();
    });
    const leave = (): void => wake();
    gone.addEventListener('abort', leave, { once: true });
    try {
      while (!gone.aborted) {
        const ready: { sample: Sample | undefined } | undefined = newest;
        newest = undefined;
        if (ready) yield ready.sample;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      gone.removeEventListener('abort', leave);
      stop();
    }
  }

  #locate(id: string): () => StatsTarget | undefined {
    return () => {
      const record = this.#deps.containers.find(id);
      if (!record || !hasProcesses(record) || !record.state.pid) return undefined;
      const parent = record.hostConfig.CgroupParent || this.#deps.config.cgroupParent;
      return {
        cgroupsPath: cgroupsPath(id, parent, this.#deps.host.cgroup.driver),
        pid: record.state.pid,
        ownNetwork: record.hostConfig.NetworkMode !== 'host' && !record.config.NetworkDisabled,
      };
    };
  }
}
