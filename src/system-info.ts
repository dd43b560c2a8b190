/** What /version, /info and /system/df say of the whole: gathered from the rooms by the composition root. */
import { readFileSync } from 'node:fs';
import type { Component, Counts, DiskKind, DiskUsage, SystemInfo } from './api/routes/system.ts';
import type { Config } from './config/config.ts';
import { fsMagic } from './host/ffi.ts';
import type { HostFacts } from './host/port.ts';
import { newId } from './lib/ids.ts';
import { runTool } from './lib/spawn.ts';
import type { Store } from './store/port.ts';
import { ENGINE_VERSION } from './version.ts';

export interface SystemSources {
  config: Config;
  host: HostFacts;
  store: Store;
  components: Component[];
  counts(): Counts;
  usage: Record<Exclude<DiskKind, 'image'>, () => Promise<object[]>> & {
    image: () => Promise<{ images: object[]; layersSize: number }>;
  };
}

const TOOL_MS = 5000;

/** The first x.y.z a tool says of itself; '' when it is not there. */
async function versionOf(command: string, args: string[]): Promise<string> {
  try {
    const { stdout, stderr } = await runTool(command, args, { deadline: TOOL_MS, accept: [0, 1, 2] });
    return /\d+\.\d+\.\d+[^\s,]*/.exec(stdout + stderr)?.[0] ?? '';
  } catch {
    return '';
  }
}

/** The parts under us, by the names that `docker version` and /info look for. */
export async function readComponents(config: Config): Promise<Component[]> {
  const runtime = config.runtimes[config.defaultRuntime]?.path ?? 'runc';
  const [runc, shim] = await Promise.all([
    versionOf(runtime, ['--version']),
    versionOf('containerd-shim-runc-v2', ['-v']),
  ]);
  const found = [
    { Name: 'containerd-shim', Version: shim },
    { Name: config.defaultRuntime, Version: runc },
  ];
  return found.filter(({ Version }) => Version !== '');
}

/** The same as long as the data root lives. */
export function hostId(store: Store): string {
  const daemon = store.collection<{ id: string }>('daemon');
  const known = daemon.get('self');
  if (known) return known.id;
  const id = newId();
  const uuid = [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20, 32)].join('-');
  daemon.put('self', { id: uuid });
  return uuid;
}

/** statfs(2)'s f_type of file systems that a data root may lie on, by the names dockerd gives them. */
const FILESYSTEMS: Record<number, string> = {
  0xef53: 'extfs',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x01021994: 'tmpfs',
  0x794c7630: 'overlayfs',
};

function backingFilesystem(path: string): string {
  try {
    return FILESYSTEMS[fsMagic(path)] ?? '<unknown>';
  } catch {
    return '<unknown>';
  }
}

/** Set by the package's build; a checkout has none. */
export const gitCommit = (): string => {
  try {
    return readFileSync(new URL('./commit', import.meta.url), 'utf8').trim();
  } catch {
    return 'source';
  }
};

export function systemInfo(sources: SystemSources): SystemInfo {
  const { config, host, store, usage } = sources;
  return {
    version: ENGINE_VERSION,
    gitCommit: gitCommit(),
    buildTime: '',
    id: hostId(store),
    host,
    components: sources.components,
    backingFilesystem: backingFilesystem(config.dataRoot),
    plugins: {
      volume: ['local'],
      network: ['bridge', 'host', 'ipvlan', 'macvlan', 'null'],
      log: ['fluentd', 'gelf', 'journald', 'json-file', 'local', 'none', 'syslog'],
    },
    counts: sources.counts,
    async diskUsage(kinds): Promise<DiskUsage> {
      const read = (kind: Exclude<DiskKind, 'image'>): Promise<object[] | undefined> =>
        kinds.has(kind) ? usage[kind]() : Promise.resolve(undefined);
      const [images, containers, volumes, buildCache] = await Promise.all([
        kinds.has('image') ? usage.image() : undefined,
        read('container'),
        read('volume'),
        read('build-cache'),
      ]);
      return {
        layersSize: images?.layersSize ?? 0,
        ...(images ? { images: images.images } : {}),
        ...(containers ? { containers } : {}),
        ...(volumes ? { volumes } : {}),
        ...(buildCache ? { buildCache } : {}),
      };
    },
  };
}
