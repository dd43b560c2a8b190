/** The daemon about itself: /_ping, /version, /info, /system/df. */
import { readdirSync } from 'node:fs';
import type { Bus } from '../../bus/bus.ts';
import type { Config } from '../../config/config.ts';
import { invalid } from '../../errors.ts';
import type { HostFacts } from '../../host/port.ts';
import { type CdiRegistry, readCdiRegistry } from '../../runtime/oci/cdi-registry.ts';
import { runtimeWarnings } from '../../runtime/version-gate.ts';
import { type Clock, nowNano, rfc3339Nano } from '../../lib/clock.ts';
import { took } from '../../lib/took.ts';
import type { Reactor } from '../../reactor/reactor.ts';
import { type Api, type ApiContext, atLeast } from '../kit.ts';
import { VERSION } from '../../version.ts';
import { API_VERSION, MIN_API_VERSION } from '../versions.ts';

export interface Component {
  Name: string;
  Version: string;
  Details?: Record<string, string>;
}

export interface Counts {
  containers: number;
  running: number;
  paused: number;
  stopped: number;
  images: number;
}

export const DISK_KINDS = ['container', 'image', 'volume', 'build-cache'] as const;
export type DiskKind = (typeof DISK_KINDS)[number];

/** Docker's objects as their lists show them, with sizes; a kind that was not asked for is missing. */
export interface DiskUsage {
  layersSize: number;
  images?: object[];
  containers?: object[];
  volumes?: object[];
  buildCache?: object[];
}

/** What the composition root knows and the API shows. */
export interface SystemInfo {
  /** Exactly one x.y.z in it: clients compare it. */
  version: string;
  gitCommit: string;
  buildTime: string;
  /** The same as long as the data root lives. */
  id: string;
  host: HostFacts;
  /** The parts under us, as {Name: "runc", Version: "1.1.5"}. */
  components: readonly Component[];
  /** As of the data root: extfs, xfs … */
  backingFilesystem: string;
  plugins: { volume: readonly string[]; network: readonly string[]; log: readonly string[] };
  counts(): Counts;
  diskUsage(kinds: ReadonlySet<DiskKind>): Promise<DiskUsage>;
}

interface SystemParts {
  config: Config;
  clock: Clock;
  bus: Bus;
  reactor: Reactor;
  system: SystemInfo;
}

export function systemRoutes(api: Api, parts: SystemParts): void {
  api.get('/_ping', ping(parts.config));
  const version = JSON.stringify(versionDocument(parts.system, parts.config.experimental));
  const json = { 'Content-Type': 'application/json' };
  api.get('/version', (c) => took('host', 'system_version', () => c.body(version, 200, json)));
  const info = infoText(parts);
  api.get('/info', async (c) => c.body(await took('host', 'system_info', info), 200, json));
  api.get('/system/df', async (c) => c.json(usageDocument(await parts.system.diskUsage(kindsOf(c)), c)));
}

function ping({ buildkit, experimental }: Config): (c: ApiContext) => Response {
  const headers = {
    'Content-Type': 'text/plain; charset=utf-8',
    'Builder-Version': buildkit ? '2' : '1',
    'Docker-Experimental': String(experimental),
    Swarm: 'inactive',
    'Cache-Control': 'no-cache, no-store, must-revalidate',
    Pragma: 'no-cache',
  };
  return (c) => c.body('OK', 200, headers);
}

function versionDocument(system: SystemInfo, experimental: boolean): object {
  const common = {
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    GitCommit: system.gitCommit,
    GoVersion: '',
    Os: 'linux',
    Arch: system.host.architecture,
    KernelVersion: system.host.kernelVersion,
    BuildTime: system.buildTime,
  };
  return {
    Platform: { Name: 'reactord' },
    Version: system.version,
    ...common,
    ...(experimental && { Experimental: true }),
    Components: [
      { Name: 'Engine', Version: system.version, Details: { ...common, Experimental: String(experimental) } },
      { Name: 'reactord', Version: VERSION, Details: { GitCommit: system.gitCommit, Node: process.versions.node } },
      ...system.components,
    ],
  };
}

