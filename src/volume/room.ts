/** The room of the volumes: what other rooms use, and the routes under /volumes. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type VolumeBackend, volumeRoutes } from '../api/routes/volumes.ts';
import { type Filters, matchesLabels } from '../api/filters.ts';
import { conflict, invalid } from '../errors.ts';
import type { Room, RoomDeps } from '../reactor/room.ts';
import { LocalDriver } from './local.ts';
import { PLUGIN_DIRECTORIES, type PluginDirectories } from './plugin.ts';
import type { VolumeInfo, Volumes, VolumeUsers } from './port.ts';
import { isAnonymous, type VolumeRecord, volumeView } from './record.ts';
import { isPrunable, VolumeService } from './service.ts';
import { treeSize } from './size.ts';

export interface VolumeUsage extends VolumeInfo {
  /** Bytes (−1 when unknown), and containers that name it. */
  UsageData: { Size: number; RefCount: number };
}

export interface VolumeRoom extends Room {
  volumes: Volumes;
  /** For /system/df: local volumes without a mount of their own. */
  usage(): Promise<VolumeUsage[]>;
}

export interface VolumeRoomDeps extends RoomDeps {
  users: VolumeUsers;
  plugins?: PluginDirectories;
}

const isTrue = (values: readonly string[] | undefined): boolean | undefined => {
  if (values === undefined) return undefined;
  const known: Record<string, boolean> = { true: true, '1': true, t: true, false: false, '0': false, f: false };
  const value = known[values[0]?.toLowerCase() ?? ''];
  if (value === undefined || values.length !== 1) throw invalid(`invalid filter value: ${values.join(', ')}`);
  return value;
};

/** As dockerd: a part of the name, or a regular expression for it. */
function matchesName(name: string, wanted: readonly string[] | undefined): boolean {
  if (!wanted?.length) return true;
  return wanted.some((pattern) => {
    if (name.includes(pattern)) return true;
    try {
      return new RegExp(pattern).test(name);
    } catch {
      return false;
    }
  });
}

class VolumeViews implements VolumeBackend {
  readonly #service: VolumeService;
  readonly #deps: VolumeRoomDeps;
  #pruning = false;

  constructor(service: VolumeService, deps: VolumeRoomDeps) {
    this.#service = service;
    this.#deps = deps;
  }

  async list(filters: Filters): Promise<{ Volumes: VolumeInfo[]; Warnings: string[] }> {
    const Warnings = await this.#service.discover();
    return { Volumes: this.#matching(filters), Warnings };
  }

  #matching(filters: Filters): VolumeInfo[] {
    const dangling = isTrue(filters.get('dangling'));
    const drivers = filters.get('driver');
    return this.#service
      .records()
      .filter(
        (record) =>
          (!drivers?.length || drivers.includes(record.driver)) &&
          matchesName(record.name, filters.get('name')) &&
          matchesLabels(record.labels, filters.get('label')) &&
          (dangling === undefined || dangling === (this.#service.users(record.name).length === 0)),
      )
      .map(volumeView);
  }

  async inspect(name: string): Promise<VolumeInfo> {
    if (!this.#service.find(name)) await this.#service.discover();
    const info = this.#service.get(name);
    const status = await this.#service.status(name);
    return status ? { ...info, Status: status } : info;
  }

  create(wanted: Parameters<Volumes['ensure']>[0]): Promise<VolumeInfo> {
    return this.#service.ensure({ ...wanted, anonymous: wanted.name === '' });
  }

  async remove(name: string, force: boolean): Promise<void> {
    if (!this.#service.find(name)) await this.#service.discover();
    return this.#service.remove(name, { force });
  }

  async prune(filters: Filters): Promise<{ VolumesDeleted: string[]; SpaceReclaimed: number }> {
    const all = isTrue(filters.get('all')) ?? false;
    if (this.#pruning) throw conflict('a prune operation is already running');
    this.#pruning = true;
    try {
      const chosen = this.#service.records().filter((record) => this.#wanted(record, all, filters));
      return await this.#removeAll(chosen);
    } finally {
      this.#pruning = false;
    }
  }

  #wanted(record: VolumeRecord, all: boolean, filters: Filters): boolean {
    const unwanted = filters.get('label!') ?? [];
    return (
      isPrunable(record) &&
      (all || isAnonymous(record)) &&
      matchesLabels(record.labels, filters.get('label')) &&
      !unwanted.some((label) => matchesLabels(record.labels, [label])) &&
      this.#service.users(record.name).length === 0
    );
  }

  async #removeAll(chosen: readonly VolumeRecord[]) {
    const deleted: string[] = [];
    let reclaimed = 0;
    for (const { name, mountpoint } of chosen) {
      const size = await treeSize(mountpoint);
      try {
        await this.#service.remove(name);
      } catch (error) {
        this.#deps.log.warn({ err: error, volume: name }, 'a volume could not be pruned');
        continue;
      }
      deleted.push(name);
      reclaimed += size;
    }
    const attributes = { reclaimed: String(reclaimed) };
    this.#deps.bus.publish({ topic: 'event', type: 'volume', action: 'prune', id: '', attributes });
    return { VolumesDeleted: deleted, SpaceReclaimed: reclaimed };
  }

  async usage(): Promise<VolumeUsage[]> {
    const local = this.#service.records().filter(isPrunable);
    return Promise.all(
      local.map(async (record) => ({
        ...volumeView(record),
        UsageData: { Size: await treeSize(record.mountpoint), RefCount: this.#service.users(record.name).length },
      })),
    );
  }
}

export async function createVolumeRoom(deps: VolumeRoomDeps): Promise<VolumeRoom> {
  const root = join(deps.config.dataRoot, 'volumes');
  await mkdir(root, { recursive: true, mode: 0o701 });
  const service = new VolumeService(deps, new LocalDriver(root), deps.plugins ?? PLUGIN_DIRECTORIES);
  const views = new VolumeViews(service, deps);
  return {
    volumes: service,
    usage: () => views.usage(),
    boot: () => service.boot(),
    stop: async () => {},
    routes: (api) => volumeRoutes(api, views),
  };
}
