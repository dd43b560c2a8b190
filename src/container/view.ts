/**
 * Records as the API shows them, pure. A record is never changed in place, so what was made of it once is kept by its
 * identity and lists are joins of kept pieces.
 */
import type { EndpointSettings, PortMap, Sandbox } from '../network/port.ts';
import { type MountPoint, viewMounts } from '../volume/mounts.ts';
import { type ContainerRecord, isRunning } from './record.ts';
import { parseLink } from './links.ts';
import { statusOf, statusText } from './status.ts';

/** Where a volume lies on the host. */
export type PathOf = (volume: string) => { path: string; driver: string };

/** What inspect shows that is not in the record. */
export interface Surroundings {
  pathOf: PathOf;
  logPath: string;
  graphDriver: { Name: string; Data: Record<string, string> };
  /** '' where the host has no AppArmor. */
  apparmorProfile?: string;
}

const EMPTY_ENDPOINT: EndpointSettings = {
  IPAMConfig: null,
  Links: null,
  Aliases: null,
  MacAddress: '',
  DriverOpts: null,
  GwPriority: 0,
  NetworkID: '',
  EndpointID: '',
  Gateway: '',
  IPAddress: '',
  IPPrefixLen: 0,
  IPv6Gateway: '',
  GlobalIPv6Address: '',
  GlobalIPv6PrefixLen: 0,
  DNSNames: null,
};

/** The name under which a mode's own network stands in the settings; undefined where it has none. */
export function modeNetwork(mode: string): string | undefined {
  if (mode.startsWith('container:')) return undefined;
  return mode === '' || mode === 'default' ? 'bridge' : mode;
}

/** Networks of the container: live settings while it has a sandbox, else what it will ask for. */
export function networksOf(record: ContainerRecord): Record<string, EndpointSettings> {
  const networks: Record<string, EndpointSettings> = {};
  const known = record.sandbox?.endpoints ?? {};
  for (const [name, config] of Object.entries(record.networking.EndpointsConfig)) {
    networks[name] = { ...EMPTY_ENDPOINT, ...config, NetworkID: known[name]?.NetworkID ?? '' };
  }
  return isRunning(record) ? { ...networks, ...known } : networks;
}

const livePorts = (record: ContainerRecord): PortMap => (isRunning(record) ? (record.sandbox?.ports ?? {}) : {});

function networkSettings(record: ContainerRecord): object {
  const sandbox: Partial<Sandbox> = isRunning(record) ? (record.sandbox ?? {}) : {};
  const networks = networksOf(record);
  const bridge = networks.bridge ?? EMPTY_ENDPOINT;
  return {
    Bridge: '',
    SandboxID: sandbox.sandboxId ?? '',
    SandboxKey: sandbox.netnsPath ?? '',
    Ports: livePorts(record),
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: bridge.EndpointID,
    Gateway: bridge.Gateway,
    GlobalIPv6Address: bridge.GlobalIPv6Address,
    GlobalIPv6PrefixLen: bridge.GlobalIPv6PrefixLen,
    IPAddress: bridge.IPAddress,
    IPPrefixLen: bridge.IPPrefixLen,
    IPv6Gateway: bridge.IPv6Gateway,
    MacAddress: bridge.MacAddress ?? '',
    Networks: networks,
  };
}

function stateView(record: ContainerRecord): object {
  const { state, phase } = record;
  return {
    Status: statusOf(record),
    Running: isRunning(record),
    Paused: phase === 'paused',
    Restarting: phase === 'restarting',
    OOMKilled: state.oomKilled,
    Dead: phase === 'dead',
    Pid: state.pid,
    ExitCode: state.exitCode,
    Error: state.error,
    StartedAt: state.startedAt,
    FinishedAt: state.finishedAt,
    ...(state.health ? { Health: state.health } : {}),
  };
}

/** Those of --tmpfs stand in HostConfig.Tmpfs alone. */
function shownMounts({ mounts, hostConfig }: ContainerRecord): MountPoint[] {
  const plain = new Set(Object.keys(hostConfig.Tmpfs ?? {}));
  return mounts.filter((mount) => mount.type !== 'tmpfs' || !plain.has(mount.destination));
}

