/** What the builder and the validator read of Docker's Config and HostConfig; clients send null for what they leave out. */
type Maybe<T> = T | null | undefined;

export interface DeviceMapping {
  PathOnHost?: string;
  PathInContainer?: string;
  CgroupPermissions?: string;
}

export interface DeviceRequest {
  Driver?: string;
  Count?: number;
  DeviceIDs?: Maybe<string[]>;
  Capabilities?: Maybe<string[][]>;
  Options?: Maybe<Record<string, string>>;
}

export interface ThrottleSetting {
  Path?: string;
  Rate?: number;
}

export interface ResourceConfig {
  CpuShares?: Maybe<number>;
  Memory?: Maybe<number>;
  NanoCpus?: Maybe<number>;
  CgroupParent?: Maybe<string>;
  BlkioWeight?: Maybe<number>;
  BlkioWeightDevice?: Maybe<{ Path?: string; Weight?: number }[]>;
  BlkioDeviceReadBps?: Maybe<ThrottleSetting[]>;
  BlkioDeviceWriteBps?: Maybe<ThrottleSetting[]>;
  BlkioDeviceReadIOps?: Maybe<ThrottleSetting[]>;
  BlkioDeviceWriteIOps?: Maybe<ThrottleSetting[]>;
  CpuPeriod?: Maybe<number>;
  CpuQuota?: Maybe<number>;
  CpuRealtimePeriod?: Maybe<number>;
  CpuRealtimeRuntime?: Maybe<number>;
  CpusetCpus?: Maybe<string>;
  CpusetMems?: Maybe<string>;
  Devices?: Maybe<DeviceMapping[]>;
  DeviceCgroupRules?: Maybe<string[]>;
  DeviceRequests?: Maybe<DeviceRequest[]>;
  MemoryReservation?: Maybe<number>;
  MemorySwap?: Maybe<number>;
  MemorySwappiness?: Maybe<number>;
  OomKillDisable?: Maybe<boolean>;
  PidsLimit?: Maybe<number>;
  Ulimits?: Maybe<{ Name?: string; Hard?: number; Soft?: number }[]>;
  CpuPercent?: Maybe<number>;
  IOMaximumIOps?: Maybe<number>;
  IOMaximumBandwidth?: Maybe<number>;
}

export interface HostSettings extends ResourceConfig {
  NetworkMode?: Maybe<string>;
  PortBindings?: Maybe<Record<string, Maybe<{ HostIp?: string; HostPort?: string }[]>>>;
  PublishAllPorts?: Maybe<boolean>;
  RestartPolicy?: Maybe<{ Name?: string; MaximumRetryCount?: number }>;
  AutoRemove?: Maybe<boolean>;
  Links?: Maybe<string[]>;
  CapAdd?: Maybe<string[]>;
  CapDrop?: Maybe<string[]>;
  CgroupnsMode?: Maybe<string>;
  Dns?: Maybe<string[]>;
  ExtraHosts?: Maybe<string[]>;
  GroupAdd?: Maybe<string[]>;
  IpcMode?: Maybe<string>;
  OomScoreAdj?: Maybe<number>;
  PidMode?: Maybe<string>;
  Privileged?: Maybe<boolean>;
  ReadonlyRootfs?: Maybe<boolean>;
  SecurityOpt?: Maybe<string[]>;
  Tmpfs?: Maybe<Record<string, string>>;
  UTSMode?: Maybe<string>;
  UsernsMode?: Maybe<string>;
  ShmSize?: Maybe<number>;
  Sysctls?: Maybe<Record<string, string>>;
  Runtime?: Maybe<string>;
  Isolation?: Maybe<string>;
  Init?: Maybe<boolean>;
  Annotations?: Maybe<Record<string, string>>;
  ConsoleSize?: Maybe<number[]>;
  MaskedPaths?: Maybe<string[]>;
  ReadonlyPaths?: Maybe<string[]>;
}

export interface ContainerSettings {
  Hostname?: Maybe<string>;
  Domainname?: Maybe<string>;
  User?: Maybe<string>;
  Tty?: Maybe<boolean>;
  Env?: Maybe<string[]>;
  ExposedPorts?: Maybe<Record<string, unknown>>;
  WorkingDir?: Maybe<string>;
  NetworkDisabled?: Maybe<boolean>;
  StopSignal?: Maybe<string>;
  Healthcheck?: Maybe<{
    Interval?: Maybe<number>;
    Timeout?: Maybe<number>;
    StartPeriod?: Maybe<number>;
    StartInterval?: Maybe<number>;
    Retries?: Maybe<number>;
  }>;
}

/** `container:<id>` → the id; undefined for every other mode. */
export function joinedContainer(mode: Maybe<string>): string | undefined {
  return mode?.startsWith('container:') ? mode.slice('container:'.length) : undefined;
}
