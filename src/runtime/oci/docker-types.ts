/** What the builder and the validator read of Docker's Config and HostConfig; clients send null for what they leave out. */
type Maybe<T> = T | null | undefined;

export interface DeviceMapping {
  PathOnHost?: Maybe<string>;
  PathInContainer?: Maybe<string>;
  CgroupPermissions?: Maybe<string>;
}

export interface DeviceRequest {
  Driver?: Maybe<string>;
  Count?: Maybe<number>;
  DeviceIDs?: Maybe<string[]>;
  Capabilities?: Maybe<(string[] | null)[]>;
  Options?: Maybe<Record<string, string>>;
}

export interface ThrottleSetting {
  Path?: Maybe<string>;
  Rate?: Maybe<number>;
}

export interface ResourceConfig {
  CpuShares?: Maybe<number>;
  Memory?: Maybe<number>;
  NanoCpus?: Maybe<number>;
  CgroupParent?: Maybe<string>;
  BlkioWeight?: Maybe<number>;
  BlkioWeightDevice?: Maybe<({ Path?: Maybe<string>; Weight?: Maybe<number> } | null)[]>;
  BlkioDeviceReadBps?: Maybe<(ThrottleSetting | null)[]>;
  BlkioDeviceWriteBps?: Maybe<(ThrottleSetting | null)[]>;
  BlkioDeviceReadIOps?: Maybe<(ThrottleSetting | null)[]>;
  BlkioDeviceWriteIOps?: Maybe<(ThrottleSetting | null)[]>;
  CpuPeriod?: Maybe<number>;
  CpuQuota?: Maybe<number>;
  CpuRealtimePeriod?: Maybe<number>;
  CpuRealtimeRuntime?: Maybe<number>;
  CpusetCpus?: Maybe<string>;
  CpusetMems?: Maybe<string>;
  Devices?: Maybe<(DeviceMapping | null)[]>;
  DeviceCgroupRules?: Maybe<string[]>;
  DeviceRequests?: Maybe<(DeviceRequest | null)[]>;
  MemoryReservation?: Maybe<number>;
  MemorySwap?: Maybe<number>;
  MemorySwappiness?: Maybe<number>;
  OomKillDisable?: Maybe<boolean>;
  PidsLimit?: Maybe<number>;
  Ulimits?: Maybe<({ Name?: Maybe<string>; Hard?: Maybe<number>; Soft?: Maybe<number> } | null)[]>;
  CpuPercent?: Maybe<number>;
  IOMaximumIOps?: Maybe<number>;
  IOMaximumBandwidth?: Maybe<number>;
}

export interface HostSettings extends ResourceConfig {
  NetworkMode?: Maybe<string>;
  PortBindings?: Maybe<Record<string, Maybe<({ HostIp?: Maybe<string>; HostPort?: Maybe<string> } | null)[]>>>;
  PublishAllPorts?: Maybe<boolean>;
  RestartPolicy?: Maybe<{ Name?: Maybe<string>; MaximumRetryCount?: Maybe<number> }>;
  AutoRemove?: Maybe<boolean>;
  Links?: Maybe<string[]>;
  CapAdd?: Maybe<string[] | string>;
  CapDrop?: Maybe<string[] | string>;
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

/** What is there of a list in which a client may have sent nulls, or which it left out. */
export const present = <T>(list: Maybe<readonly (T | null)[]>): T[] => (list ?? []).filter((item) => item !== null);

/** `container:<id>` → the id; undefined for every other mode. */
export function joinedContainer(mode: Maybe<string>): string | undefined {
  return mode?.startsWith('container:') ? mode.slice('container:'.length) : undefined;
}
