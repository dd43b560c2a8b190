/** A request's body → the config of a container, the image's defaults merged in as dockerd does. Pure. */
import { invalid } from '../errors.ts';
import type { ContainerCreate } from '../generated/types/container-create.ts';
import type { HealthConfig, ImageRunConfig } from '../image/port.ts';
import type { ContainerConfig, HostConfig } from './config.ts';

type Words = string | string[] | null | undefined;

/** Docker's strslice: a list, or one word. */
const words = (given: Words): string[] | null => (typeof given === 'string' ? [given] : (given ?? null));

const mapOf = <T>(given: Record<string, T | null> | null | undefined): Record<string, object> =>
  Object.fromEntries(Object.keys(given ?? {}).map((key) => [key, {}]));

const unless = <T extends object>(map: T): T | undefined => (Object.keys(map).length ? map : undefined);

const nameOf = (entry: string): string => entry.split('=', 1)[0]!;

/** The image's variables that the container does not set itself, behind its own. */
function mergeEnv(own: readonly string[], image: readonly string[]): string[] {
  const set = new Set(own.map(nameOf));
  return [...own, ...image.filter((entry) => !set.has(nameOf(entry)))];
}

function mergeHealth(own: ContainerCreate['Healthcheck'], image: HealthConfig | undefined): HealthConfig | undefined {
  if (!own) return image;
  const health: HealthConfig = {};
  const Test = own.Test?.length ? own.Test : image?.Test;
  if (Test) health.Test = Test;
  for (const field of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval', 'Retries'] as const) {
    const value = own[field] || image?.[field];
    if (value) health[field] = value;
  }
  return health;
}

/** Entrypoint and Cmd: an entrypoint of one's own drops the image's command; [""] is none. */
function mergeCommand(body: ContainerCreate, image: ImageRunConfig): Pick<ContainerConfig, 'Entrypoint' | 'Cmd'> {
  let Entrypoint = words(body.Entrypoint);
  let Cmd = words(body.Cmd);
  if (!Entrypoint?.length) {
    if (!Cmd?.length) Cmd = image.Cmd ?? Cmd;
    Entrypoint ??= image.Entrypoint ?? null;
  }
  if (Entrypoint?.length === 1 && Entrypoint[0] === '') Entrypoint = null;
  if (!Entrypoint?.length && !Cmd?.length) throw invalid('no command specified');
  return { Entrypoint, Cmd };
}

export function mergeConfig(body: ContainerCreate, image: ImageRunConfig): ContainerConfig {
  const ExposedPorts = unless({ ...mapOf(image.ExposedPorts), ...mapOf(body.ExposedPorts) });
  const Healthcheck = mergeHealth(body.Healthcheck, image.Healthcheck);
  const Shell = words(body.Shell) ?? image.Shell;
  const StopSignal = body.StopSignal || image.StopSignal;
  return {
    Hostname: body.Hostname ?? '',
    Domainname: body.Domainname ?? '',
    User: body.User || image.User || '',
    AttachStdin: body.AttachStdin ?? false,
    AttachStdout: body.AttachStdout ?? false,
    AttachStderr: body.AttachStderr ?? false,
    ...(ExposedPorts ? { ExposedPorts } : {}),
    Tty: body.Tty ?? false,
    OpenStdin: body.OpenStdin ?? false,
    StdinOnce: body.StdinOnce ?? false,
    Env: mergeEnv(body.Env ?? [], image.Env ?? []),
    ...mergeCommand(body, image),
    ...(Healthcheck ? { Healthcheck } : {}),
    Image: body.Image ?? '',
    Volumes: unless({ ...mapOf(image.Volumes), ...mapOf(body.Volumes) }) ?? null,
    WorkingDir: body.WorkingDir || image.WorkingDir || '',
    ...(body.NetworkDisabled ? { NetworkDisabled: true } : {}),
    ...(body.MacAddress ? { MacAddress: body.MacAddress } : {}),
    OnBuild: body.OnBuild ?? null,
    Labels: { ...image.Labels, ...body.Labels },
    ...(StopSignal ? { StopSignal } : {}),
    ...(body.StopTimeout == null ? {} : { StopTimeout: body.StopTimeout }),
    ...(Shell?.length ? { Shell } : {}),
  };
}