/** "/other:/this/alias", as clients know links. */
const linksView = ({ name, hostConfig }: ContainerRecord): string[] | null =>
  hostConfig.Links &&
  hostConfig.Links.map((link) => {
    const { name: other, alias } = parseLink(link);
    return `/${other}:/${name}/${alias}`;
  });

function inspectView(record: ContainerRecord, around: Surroundings): object {
  return {
    Id: record.id,
    Created: record.created,
    Path: record.path,
    Args: record.args,
    State: stateView(record),
    Image: record.image,
    ResolvConfPath: record.sandbox?.resolvConfPath ?? '',
    HostnamePath: record.state.hasBeenStartedBefore ? `${record.directory}/hostname` : '',
    HostsPath: record.sandbox?.hostsPath ?? '',
    LogPath: around.logPath,
    Name: `/${record.name}`,
    RestartCount: record.state.restartCount,
    Driver: around.graphDriver.Name,
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: record.state.hasBeenStartedBefore ? (around.apparmorProfile ?? '') : '',
    HostConfig: { ...record.hostConfig, Links: linksView(record) },
    GraphDriver: around.graphDriver,
    Mounts: viewMounts(shownMounts(record), around.pathOf),
    Config: record.config,
    NetworkSettings: networkSettings(record),
  };
}

export interface Sizes {
  sizeRw: number;
  sizeRootFs: number;
}

const inspections = new WeakMap<ContainerRecord, string>();

/** The JSON text of an inspect. */
export function inspectText(
  record: ContainerRecord,
  around: () => Surroundings,
  now: { execIds: readonly string[]; sizes?: Sizes },
): string {
  let kept = inspections.get(record);
  if (kept === undefined) inspections.set(record, (kept = JSON.stringify(inspectView(record, around())).slice(0, -1)));
  const sizes = now.sizes ? `,"SizeRw":${now.sizes.sizeRw},"SizeRootFs":${now.sizes.sizeRootFs}` : '';
  return `${kept},"ExecIDs":${now.execIds.length ? JSON.stringify(now.execIds) : 'null'}${sizes}}`;
}

/** The command in a line, arguments with blanks in quotes. */
export function commandText(record: ContainerRecord): string {
  const args = record.args.map((arg) => (arg.includes(' ') ? `'${arg}'` : arg));
  return [record.path, ...args].join(' ').trim();
}

export interface PortView {
  IP?: string;
  PrivatePort: number;
  PublicPort?: number;
  Type: string;
}

export function portsOf(record: ContainerRecord): PortView[] {
  return Object.entries(livePorts(record)).flatMap(([spec, bindings]): PortView[] => {
    const [port, Type = 'tcp'] = spec.split('/');
    const PrivatePort = Number(port);
    if (!bindings?.length) return [{ PrivatePort, Type }];
    return bindings.map(({ HostIp, HostPort }) => ({ IP: HostIp, PrivatePort, PublicPort: Number(HostPort), Type }));
  });
}

const summaries = new WeakMap<ContainerRecord, { image: string; text: string }>();

/** The JSON text of a list entry. `image` is the name to show: that of the config, or the id once the tag moved. */
export function summaryText(
  record: ContainerRecord,
  { image, pathOf, recovering = false }: { image: string; pathOf: PathOf; recovering?: boolean },
  now: number,
  sizes?: Sizes,
): string {
  let kept = summaries.get(record);
  if (kept?.image !== image) {
    const { NetworkMode, Annotations } = record.hostConfig;
    const view = {
      Id: record.id,
      Names: [`/${record.name}`],
      Image: image,
      ImageID: record.image,
      Command: commandText(record),
      Created: Math.floor(Date.parse(record.created) / 1000),
      Ports: portsOf(record),
      Labels: record.config.Labels,
      State: statusOf(record),
      HostConfig: { NetworkMode, ...(Annotations ? { Annotations } : {}) },
      NetworkSettings: { Networks: networksOf(record) },
      Mounts: viewMounts(shownMounts(record), pathOf),
    };
    kept = { image, text: JSON.stringify(view).slice(0, -1) };
    summaries.set(record, kept);
  }
  const size = sizes ? `,"SizeRw":${sizes.sizeRw},"SizeRootFs":${sizes.sizeRootFs}` : '';
  const status = `${statusText(record, now)}${recovering ? ' (recovering)' : ''}`;
  return `${kept.text},"Status":${JSON.stringify(status)}${size}}`;
}
