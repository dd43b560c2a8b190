/**
 * Reads what a container's cgroup counts, from v1 or v2, into Docker's terms. A file that is not there counts nothing. The files are
 * the kernel's memory: to read one takes some microseconds, to hand it to a thread ten times that, so they are read here.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HostFacts } from '../host/port.ts';
import {
  type BlkioEntry,
  type BlkioStats,
  type CpuStats,
  type MemoryStats,
  NO_BLKIO,
  type Sample,
} from './document.ts';
import { blkioEntries, flatKeyed, ioStat, singleNumber, TICK_NS } from './parse.ts';

export type CgroupSample = Pick<Sample, 'pids' | 'blkio' | 'cpu' | 'memory'>;

type Reader = (controller: string, file: string) => string;

const MICROSECOND_NS = 1000;

/** `a-b.slice` lies in `a.slice` (systemd.slice(5)). */
function slicePath(slice: string): string {
  const parts = slice
    .replace(/\.slice$/, '')
    .split('-')
    .filter(Boolean);
  return parts.map((_, index) => `${parts.slice(0, index + 1).join('-')}.slice`).join('/');
}

/** Where the runtime put a container, from the spec's cgroupsPath: a path, or `slice:prefix:name` with systemd. */
export function cgroupDirectory(cgroupsPath: string): string {
  const [slice, prefix, name] = cgroupsPath.split(':');
  return name === undefined ? cgroupsPath : join('/', slicePath(slice!), `${prefix}-${name}.scope`);
}

/** Paths of /proc/<pid>/cgroup by controller; `` is v2's. */
export function parseProcCgroup(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^\d+:([^:]*):(.*)$/.exec(line);
    for (const controller of match?.[1]?.split(',') ?? []) found.set(controller.replace(/^name=/, ''), match![2]!);
  }
  return found;
}

export interface CgroupTarget {
  cgroupsPath: string;
  pid: number;
}

/** Throws ENOENT when the cgroup is gone. */
export function readCgroupStats(host: Pick<HostFacts, 'cgroup' | 'memoryBytes'>, target: CgroupTarget): CgroupSample {
  const read = readerOf(host.cgroup, target);
  return host.cgroup.version === 2 ? readV2(read, host.memoryBytes) : readV1(read, host.memoryBytes);
}

/** The container's own cgroup; where it is not (another runtime, a nested daemon) the one its init is in. */
function readerOf({ version, mounts }: HostFacts['cgroup'], target: CgroupTarget): Reader {
  const mountOf = (controller: string): string =>
    (version === 2 ? mounts.unified : mounts[controller]) ?? '/sys/fs/cgroup';
  const expected = cgroupDirectory(target.cgroupsPath);
  const probe = version === 2 ? 'unified' : 'memory' in mounts ? 'memory' : (Object.keys(mounts)[0] ?? 'memory');
  const actual = existsSync(join(mountOf(probe), expected))
    ? undefined
    : parseProcCgroup(readFileSync(`/proc/${target.pid}/cgroup`, 'utf8'));
  return (controller, file) => {
    const path = actual ? (actual.get(version === 2 ? '' : controller) ?? expected) : expected;
    return readIfThere(join(mountOf(controller), path, file));
  };
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

const capped = (limit: number | undefined, memoryBytes: number): number =>
  limit === undefined || limit > memoryBytes ? memoryBytes : limit;

const pidsOf = (current: string, limit: string): Sample['pids'] => ({
  current: singleNumber(current) ?? 0,
  ...(singleNumber(limit) ? { limit: singleNumber(limit) } : {}),
});

const readV1 = (read: Reader, memoryBytes: number): CgroupSample => ({
  cpu: cpuV1(read),
  memory: memoryV1(read, memoryBytes),
  blkio: blkioV1(read),
  pids: pidsOf(read('pids', 'pids.current'), read('pids', 'pids.max')),
});

function cpuV1(read: Reader): CpuStats {
  const { user = 0, system = 0 } = flatKeyed(read('cpuacct', 'cpuacct.stat'));
  const throttled = flatKeyed(read('cpu', 'cpu.stat'));
  return {
    cpu_usage: {
      total_usage: singleNumber(read('cpuacct', 'cpuacct.usage')) ?? 0,
      percpu_usage: read('cpuacct', 'cpuacct.usage_percpu').trim().split(/\s+/).filter(Boolean).map(Number),
      usage_in_kernelmode: system * TICK_NS,
      usage_in_usermode: user * TICK_NS,
    },
    throttling_data: {
      periods: throttled.nr_periods ?? 0,
      throttled_periods: throttled.nr_throttled ?? 0,
      throttled_time: throttled.throttled_time ?? 0,
    },
  };
}

function memoryV1(read: Reader, memoryBytes: number): MemoryStats {
  const number = (name: string): number | undefined => singleNumber(read('memory', `memory.${name}`));
  const failures = number('failcnt');
  return {
    usage: number('usage_in_bytes') ?? 0,
    max_usage: number('max_usage_in_bytes') ?? 0,
    stats: flatKeyed(read('memory', 'memory.stat')),
    ...(failures ? { failcnt: failures } : {}),
    limit: capped(number('limit_in_bytes'), memoryBytes),
  };
}

/** Bytes and operations: the scheduler's own counters where they are, else those of throttling, which always are. */
function blkioV1(read: Reader): BlkioStats {
  const entries = (name: string): BlkioEntry[] =>
    blkioEntries(read('blkio', `blkio.${name}_recursive`) || read('blkio', `blkio.throttle.${name}_recursive`));
  return {
    ...NO_BLKIO,
    io_service_bytes_recursive: entries('io_service_bytes'),
    io_serviced_recursive: entries('io_serviced'),
  };
}

function readV2(read: Reader, memoryBytes: number): CgroupSample {
  const file = (name: string): string => read('unified', name);
  const { oom } = flatKeyed(file('memory.events'));
  const { bytes, operations } = ioStat(file('io.stat'));
  return {
    cpu: cpuV2(flatKeyed(file('cpu.stat'))),
    memory: {
      usage: singleNumber(file('memory.current')) ?? 0,
      stats: flatKeyed(file('memory.stat')),
      ...(oom ? { failcnt: oom } : {}),
      limit: capped(singleNumber(file('memory.max')), memoryBytes),
    },
    blkio: { ...NO_BLKIO, io_service_bytes_recursive: bytes, io_serviced_recursive: operations },
    pids: pidsOf(file('pids.current'), file('pids.max')),
  };
}

const cpuV2 = (stat: Record<string, number>): CpuStats => ({
  cpu_usage: {
    total_usage: (stat.usage_usec ?? 0) * MICROSECOND_NS,
    usage_in_kernelmode: (stat.system_usec ?? 0) * MICROSECOND_NS,
    usage_in_usermode: (stat.user_usec ?? 0) * MICROSECOND_NS,
  },
  throttling_data: {
    periods: stat.nr_periods ?? 0,
    throttled_periods: stat.nr_throttled ?? 0,
    throttled_time: (stat.throttled_usec ?? 0) * MICROSECOND_NS,
  },
});
