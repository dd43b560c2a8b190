/** What this machine is and offers, found once at boot. */
export interface HostFacts {
  kernelVersion: string;
  operatingSystem: string;
  osVersion: string;
  architecture: 'amd64' | 'arm64' | string;
  /** As /info prints it: x86_64. */
  machine: string;
  cpus: number;
  memoryBytes: number;
  hostname: string;
  cgroup: {
    version: 1 | 2;
    driver: 'cgroupfs' | 'systemd';
    controllers: ReadonlySet<string>;
    /** Mount point by controller on v1; `unified` on v2. */
    mounts: Readonly<Record<string, string>>;
    /** What limits the kernel offers; undefined counts as all. */
    features?: ReadonlySet<CgroupFeature>;
  };
  /** Cpus and memory nodes there are, as the kernel lists them: "0-3". Undefined: not known, nothing is refused. */
  cpuset?: { cpus: string; mems: string };
  /** Thermal counters of each cpu, which containers must not read. */
  thermalPaths?: readonly string[];
  seccomp: boolean;
  /** False where the kernel is known not to take system calls of the x32 ABI. */
  x32?: boolean;
  apparmor: boolean;
  selinux: boolean;
  userns: boolean;
  /** Capabilities in the daemon's own bounding set, as CAP_…; no container can have more. */
  capabilities: readonly string[];
  ipv4Forwarding: boolean;
  ipv6: boolean;
}

export type CgroupFeature =
  | 'memory'
  | 'swap'
  | 'reservation'
  | 'swappiness'
  | 'oom-kill-disable'
  | 'cpu-shares'
  | 'cpu-cfs'
  | 'cpu-realtime'
  | 'cpuset'
  | 'pids'
  | 'blkio-weight'
  | 'blkio-weight-device'
  | 'blkio-throttle';