/** /info as text; what only a reload of the configuration changes is put together once. */
function infoText(parts: SystemParts): () => Promise<string> {
  let constants: string | undefined;
  let known: string[] = [];
  parts.bus.facts$.subscribe({
    next: ({ type, action }) => {
      if (type === 'daemon' && action === 'reload') constants = undefined;
    },
    // The bus reports its own failures.
    error: () => {},
  });
  return async () => {
    if (constants === undefined) {
      constants = JSON.stringify(infoConstants(parts)).slice(1);
      known = warnings(parts);
    }
    const cdi = await readCdiRegistry(parts.config.cdiSpecDirs);
    return `${JSON.stringify({ ...infoNow(parts), ...infoDevices(known, cdi) }).slice(0, -1)},${constants}`;
  };
}

function infoConstants({ config, system }: SystemParts): object {
  const { host } = system;
  return {
    ID: system.id,
    Driver: 'overlay2',
    DriverStatus: [
      ['Backing Filesystem', system.backingFilesystem],
      ['Supports d_type', 'true'],
      ['Using metacopy', 'false'],
      ['Native Overlay Diff', 'true'],
      ['userxattr', 'false'],
    ],
    Plugins: {
      Volume: system.plugins.volume,
      Network: system.plugins.network,
      Authorization: config.authorizationPlugins.length ? config.authorizationPlugins : null,
      Log: system.plugins.log,
    },
    ...limits(host),
    IPv4Forwarding: host.ipv4Forwarding,
    LoggingDriver: config.logDriver,
    CgroupDriver: host.cgroup.driver,
    CgroupVersion: String(host.cgroup.version),
    KernelVersion: host.kernelVersion,
    OperatingSystem: host.operatingSystem,
    OSVersion: host.osVersion,
    OSType: 'linux',
    Architecture: host.machine,
    IndexServerAddress: 'https://index.docker.io/v1/',
    NCPU: host.cpus,
    MemTotal: host.memoryBytes,
    GenericResources: null,
    DockerRootDir: config.dataRoot,
    HttpProxy: withoutCredentials(config.httpProxy || (process.env.HTTP_PROXY ?? process.env.http_proxy ?? '')),
    HttpsProxy: withoutCredentials(config.httpsProxy || (process.env.HTTPS_PROXY ?? process.env.https_proxy ?? '')),
    NoProxy: config.noProxy || (process.env.NO_PROXY ?? process.env.no_proxy ?? ''),
    Name: host.hostname,
    ExperimentalBuild: config.experimental,
    ServerVersion: system.version,
    Swarm: {
      NodeID: '',
      NodeAddr: '',
      LocalNodeState: 'inactive',
      ControlAvailable: false,
      Error: '',
      RemoteManagers: null,
    },
    Isolation: '',
    InitBinary: config.initPath || 'docker-init',
    ContainerdCommit: { ID: versionOf(system, 'containerd-shim') },
    RuncCommit: { ID: versionOf(system, 'runc') },
    InitCommit: { ID: versionOf(system, 'docker-init') },
    SecurityOptions: securityOptions(config, host),
    FirewallBackend: { Driver: config.firewall ? 'nftables' : 'none' },
    CDISpecDirs: config.cdiSpecDirs,
    DefaultAddressPools: config.defaultAddressPools.map(({ base, size }) => ({ Base: base, Size: size })),
  };
}

/** What lies in the CDI directories, and what is wrong with that beside what is known already. */
const infoDevices = (known: readonly string[], cdi: CdiRegistry): object => ({
  DiscoveredDevices: [...cdi.devices.keys()].sort().map((ID) => ({ Source: 'cdi', ID })),
  Warnings: [...known, ...cdi.errors.map((error) => `WARNING: CDI spec ${error}`)],
});

/** Counts, and what a reload may change. */
function infoNow({ config, system, clock, bus, reactor }: SystemParts): object {
  const counts = system.counts();
  return {
    Debug: config.debug,
    RegistryConfig: registryConfig(config),
    Labels: config.labels,
    Runtimes: runtimes(config),
    DefaultRuntime: config.defaultRuntime,
    LiveRestoreEnabled: config.liveRestore,
    Containers: counts.containers,
    ContainersRunning: counts.running,
    ContainersPaused: counts.paused,
    ContainersStopped: counts.stopped,
    Images: counts.images,
    NFd: openFiles(),
    // Nearest to what dockerd counts here: things that run of their own.
    NGoroutines: reactor.size,
    NEventsListener: bus.stats.subscribers,
    SystemTime: rfc3339Nano(nowNano(clock)),
  };
}

function openFiles(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return -1;
  }
}

