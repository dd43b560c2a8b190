/** Docker's stats document (API 1.51, ContainerStatsResponse), as data. */
import { ZERO_TIME } from '../lib/clock.ts';

export interface CpuStats {
  cpu_usage: {
    total_usage: number;
    /** cgroup v1 only. */
    percpu_usage?: number[];
    usage_in_kernelmode: number;
    usage_in_usermode: number;
  };
  system_cpu_usage?: number;
  online_cpus?: number;
  throttling_data: { periods: number; throttled_periods: number; throttled_time: number };
}

export interface BlkioEntry {
  major: number;
  minor: number;
  op: string;
  value: number;
}

export interface BlkioStats {
  io_service_bytes_recursive: BlkioEntry[] | null;
  io_serviced_recursive: BlkioEntry[] | null;
  io_queue_recursive: BlkioEntry[] | null;
  io_service_time_recursive: BlkioEntry[] | null;
  io_wait_time_recursive: BlkioEntry[] | null;
  io_merged_recursive: BlkioEntry[] | null;
  io_time_recursive: BlkioEntry[] | null;
  sectors_recursive: BlkioEntry[] | null;
}

export interface MemoryStats {
  usage?: number;
  /** cgroup v1 only. */
  max_usage?: number;
  stats?: Record<string, number>;
  failcnt?: number;
  /** Bytes; the host's memory where there is no limit. */
  limit?: number;
}

export interface InterfaceStats {
  rx_bytes: number;
  rx_packets: number;
  rx_errors: number;
  rx_dropped: number;
  tx_bytes: number;
  tx_packets: number;
  tx_errors: number;
  tx_dropped: number;
}

/** What was measured at one moment. */
export interface Sample {
  /** RFC 3339 with nanoseconds. */
  read: string;
  pids: { current?: number; limit?: number };
  blkio: BlkioStats;
  cpu: CpuStats;
  memory: MemoryStats;
  networks: Record<string, InterfaceStats> | undefined;
}

export const NO_CPU: CpuStats = {
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
};

export const NO_BLKIO: BlkioStats = {
  io_service_bytes_recursive: null,
  io_serviced_recursive: null,
  io_queue_recursive: null,
  io_service_time_recursive: null,
  io_wait_time_recursive: null,
  io_merged_recursive: null,
  io_time_recursive: null,
  sectors_recursive: null,
};

/** The document of a sample. `before` fills the pre fields, from which clients compute rates; without it they are empty. */
export function statsDocument(
  container: { id: string; name: string },
  sample: Sample | undefined,
  before?: Sample,
): object {
  return {
    name: `/${container.name}`,
    id: container.id,
    read: sample?.read ?? ZERO_TIME,
    preread: before?.read ?? ZERO_TIME,
    pids_stats: sample?.pids ?? {},
    blkio_stats: sample?.blkio ?? NO_BLKIO,
    num_procs: 0,
    storage_stats: {},
    cpu_stats: sample?.cpu ?? NO_CPU,
    precpu_stats: before?.cpu ?? NO_CPU,
    memory_stats: sample?.memory ?? {},
    ...(sample?.networks ? { networks: sample.networks } : {}),
  };
}
