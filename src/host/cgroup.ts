/** Finds out which cgroup hierarchy this machine runs, and which limits its kernel offers. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FS_MAGIC, fsMagic } from './ffi.ts';
import type { MountInfo } from './mountinfo.ts';
import type { CgroupFeature, HostFacts } from './port.ts';

const ROOT = '/sys/fs/cgroup';

/** The file of a v1 controller whose presence shows the feature. */
const V1: readonly [CgroupFeature, string, string][] = [
  ['memory', 'memory', 'memory.limit_in_bytes'],
  ['swap', 'memory', 'memory.memsw.limit_in_bytes'],
  ['reservation', 'memory', 'memory.soft_limit_in_bytes'],
  ['swappiness', 'memory', 'memory.swappiness'],
  ['oom-kill-disable', 'memory', 'memory.oom_control'],
  ['cpu-shares', 'cpu', 'cpu.shares'],
  ['cpu-cfs', 'cpu', 'cpu.cfs_quota_us'],
  ['cpu-realtime', 'cpu', 'cpu.rt_period_us'],
  ['cpuset', 'cpuset', 'cpuset.cpus'],
  ['pids', 'pids', 'tasks'],
  ['blkio-weight', 'blkio', 'blkio.weight'],
  ['blkio-weight-device', 'blkio', 'blkio.weight_device'],
  ['blkio-throttle', 'blkio', 'blkio.throttle.read_bps_device'],
];

/** What a v2 controller brings along. */
const V2: Readonly<Record<string, readonly CgroupFeature[]>> = {
  memory: ['memory', 'swap', 'reservation'],
  cpu: ['cpu-shares', 'cpu-cfs'],
  cpuset: ['cpuset'],
  pids: ['pids'],
  io: ['blkio-weight', 'blkio-weight-device', 'blkio-throttle'],
};

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
};

const isUnified = (): boolean => existsSync(ROOT) && fsMagic(ROOT) === FS_MAGIC.CGROUP2;

export function readCgroup(mounts: readonly MountInfo[], driver: '' | 'cgroupfs' | 'systemd'): HostFacts['cgroup'] {
  const unified = isUnified();
  // As dockerd: systemd owns the tree where it booted the machine with v2, and nowhere else unless told so.
  const systemd = driver === 'systemd' || (driver === '' && unified && existsSync('/run/systemd/system'));
  return { driver: systemd ? 'systemd' : 'cgroupfs', ...(unified ? readV2() : readV1(mounts)) };
}

function readV2() {
  const controllers = new Set(read(join(ROOT, 'cgroup.controllers')).split(' ').filter(Boolean));
  const features = new Set([...controllers].flatMap((controller) => V2[controller] ?? []));
  return { version: 2 as const, controllers, mounts: { unified: ROOT }, features };
}

function readV1(mounts: readonly MountInfo[]) {
  const found: Record<string, string> = {};
  for (const mount of mounts) {
    if (mount.type !== 'cgroup') continue;
    for (const option of mount.superOptions) {
      const controller = option.replace(/^name=/, '');
      if (controller !== 'rw' && controller !== 'ro' && !controller.includes('=')) found[controller] ??= mount.target;
    }
  }
  const features = V1.filter(([, controller, file]) => found[controller] && existsSync(join(found[controller], file)));
  return {
    version: 1 as const,
    controllers: new Set(Object.keys(found)),
    mounts: found,
    features: new Set(features.map(([feature]) => feature)),
  };
}

/** The cpus and memory nodes the kernel offers. */
export const readCpuset = (): { cpus: string; mems: string } => ({
  cpus: read('/sys/devices/system/cpu/online'),
  mems: read('/sys/devices/system/node/online') || '0',
});

/** `0-2,7` → {0,1,2,7}; undefined for anything else. */
export function parseCpuList(text: string): Set<number> | undefined {
  const found = new Set<number>();
  for (const part of text.split(',').filter(Boolean)) {
    const range = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    if (!range) return undefined;
    const [first, last] = [Number(range[1]), Number(range[2] ?? range[1])];
    if (last < first) return undefined;
    for (let cpu = first; cpu <= last; cpu++) found.add(cpu);
  }
  return found;
}