function limits({ cgroup }: HostFacts): Record<string, boolean> {
  const has = (controller: string): boolean => cgroup.controllers.has(controller);
  return {
    MemoryLimit: has('memory'),
    SwapLimit: has('memory'),
    CpuCfsPeriod: has('cpu'),
    CpuCfsQuota: has('cpu'),
    CPUShares: has('cpu'),
    CPUSet: has('cpuset'),
    PidsLimit: has('pids'),
    OomKillDisable: cgroup.version === 1 && has('memory'),
  };
}

function registryConfig(config: Config): object {
  const cidrs = config.insecureRegistries.filter((registry) => registry.includes('/'));
  const hosts = config.insecureRegistries.filter((registry) => !registry.includes('/'));
  const index = (name: string, secure: boolean, official: boolean, mirrors: readonly string[]): object => ({
    Name: name,
    Mirrors: mirrors,
    Secure: secure,
    Official: official,
  });
  return {
    InsecureRegistryCIDRs: [...new Set(['::1/128', '127.0.0.0/8', ...cidrs])],
    IndexConfigs: {
      'docker.io': index('docker.io', true, true, config.registryMirrors),
      ...Object.fromEntries(hosts.map((host) => [host, index(host, false, false, [])])),
    },
    Mirrors: config.registryMirrors.length ? config.registryMirrors : null,
  };
}

const runtimes = (config: Config): object =>
  Object.fromEntries(
    Object.entries(config.runtimes).map(([name, { path, runtimeArgs }]) => [
      name,
      { path, ...(runtimeArgs ? { runtimeArgs } : {}) },
    ]),
  );

function securityOptions(config: Config, host: HostFacts): string[] {
  const profile = config.seccompProfile === '' ? 'builtin' : config.seccompProfile;
  return [
    ...(host.apparmor ? ['name=apparmor'] : []),
    ...(host.seccomp ? [`name=seccomp,profile=${profile}`] : []),
    ...(host.selinux && config.selinuxEnabled ? ['name=selinux'] : []),
    ...(config.usernsRemap ? ['name=userns'] : []),
    ...(config.noNewPrivileges ? ['name=no-new-privileges'] : []),
    ...(host.cgroup.version === 2 ? ['name=cgroupns'] : []),
  ];
}

function warnings({ config, system }: SystemParts): string[] {
  const { host, components } = system;
  const unprotected = config.hosts.filter((address) => address.startsWith('tcp://') && !config.tlsVerify);
  const { controllers } = host.cgroup;
  return [
    ...unprotected.map(
      (address) =>
        `[DEPRECATION NOTICE]: API is accessible on ${address.replace('tcp://', 'http://')} without encryption.`,
    ),
    ...['memory', 'cpu', 'cpuset', 'pids'].flatMap((name) =>
      controllers.has(name) ? [] : [`WARNING: No ${name} cgroup support`],
    ),
    ...(host.ipv4Forwarding ? [] : ['WARNING: IPv4 forwarding is disabled']),
    ...components.flatMap((one) => runtimeWarnings(one.Name, one.Version)),
  ];
}

const versionOf = (system: SystemInfo, name: string): string =>
  system.components.find((component) => component.Name === name)?.Version ?? '';

/** A proxy's user and password are nobody's business. */
const withoutCredentials = (proxy: string): string => proxy.replace(/\/\/[^/@]*@/, '//xxxxx:xxxxx@');

function kindsOf(c: ApiContext): ReadonlySet<DiskKind> {
  const asked = (c.req.queries('type') ?? []).filter((kind) => kind !== '');
  for (const kind of asked)
    if (!(DISK_KINDS as readonly string[]).includes(kind)) throw invalid(`unknown object type: ${kind}`);
  return new Set(asked.length ? (asked as DiskKind[]) : DISK_KINDS);
}

function usageDocument(usage: DiskUsage, c: ApiContext): object {
  const buildCache = usage.buildCache as { Size?: number }[] | undefined;
  return {
    LayersSize: usage.layersSize,
    Images: usage.images ?? null,
    Containers: usage.containers ?? null,
    Volumes: usage.volumes ?? null,
    BuildCache: usage.buildCache ?? null,
    ...(atLeast(c, '1.42')
      ? {}
      : { BuilderSize: (buildCache ?? []).reduce((sum, entry) => sum + (entry.Size ?? 0), 0) }),
  };
}
