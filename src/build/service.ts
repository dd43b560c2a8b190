/** Builds: starts their statecharts, knows which run, and looks after the cache. */
import { existsSync, renameSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Actor } from 'xstate';
import { invalid, notFound } from '../errors.ts';
import { newId } from '../lib/ids.ts';
import type { Reactor } from '../reactor/reactor.ts';
import type { CacheRecord } from './cache.ts';
import { buildMachine } from './machine.ts';
import { unpinBelow } from './mount-open.ts';
import { removeTree } from './remove.ts';
import { type BuildDeps, BuildRun } from './run.ts';
import { removeStep } from './step-run.ts';
import type { BuildRequest, BuildResult } from './types.ts';

export interface RunningBuild {
  id: string;
  /** Settles when the build ended and nothing of it is left. */
  result: Promise<BuildResult>;
  cancel(): void;
}

/** Docker's BuildCache item, as /system/df shows it. */
export interface CacheItem {
  ID: string;
  Parents: string[];
  Type: string;
  Description: string;
  InUse: boolean;
  Shared: boolean;
  Size: number;
  CreatedAt: string;
  LastUsedAt: string;
  UsageCount: number;
}

export interface PruneRequest {
  /** Also what a tagged image was built from. */
  all: boolean;
  /** Bytes that may stay. */
  keepBytes: number;
  filters: ReadonlyMap<string, readonly string[]>;
}

/** BuildKit's names. */
const TYPES = { layer: 'regular', mount: 'exec.cachemount', local: 'source.local' } as const;

/** Seconds from `24h`, `90s`, a unix time or a date to milliseconds since the epoch. */
function untilOf(text: string, now: number): number {
  const units: Record<string, number> = { s: 1e3, m: 60e3, h: 3600e3 };
  if (/^(\d+(\.\d+)?[smh])+$/.test(text)) {
    let ago = 0;
    for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)([smh])/g)) ago += Number(amount) * units[unit!]!;
    return now - ago;
  }
  const time = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text);
  if (Number.isNaN(time)) throw invalid(`invalid until filter: ${text}`);
  return time;
}

export class Builds {
  readonly deps: BuildDeps;
  #reactor: Reactor;
  #directory: string;
  /** Directories of builds that are over. */
  #trash: string;
  #removing = new Set<Promise<unknown>>();
  #ended: () => void;
  #running = new Map<string, RunningBuild>();
  /** Ids that clients gave their builds. */
  #names = new Map<string, RunningBuild>();

  constructor(deps: BuildDeps, options: { reactor: Reactor; directory: string; ended?: () => void }) {
    this.deps = deps;
    this.#ended = options.ended ?? (() => {});
    this.#reactor = options.reactor;
    this.#directory = options.directory;
    this.#trash = `${options.directory}-removed`;
  }

