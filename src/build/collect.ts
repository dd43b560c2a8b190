/** Keeps the build cache within bounds: the rules of daemon.json's `builder.gc`, or BuildKit's own, one after another after each build. */
import { statfsSync } from 'node:fs';
import type { Logger } from 'pino';
import type { BuilderConfig, CacheRule, CacheSpace } from '../config/builder.ts';
import type { Clock } from '../lib/clock.ts';
import type { Builds } from './service.ts';

const GB = 1e9;
/** Builds come in crowds: one collection does for all that end within this time. */
const SOON_MS = 60_000;
/** What comes again with the next build: copies of clients' directories and mount caches. */
const PASSING = ['source.local', 'exec.cachemount'];
const LEAST_PASSING = 512e6;
/** Of all space, what may be of these. */
const PASSING_SHARE = 0.138;

const spaceOf = (total: number): CacheSpace => ({
  reserved: Math.min(total * 0.1, 10 * GB),
  maxUsed: total * 0.8,
  minFree: total * 0.2,
});

/** @param total bytes of the disk */
export function rulesOf({ space, rules }: BuilderConfig, total: number): readonly CacheRule[] {
  if (rules) return rules;
  const bounds = Object.values(space).some(Boolean) ? space : spaceOf(total);
  const passing = Math.max(LEAST_PASSING, (bounds.maxUsed || bounds.reserved) * PASSING_SHARE);
  const unused = (time: string): [string, string[]] => ['unused-for', [time]];
  return [
    {
      ...{ all: false, reserved: 0, maxUsed: passing, minFree: 0 },
      filters: new Map([['type', PASSING], unused('48h')]),
    },
    { all: false, filters: new Map([unused('1440h')]), ...bounds },
    { all: false, filters: new Map(), ...bounds },
    { all: true, filters: new Map(), ...bounds },
  ];
}

/** Bytes that a rule leaves, as BuildKit counts them; 0 leaves nothing that it is about. */
export function bytesToKeep({ reserved, maxUsed, minFree }: CacheSpace, used: number, free: number): number {
  const lacking = minFree - free;
  const most = lacking > 0 ? Math.min(maxUsed || Infinity, used - lacking) : maxUsed;
  return Math.max(most, reserved, 0);
}

export interface CollectorDeps {
  builds: Pick<Builds, 'used' | 'discard'>;
  builder: BuilderConfig;
  /** On the disk whose space counts. */
  directory: string;
  clock: Clock;
  log: Logger;
}

export class Collector {
  #deps: CollectorDeps;
  #running: Promise<void> | undefined;
  #again = false;
  #cancel: (() => void) | undefined;

  constructor(deps: CollectorDeps) {
    this.#deps = deps;
  }

  /** A build has ended. */
  soon(): void {
    this.#cancel ??= this.#deps.clock.after(SOON_MS, () => this.collect());
  }

  /** One at a time; asked for meanwhile, once more. */
  collect(): void {
    this.#forget();
    if (!this.#deps.builder.collects) return;
    this.#again = true;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  async #run(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      try {
        await this.#once();
      } catch (error) {
        this.#deps.log.warn({ err: error }, 'the build cache could not be collected');
      }
    }
  }

  async #once(): Promise<void> {
    const { builds, builder, directory } = this.#deps;
    const { blocks, bsize } = statfsSync(directory);
    for (const rule of rulesOf(builder, blocks * bsize)) {
      const { bavail } = statfsSync(directory);
      const keepBytes = bytesToKeep(rule, builds.used(), bavail * bsize);
      await builds.discard({ all: rule.all, keepBytes, filters: rule.filters });
    }
  }

  #forget(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  async stop(): Promise<void> {
    this.#forget();
    this.#again = false;
    await this.#running;
  }
}
