/** HostConfig's limits → the OCI `linux.resources`; the runtime translates them to cgroup v1 or v2. Also used by update. */
import { invalid } from '../../errors.ts';
import { present, type ResourceConfig, type ThrottleSetting } from './docker-types.ts';
import type { DeviceRule, Resources, ThrottleDevice } from './spec-types.ts';

/** Numbers of the block devices named in the settings, by path. */
export type BlockDevices = ReadonlyMap<string, { major: number; minor: number }>;

/** The scheduler's period in µs, for which NanoCpus becomes a quota. */
const PERIOD_US = 100_000;

/** Leaves out what is not set; undefined when nothing is. */
function compact<T extends object>(fields: T): T | undefined {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return entries.length ? (Object.fromEntries(entries) as T) : undefined;
}

const positive = (value: number | null | undefined): number | undefined => (value && value > 0 ? value : undefined);

function memory(settings: ResourceConfig): Resources['memory'] {
  return compact({
    limit: positive(settings.Memory),
    reservation: positive(settings.MemoryReservation),
    // -1 is unlimited swap and has to be said; 0 is "not set".
    swap: settings.MemorySwap || undefined,
    swappiness:
      settings.MemorySwappiness == null || settings.MemorySwappiness < 0 ? undefined : settings.MemorySwappiness,
    disableOOMKiller: settings.OomKillDisable || undefined,
  });
}

function cpu(settings: ResourceConfig): Resources['cpu'] {
  if ((settings.CpuShares ?? 0) < 0) {
    throw invalid(`invalid CPU shares (${settings.CpuShares}): value must be a positive integer`);
  }
  const nano = positive(settings.NanoCpus);
  return compact({
    shares: settings.CpuShares || undefined,
    period: settings.CpuPeriod || (nano ? PERIOD_US : undefined),
    quota: settings.CpuQuota || (nano ? Math.floor((nano * PERIOD_US) / 1e9) : undefined),
    realtimePeriod: settings.CpuRealtimePeriod || undefined,
    realtimeRuntime: settings.CpuRealtimeRuntime || undefined,
    cpus: settings.CpusetCpus || undefined,
    mems: settings.CpusetMems || undefined,
  });
}

function deviceNumbers(devices: BlockDevices, path: string | null | undefined): { major: number; minor: number } {
  const found = devices.get(path ?? '');
  if (!found) throw invalid(`stat ${path ?? ''}: no such file or directory`);
  return found;
}

function throttles(
  settings: ResourceConfig['BlkioDeviceReadBps'],
  devices: BlockDevices,
): ThrottleDevice[] | undefined {
  if (!settings?.length) return undefined;
  return present(settings).map(({ Path, Rate }) => ({ ...deviceNumbers(devices, Path), rate: Rate ?? 0 }));
}

function blockIo(settings: ResourceConfig, devices: BlockDevices): Resources['blockIO'] {
  const weights = present(settings.BlkioWeightDevice).map(({ Path, Weight }) => ({
    ...deviceNumbers(devices, Path),
    weight: Weight ?? 0,
  }));
  return compact({
    weight: settings.BlkioWeight || undefined,
    weightDevice: weights.length ? weights : undefined,
    throttleReadBpsDevice: throttles(settings.BlkioDeviceReadBps, devices),
    throttleWriteBpsDevice: throttles(settings.BlkioDeviceWriteBps, devices),
    throttleReadIOPSDevice: throttles(settings.BlkioDeviceReadIOps, devices),
    throttleWriteIOPSDevice: throttles(settings.BlkioDeviceWriteIOps, devices),
  });
}

/** 0 and negative numbers take a limit away. */
const pids = (limit: number | null | undefined): Resources['pids'] =>
  limit == null ? undefined : { limit: limit > 0 ? limit : -1 };

export function resourcesOf(settings: ResourceConfig, devices: BlockDevices, rules?: DeviceRule[]): Resources {
  return (
    compact<Resources>({
      devices: rules,
      memory: memory(settings),
      cpu: cpu(settings),
      pids: pids(settings.PidsLimit),
      blockIO: blockIo(settings, devices),
    }) ?? {}
  );
}

/** Every path whose device number `resourcesOf` asks for. */
export const blockDevicePaths = (settings: ResourceConfig): string[] =>
  [
    settings.BlkioWeightDevice,
    settings.BlkioDeviceReadBps,
    settings.BlkioDeviceWriteBps,
    settings.BlkioDeviceReadIOps,
    settings.BlkioDeviceWriteIOps,
  ].flatMap((list) => present<ThrottleSetting>(list).flatMap(({ Path }) => (Path ? [Path] : [])));
