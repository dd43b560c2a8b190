/** Reads what a container's cgroup counts, from v1 or v2, into Docker's terms. A file that is not there counts nothing. */
import { readFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { HostFacts } from '../host/port.ts';
import { type BlkioStats, type CpuStats, type MemoryStats, NO_BLKIO, type Sample } from './document.ts';
import { blkioEntries, flatKeyed, ioStat, singleNumber, TICK_NS } from './parse.ts';

export type CgroupSample = Pick<Sample, 'pids' | 'blkio' | 'cpu' | 'memory'>;

type Reader = (controller: string, file: string) => Promise<string>;

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
export async function readCgroupStats(
  host: Pick<HostFacts, 'cgroup' | 'memoryBytes'>,
  target: CgroupTarget,
): Promise<CgroupSample> {
  const read = await readerOf(host.cgroup, target);
  return host.cgroup.version === 2 ? readV2(read, host.memoryBytes) : readV1(read, host.memoryBytes);
}

/** The container's own cgroup; where it is not (another runtime, a nested daemon) the one its init is in. */
async function readerOf({ version, mounts }: HostFacts['cgroup'], target: CgroupTarget): Promise<Reader> {
  const mountOf = (controller: string): string =>
    (version === 2 ? mounts.unified : mounts[controller]) ?? '/sys/fs/cgroup';
  const expected = cgroupDirectory(target.cgroupsPath);
  const probe = version === 2 ? 'unified' : 'memory' in mounts ? 'memory' : (Object.keys(mounts)[0] ?? 'memory');
  const actual = existsSync(join(mountOf(probe), expected))
    ? undefined
    : parseProcCgroup(await readFile(`/proc/${target.pid}/cgroup`, 'utf8'));
  return (controller, file) => {
    const path = actual ? (actual.get(version === 2 ? '' : controller) ?? expected) : expected;
    return readFile(join(mountOf(controller), path, file), 'utf8').catch(() => '');
  };
}

const capped = (limit: number | undefined, memoryBytes: number): number =>
  limit === undefined || limit > memoryBytes ? memoryBytes : limit;

const pidsOf = (current: string, limit: string): Sample['pids'] => ({
  current: singleNumber(current) ?? 0,
  ...(singleNumber(limit) ? { limit: singleNumber(limit) } : {}),
});

async function readV1(read: Reader, memoryBytes: number): Promise<CgroupSample> {
  const [cpu, memory, blkio, current, limit] = await Promise.all([
    cpuV1(read),
    memoryV1(read, memoryBytes),
    blkioV1(read),
    read('pids', 'pids.current'),
    read('pids', 'pids.max'),
  ]);
  return { cpu, memory, blkio, pids: pidsOf(current, limit) };
}

async function cpuV1(read: Reader): Promise<CpuStats> {
  const [total, perCpu, ticks, throttling] = await Promise.all([
    read('cpuacct', 'cpuacct.usage'),
    read('cpuacct', 'cpuacct.usage_percpu'),
    read('cpuacct', 'cpuacct.stat'),
    read('cpu', 'cpu.stat'),
  ]);
  const { user = 0, system = 0 } = flatKeyed(ticks);
  const throttled = flatKeyed(throttling);
  return {
    cpu_usage: {
      total_usage: singleNumber(total) ?? 0,
      percpu_usage: perCpu.trim().split(/\s+/).filter(Boolean).map(Number),
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

async function memoryV1(read: Reader, memoryBytes: number): Promise<MemoryStats> {
  const [usage, max, limit, failures, stats] = await Promise.all([
    read('memory', 'memory.usage_in_bytes'),
    read('memory', 'memory.max_usage_in_bytes'),
    read('memory', 'memory.limit_in_bytes'),
    read('memory', 'memory.failcnt'),
    read('memory', 'memory.stat'),
  ]);
  return {
    usage: singleNumber(usage) ?? 0,
    max_usage: singleNumber(max) ?? 0,
    stats: flatKeyed(stats),
    ...(singleNumber(failures) ? { failcnt: singleNumber(failures) } : {}),
    limit: capped(singleNumber(limit), memoryBytes),
  };
}

/** Bytes and operations: the scheduler's own counters where they are, else those of throttling, which always are. */
async function blkioV1(read: Reader): Promise<BlkioStats> {
  const either = async (name: string): Promise<string> =>
    (await read('blkio', `blkio.${name}_recursive`)) || (await read('blkio', `blkio.throttle.${name}_recursive`));
  const [bytes, operations] = await Promise.all([either('io_service_bytes'), either('io_serviced')]);
  return {
    ...NO_BLKIO,
    io_service_bytes_recursive: blkioEntries(bytes),
    io_serviced_recursive: blkioEntries(operations),
  };
}

async function readV2(read: Reader, memoryBytes: number): Promise<CgroupSample> {
  const file = (name: string): Promise<string> => read('unified', name);
  const [cpu, usage, limit, stats, events, io, current, max] = await Promise.all([
    file('cpu.stat'),
    file('memory.current'),
    file('memory.max'),
    file('memory.stat'),
    file('memory.events'),
    file('io.stat'),
    file('pids.current'),
    file('pids.max'),
  ]);
  const { oom } = flatKeyed(events);
  return {
    cpu: cpuV2(flatKeyed(cpu)),
    memory: {
      usage: singleNumber(usage) ?? 0,
      stats: flatKeyed(stats),
      ...(oom ? { failcnt: oom } : {}),
      limit: capped(singleNumber(limit), memoryBytes),
    },
    blkio: { ...NO_BLKIO, io_service_bytes_recursive: ioStat(io).bytes, io_serviced_recursive: ioStat(io).operations },
    pids: pidsOf(current, max),
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
