/** Reads once, at boot, what this machine is and offers. Nothing here fails for a file that is not there. */
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, hostname, machine, release, totalmem } from 'node:os';
import type { Config } from '../config/config.ts';
import { hasApparmor } from './apparmor.ts';
import { capabilitiesOf } from './capabilities.ts';
import { parseCpuList, readCgroup, readCpuset } from './cgroup.ts';
import { takesX32Calls } from './ffi.ts';
import { readMountInfo } from './mountinfo.ts';
import type { HostFacts } from './port.ts';

/** Go's and Docker's names of machines. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  aarch64: 'arm64',
  armv7l: 'arm',
  armv6l: 'arm',
  i686: '386',
  loongarch64: 'loong64',
};

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

/** os-release(5): shell-like assignments with optional quotes. */
export function parseOsRelease(text: string): { name: string; version: string } {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^([A-Z_0-9]+)=(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|(.*))$/.exec(line.trim());
    if (match) fields.set(match[1]!, (match[2]?.replace(/\\(.)/g, '$1') ?? match[3] ?? match[4] ?? '').trim());
  }
  return { name: fields.get('PRETTY_NAME') || fields.get('NAME') || 'Linux', version: fields.get('VERSION_ID') ?? '' };
}

function thermalPaths(): string[] {
  const cpus = parseCpuList(read('/sys/devices/system/cpu/possible').trim()) ?? new Set<number>();
  return [...cpus]
    .map((cpu) => `/sys/devices/system/cpu/cpu${cpu}/thermal_throttle`)
    .filter((path) => existsSync(path));
}

export async function readHostFacts(config: Pick<Config, 'cgroupDriver'>): Promise<HostFacts> {
  const status = read('/proc/self/status');
  const os = parseOsRelease(read('/etc/os-release') || read('/usr/lib/os-release'));
  const kind = machine();
  return {
    kernelVersion: release(),
    operatingSystem: os.name,
    osVersion: os.version,
    architecture: ARCHITECTURES[kind] ?? kind,
    machine: kind,
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    hostname: hostname(),
    cgroup: readCgroup(await readMountInfo(), config.cgroupDriver),
    cpuset: readCpuset(),
    thermalPaths: thermalPaths(),
    x32: kind === 'x86_64' && takesX32Calls(),
    seccomp: /^Seccomp:/m.test(status),
    apparmor: hasApparmor(),
    selinux: existsSync('/sys/fs/selinux/enforce'),
    userns: existsSync('/proc/self/ns/user'),
    capabilities: capabilitiesOf(/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'),
    // Asked each time: the networks turn it on after this.
    get ipv4Forwarding() {
      return read('/proc/sys/net/ipv4/ip_forward').trim() === '1';
    },
    ipv6: existsSync('/proc/net/if_inet6'),
  };
}
