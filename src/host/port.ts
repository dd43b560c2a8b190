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
  cgroup: { version: 1 | 2; driver: 'cgroupfs' | 'systemd'; controllers: ReadonlySet<string>; mounts: Readonly<Record<string, string>> };
  seccomp: boolean;
  apparmor: boolean;
  selinux: boolean;
  userns: boolean;
  /** Capabilities in the daemon's own bounding set, as CAP_…; no container can have more. */
  capabilities: readonly string[];
  ipv4Forwarding: boolean;
  ipv6: boolean;
}
