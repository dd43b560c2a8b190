import type { BuilderConfig } from './builder.ts';

/** The daemon's whole configuration: flags and daemon.json merged, validated and frozen before anything starts. */
export interface RuntimeConfig {
  path: string;
  runtimeArgs?: string[];
  options?: Record<string, unknown>;
}

export interface AddressPool {
  base: string;
  size: number;
}

export interface Ulimit {
  Name: string;
  Hard: number;
  Soft: number;
}

export interface Config {
  /** unix:///path, tcp://host:port, fd:// */
  hosts: readonly string[];
  /** Group of unix sockets. */
  group: string;
  dataRoot: string;
  execRoot: string;
  pidfile: string;
  configFile: string;
  debug: boolean;
  logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';
  logFormat: 'text' | 'json';
  labels: readonly string[];
  registryMirrors: readonly string[];
  insecureRegistries: readonly string[];
  /** URLs; '' leaves it to the environment. */
  httpProxy: string;
  httpsProxy: string;
  noProxy: string;
  maxConcurrentDownloads: number;
  maxConcurrentUploads: number;
  maxDownloadAttempts: number;
  defaultRuntime: string;
  runtimes: Readonly<Record<string, RuntimeConfig>>;
  cgroupParent: string;
  cgroupDriver: 'cgroupfs' | 'systemd' | '';
  /** Bridge network. */
  bip: string;
  bip6: string;
  fixedCidr: string;
  fixedCidr6: string;
  defaultGateway: string;
  defaultGateway6: string;
  /** False: we write no nft rules at all. */
  firewall: boolean;
  /** Keep published ports behind the host's own firewall. */
  portsBehindFirewall: boolean;
  ipForward: boolean;
  ipMasq: boolean;
  icc: boolean;
  ipv6: boolean;
  mtu: number;
  /** Default host address of published ports. */
  ip: string;
  bridge: string;
  defaultAddressPools: readonly AddressPool[];
  dns: readonly string[];
  dnsSearch: readonly string[];
  dnsOptions: readonly string[];
  hostGatewayIps: readonly string[];
  logDriver: string;
  logOpts: Readonly<Record<string, string>>;
  defaultUlimits: Readonly<Record<string, Ulimit>>;
  defaultShmSize: number;
  /** '' is private with cgroup v2, host with v1. */
  defaultCgroupnsMode: 'private' | 'host' | '';
  defaultIpcMode: 'private' | 'shareable';
  init: boolean;
  initPath: string;
  noNewPrivileges: boolean;
  seccompProfile: string;
  selinuxEnabled: boolean;
  usernsRemap: string;
  liveRestore: boolean;
  /** Seconds. */
  shutdownTimeout: number;
  tls: boolean;
  tlsVerify: boolean;
  tlsCaCert: string;
  tlsCert: string;
  tlsKey: string;
  authorizationPlugins: readonly string[];
  metricsAddress: string;
  /** Journal retention. */
  journalKeep: number;
  journalDays: number;
  cdiSpecDirs: readonly string[];
  builder: BuilderConfig;
  /** Clients are told so; nothing depends on it. */
  experimental: boolean;
  /** Whether clients are told to build by BuildKit. */
  buildkit: boolean;
}