/** The first word to run and its arguments. */
export function commandOf(config: ContainerConfig): { path: string; args: string[] } {
  const [path = '', ...args] = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  return { path, args };
}

type HostBody = NonNullable<ContainerCreate['HostConfig']>;

const portsOf = (given: HostBody['PortBindings']): HostConfig['PortBindings'] =>
  Object.fromEntries(
    Object.entries(given ?? {}).map(([port, bindings]) => [
      port.includes('/') ? port : `${port}/tcp`,
      bindings?.map((binding) => ({ HostIp: binding?.HostIp ?? '', HostPort: binding?.HostPort ?? '' })) ?? null,
    ]),
  );

/** Every field that inspect shows is there; null where Docker shows null. */
export function hostConfigOf(
  given: HostBody,
  defaults: { logDriver: string; logOpts: Record<string, string> },
): HostConfig {
  const [height = 0, width = 0] = given.ConsoleSize ?? [];
  const policy = given.RestartPolicy;
  const body = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null)) as Partial<HostConfig>;
  return {
    ...EMPTY_HOST_CONFIG,
    ...body,
    CapAdd: words(given.CapAdd),
    CapDrop: words(given.CapDrop),
    ConsoleSize: [height, width],
    LogConfig: logConfig(given.LogConfig, defaults),
    NetworkMode: given.NetworkMode || 'default',
    PortBindings: portsOf(given.PortBindings),
    RestartPolicy: {
      Name: (policy?.Name || 'no') as HostConfig['RestartPolicy']['Name'],
      MaximumRetryCount: policy?.MaximumRetryCount ?? 0,
    },
  };
}

/** The daemon's options go with the daemon's driver only. */
function logConfig(
  given: HostBody['LogConfig'],
  defaults: { logDriver: string; logOpts: Record<string, string> },
): HostConfig['LogConfig'] {
  const Type = given?.Type || defaults.logDriver;
  return { Type, Config: { ...(Type === defaults.logDriver ? defaults.logOpts : {}), ...given?.Config } };
}

const EMPTY_HOST_CONFIG: HostConfig = {
  Binds: null,
  ContainerIDFile: '',
  LogConfig: { Type: '', Config: {} },
  NetworkMode: 'default',
  PortBindings: {},
  RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
  AutoRemove: false,
  VolumeDriver: '',
  VolumesFrom: null,
  ConsoleSize: [0, 0],
  CapAdd: null,
  CapDrop: null,
  CgroupnsMode: '',
  Dns: null,
  DnsOptions: null,
  DnsSearch: null,
  ExtraHosts: null,
  GroupAdd: null,
  IpcMode: '',
  Cgroup: '',
  Links: null,
  OomScoreAdj: 0,
  PidMode: '',
  Privileged: false,
  PublishAllPorts: false,
  ReadonlyRootfs: false,
  SecurityOpt: null,
  UTSMode: '',
  UsernsMode: '',
  ShmSize: 0,
  Runtime: '',
  Isolation: '',
  CpuShares: 0,
  Memory: 0,
  NanoCpus: 0,
  CgroupParent: '',
  BlkioWeight: 0,
  BlkioWeightDevice: null,
  BlkioDeviceReadBps: null,
  BlkioDeviceWriteBps: null,
  BlkioDeviceReadIOps: null,
  BlkioDeviceWriteIOps: null,
  CpuPeriod: 0,
  CpuQuota: 0,
  CpuRealtimePeriod: 0,
  CpuRealtimeRuntime: 0,
  CpusetCpus: '',
  CpusetMems: '',
  Devices: null,
  DeviceCgroupRules: null,
  DeviceRequests: null,
  MemoryReservation: 0,
  MemorySwap: 0,
  MemorySwappiness: null,
  OomKillDisable: null,
  PidsLimit: null,
  Ulimits: null,
  MaskedPaths: null,
  ReadonlyPaths: null,
};