  /** What a killed daemon left. */
  async sweep(): Promise<void> {
    await unpinBelow(this.#directory);
    for (const directory of [this.#directory, this.#trash]) {
      await rm(directory, { recursive: true, force: true });
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
    await this.deps.cache.sweep();
    await this.#discardOrphans();
    for (const { id } of this.deps.containers.all()) await removeStep(this.deps, id);
  }

  /** Steps of builds that no record of the cache leads to any more. */
  async #discardOrphans(): Promise<void> {
    const known = new Set([...this.deps.cache.all()].flatMap(([, record]) => Object.values(record.images ?? {})));
    const orphans = this.deps.listImages().filter(({ id, cache }) => cache && !known.has(id));
    if (orphans.length) await this.deps.images.discard(orphans.map(({ id }) => id));
  }

  start(request: BuildRequest, name?: string): RunningBuild {
    const id = newId();
    const run = new BuildRun(id, request, this.deps, join(this.#directory, id));
    const actor = this.#reactor.spawn('build', id, buildMachine, { input: { work: run } });
    const build = { id, result: this.#finish(id, actor, run, name), cancel: () => actor.send({ type: 'CANCEL' }) };
    this.#running.set(id, build);
    if (name) this.#names.set(name, build);
    build.result.catch(() => {});
    return build;
  }

  async #finish(id: string, actor: Actor<typeof buildMachine>, run: BuildRun, name?: string): Promise<BuildResult> {
    const { result, error } = await new Promise<{ result: unknown; error: unknown }>((resolve) => {
      actor.subscribe({
        complete: () => resolve(actor.getSnapshot().output ?? { result: undefined, error: undefined }),
        error: (thrown) => resolve({ result: undefined, error: thrown }),
      });
    });
    await run.settled();
    this.#release(run);
    this.#throwAway(run);
    this.#reactor.remove('build', id);
    this.#running.delete(id);
    if (name) this.#names.delete(name);
    this.#ended();
    if (error) throw error;
    return result as BuildResult;
  }

  /** What the front wants to keep of the build's directory. */
  #release({ request, id }: BuildRun): void {
    try {
      request.release?.();
    } catch (error) {
      this.deps.log.warn({ err: error, build: id }, 'the files of a client could not be kept');
    }
  }

  /** Out of sight at once; thousands of files of a context are removed while the client has its answer already. */
  #throwAway({ id, workspace: { place } }: BuildRun): void {
    const trash = join(this.#trash, id);
    if (!existsSync(place)) return;
    renameSync(place, trash);
    const removing: Promise<unknown> = removeTree(trash)
      .catch((error: unknown) =>
        this.deps.log.warn({ err: error, directory: trash }, 'files of a build stay until the next start'),
      )
      .finally(() => this.#removing.delete(removing));
    this.#removing.add(removing);
  }

  /** By the id the client gave. */
  cancel(name: string): void {
    const build = this.#names.get(name) ?? this.#running.get(name);
    if (!build) throw notFound(`no such build: ${name}`);
    build.cancel();
  }

  async stop(): Promise<void> {
    const running = [...this.#running.values()];
    for (const build of running) build.cancel();
    await Promise.allSettled(running.map(({ result }) => result));
    await Promise.allSettled(this.#removing);
    await this.deps.cache.settled();
    await this.deps.files.close();
  }

  usage(): CacheItem[] {
    return this.#items().map(({ item }) => item);
  }

  #items(): { id: string; record: CacheRecord; item: CacheItem }[] {
    const { cache, listImages } = this.deps;
    const named = listImages().filter(({ repoTags, repoDigests }) => repoTags.length || repoDigests.length);
    const layers = new Set(named.flatMap(({ config }) => config.rootfs.diff_ids));
    return [...cache.all()].map(([id, record]) => {
      const item = {
        ID: id.slice(0, 25),
        Parents: record.parent ? [record.parent.slice(0, 25)] : [],
        Type: TYPES[record.kind],
        Description: record.description,
        InUse: cache.inUse.has(id),
        // An image with a name has the same layer: removing the record frees nothing.
        Shared: !!record.diffId && layers.has(record.diffId),
        Size: record.size,
        CreatedAt: new Date(record.createdAt).toISOString(),
        LastUsedAt: new Date(record.lastUsedAt).toISOString(),
        UsageCount: record.uses,
      };
      return { id, record, item };
    });
  }

  /** Bytes that nothing but the cache holds. */
  used(): number {
    return this.#items().reduce((sum, { item }) => sum + (item.Shared ? 0 : item.Size), 0);
  }

  async prune(request: PruneRequest): Promise<{ deleted: string[]; bytes: number }> {
    const done = await this.discard(request);
    this.deps.bus.publish({
      topic: 'event',
      type: 'builder',
      action: 'prune',
      id: '',
      attributes: { reclaimed: String(done.bytes) },
    });
    return done;
  }

  /** Removes records, oldest use first, until no more than `keepBytes` are left. */
  async discard(request: PruneRequest): Promise<{ deleted: string[]; bytes: number }> {
    const { cache, clock } = this.deps;
    const until = new Map(
      ['until', 'unused-for'].map((key) => [key, request.filters.get(key)?.map((text) => untilOf(text, clock.now()))]),
    );
    const matches = (item: CacheItem, record: CacheRecord): boolean =>
      [...request.filters].every(([key, values]) => {
        const times = until.get(key);
        return times
          ? times.some((time) => record.lastUsedAt < time)
          : values.some((value) => hasValue(item, key, value));
      });
    const items = this.#items();
    const candidates = items
      .filter(({ record, item }) => !item.InUse && (request.all || !item.Shared) && matches(item, record))
      .sort((a, b) => a.record.lastUsedAt - b.record.lastUsedAt);
    let left = this.used();
    const deleted: string[] = [];
    let bytes = 0;
    for (const { id, record, item } of candidates) {
      if (request.keepBytes && left <= request.keepBytes) break;
      cache.remove(id);
      left -= item.Shared ? 0 : record.size;
      bytes += record.size;
      deleted.push(item.ID);
    }
    await cache.settled();
    cache.forgetAliases();
    // A build that runs may stand on a step that no record knows yet.
    if (!this.#running.size) await this.#discardOrphans();
    return { deleted, bytes };
  }
}

function hasValue(item: CacheItem, key: string, value: string): boolean {
  switch (key) {
    case 'id':
      return item.ID.startsWith(value);
    case 'parent':
      return item.Parents.some((parent) => parent.startsWith(value));
    case 'type':
      return item.Type === value;
    case 'description':
      return item.Description.includes(value);
    case 'inuse':
      return item.InUse;
    case 'shared':
      return item.Shared;
    case 'private':
      return !item.Shared;
    default:
      return false;
  }
}
