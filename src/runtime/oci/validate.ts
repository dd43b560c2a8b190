/**
 * Checks a Config and a HostConfig before a container is made, with dockerd's wording, and fills in what dockerd fills in
 * (visible in inspect). Pure: mounts are checked in volume/mounts.ts, networks by the networks.
 */
import { isIP } from 'node:net';
import { posix } from 'node:path';
import type { Config } from '../../config/config.ts';
import { invalid } from '../../errors.ts';
import type { HostFacts } from '../../host/port.ts';
import { normalizeCapabilities } from './capabilities.ts';
import { defaultMaskedPaths, defaultReadonlyPaths } from './defaults.ts';
import { isDeviceMode, parseDeviceRule } from './devices.ts';
import type { ContainerSettings, HostSettings } from './docker-types.ts';
import { joinedContainer, present } from './docker-types.ts';
import { impliedSecurityOptions, parseSecurityOptions } from './security.ts';
import { validateResources } from './validate-resources.ts';

export interface HostConfigCheck<H extends HostSettings> {
  hostConfig: H;
  warnings: string[];
}

type DaemonConfig = Pick<
  Config,
  | 'defaultShmSize'
  | 'defaultIpcMode'
  | 'defaultCgroupnsMode'
  | 'noNewPrivileges'
  | 'defaultRuntime'
  | 'runtimes'
  | 'usernsRemap'
  | 'ipForward'
>;

/** What dockerd fills in at create. */
export function adaptHostConfig<H extends HostSettings>(given: H, host: HostFacts, daemon: DaemonConfig): H {
  const unified = host.cgroup.version === 2;
  const memory = given.Memory ?? 0;
  const settings: H = {
    ...given,
    NetworkMode: given.NetworkMode || 'default',
    MemorySwap: memory > 0 && !given.MemorySwap ? memory * 2 : given.MemorySwap,
    ShmSize: given.ShmSize || daemon.defaultShmSize,
    IpcMode: given.IpcMode || daemon.defaultIpcMode,
    CgroupnsMode: given.CgroupnsMode || daemon.defaultCgroupnsMode || (unified ? 'private' : 'host'),
    OomKillDisable: given.OomKillDisable ?? false,
    Runtime: given.Runtime || daemon.defaultRuntime,
  };
  const implied = impliedSecurityOptions(settings);
  if (implied.length) settings.SecurityOpt = [...(settings.SecurityOpt ?? []), ...implied];
  if (parseSecurityOptions(settings, daemon).systemPaths)
    Object.assign(settings, { MaskedPaths: [], ReadonlyPaths: [] });
  if (!settings.Privileged) {
    settings.MaskedPaths ??= defaultMaskedPaths(host);
    settings.ReadonlyPaths ??= defaultReadonlyPaths();
  }
  return settings;
}

const mode = (value: string | null | undefined, ...known: string[]): boolean =>
  !value || known.includes(value) || Boolean(joinedContainer(value));

function checkModes(settings: HostSettings): void {
  if (!mode(settings.IpcMode, 'none', 'private', 'shareable', 'host')) {
    throw invalid(`invalid IPC mode: ${settings.IpcMode}`);
  }
  if (!mode(settings.PidMode, 'host')) throw invalid(`invalid PID mode: ${settings.PidMode}`);
  const plain = (value: string | null | undefined, ...known: string[]): boolean => !value || known.includes(value);
  if (!plain(settings.UTSMode, 'host')) throw invalid(`invalid UTS mode: ${settings.UTSMode}`);
  if (!plain(settings.UsernsMode, 'host')) throw invalid(`invalid userns mode: ${settings.UsernsMode}`);
  if (!plain(settings.CgroupnsMode, 'private', 'host')) {
    throw invalid(`invalid cgroup namespace mode: ${settings.CgroupnsMode}`);
  }
  if (!plain(settings.Isolation, 'default'))
    throw invalid(`invalid isolation (${settings.Isolation}): linux only supports 'default'`);
}

const JOINED_NETWORK_CONFLICTS: readonly [string, (config: ContainerSettings, settings: HostSettings) => unknown][] = [
  ['hostname and the network mode', (config) => config.Hostname],
  [
    "container type network can't be used with links. This would result in undefined behavior",
    (_, settings) => settings.Links?.length,
  ],
  ['dns and the network mode', (_, settings) => settings.Dns?.length],
  ['custom host-to-IP mapping and the network mode', (_, settings) => settings.ExtraHosts?.length],
  [
    'port publishing and the container type network mode',
    (_, settings) => Object.keys(settings.PortBindings ?? {}).length || settings.PublishAllPorts,
  ],
  ['port exposing and the container type network mode', (config) => Object.keys(config.ExposedPorts ?? {}).length],
];

/** Checked on what the client sent, before a hostname is made up. */
export function validateNetworkMode(config: ContainerSettings, settings: HostSettings): void {
  const network = settings.NetworkMode ?? '';
  if (network === 'container' || network.startsWith('container:')) {
    if (!joinedContainer(network)) {
      throw invalid('invalid network mode: invalid container format container:<name|id>');
    }
    const conflict = JOINED_NETWORK_CONFLICTS.find(([, has]) => has(config, settings));
    if (conflict) throw invalid(`conflicting options: ${conflict[0]}`);
  }
  if (settings.UTSMode === 'host' && config.Hostname) {
    throw invalid('conflicting options: hostname and the UTS mode');
  }
  if (network === 'host' && settings.Links?.length) {
    throw invalid(
      "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
    );
  }
}

function checkRestartPolicy({ RestartPolicy: policy, AutoRemove }: HostSettings): void {
  const name = policy?.Name ?? '';
  const count = policy?.MaximumRetryCount ?? 0;
  if (AutoRemove && name !== '' && name !== 'no') {
    throw invalid("can't create 'AutoRemove' container with restart policy");
  }
  if (name === 'on-failure') {
    if (count < 0) throw invalid('invalid restart policy: maximum retry count cannot be negative');
    return;
  }
  if (!['', 'no', 'always', 'unless-stopped'].includes(name)) {
    throw invalid(
      `invalid restart policy: unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  }
  if (count !== 0) {
    const negative = count < 0 ? ' and cannot be negative' : '';
    throw invalid(`invalid restart policy: maximum retry count can only be used with 'on-failure'${negative}`);
  }
}

function checkExtraHost(entry: string): void {
  const at = entry.search(/[=:]/);
  const [name, address] = [entry.slice(0, at), entry.slice(at + 1)];
  if (at < 1 || !address) throw invalid(`bad format for add-host: "${entry}"`);
  const bare = address.replace(/^\[(.*)\]$/, '$1');
  const numeric = /^\d{1,3}(\.\d{1,3}){3}$/.test(bare) || (bare.includes(':') && /^[0-9a-fA-F:.%]+$/.test(bare));
  if (name && !numeric && bare !== 'host-gateway') throw invalid(`invalid IP address in add-host: "${address}"`);
}

const isPort = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) <= 65535;

function checkPorts(settings: HostSettings): void {
  for (const [port, bindings] of Object.entries(settings.PortBindings ?? {})) {
    const [number = '', protocol = 'tcp'] = port.split('/');
    if (!isPort(number) || Number(number) === 0 || !['tcp', 'udp', 'sctp'].includes(protocol.toLowerCase())) {
      throw invalid(`invalid port specification: "${port}"`);
    }
    for (const binding of present(bindings)) {
      const hostPort = binding.HostPort ?? '';
      const ends = hostPort.split('-');
      const ordered = ends.length < 2 || Number(ends[0]) <= Number(ends[1]);
      if (hostPort && (ends.length > 2 || !ends.every(isPort) || !ordered)) {
        throw invalid(`invalid port specification: "${hostPort}"`);
      }
    }
  }
}

function checkDevices(settings: HostSettings): void {
  for (const { PathOnHost, CgroupPermissions } of present(settings.Devices)) {
    if (CgroupPermissions && !isDeviceMode(CgroupPermissions))
      throw invalid(`invalid device mode: ${CgroupPermissions}`);
    if (!PathOnHost?.startsWith('/'))
      throw invalid(
        `error gathering device information while adding custom device "${PathOnHost ?? ''}": not an absolute path`,
      );
  }
  for (const rule of settings.DeviceCgroupRules ?? []) parseDeviceRule(rule);
}

/** A context for what normalizing says: dockerd prefixes it with the field. */
function checkCapabilities(settings: HostSettings, available: readonly string[]): void {
  for (const field of ['CapAdd', 'CapDrop'] as const) {
    try {
      normalizeCapabilities(settings[field], available);
    } catch (error) {
      throw invalid(`invalid ${field}: ${(error as Error).message}`, { cause: error });
    }
  }
}

function checkTmpfs(settings: HostSettings): void {
  for (const target of Object.keys(settings.Tmpfs ?? {})) {
    if (posix.normalize(target) === '/') throw invalid("invalid specification: destination can't be '/'");
    if (!target.startsWith('/')) throw invalid(`invalid mount path: '${target}' mount path must be absolute`);
  }
}

function checkUserNamespace(settings: HostSettings, daemon: DaemonConfig): void {
  if (!daemon.usernsRemap || settings.UsernsMode === 'host') return;
  if (settings.Privileged) {
    throw invalid(
      'privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode',
    );
  }
  if (settings.NetworkMode === 'host') {
    throw invalid("cannot share the host's network namespace when user namespaces are enabled");
  }
  if (settings.PidMode === 'host') {
    throw invalid('cannot share the host PID namespace when user namespaces are enabled');
  }
}

function checkCgroupAndRuntime(settings: HostSettings, host: HostFacts, daemon: DaemonConfig): void {
  if (settings.CgroupParent && host.cgroup.driver === 'systemd' && !/^.+\.slice$/.test(settings.CgroupParent)) {
    throw invalid('cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"');
  }
  const runtime = settings.Runtime ?? '';
  if (runtime && !Object.hasOwn(daemon.runtimes, runtime) && runtime !== daemon.defaultRuntime) {
    throw invalid(`unknown or invalid runtime name: ${runtime}`);
  }
}

function networkWarnings(settings: HostSettings, host: HostFacts, daemon: DaemonConfig): string[] {
  const own = settings.NetworkMode !== 'host' && settings.NetworkMode !== 'none';
  const warnings: string[] = [];
  if (own && !host.ipv4Forwarding && !daemon.ipForward) {
    warnings.push('IPv4 forwarding is disabled. Networking will not work.');
  }
  if (settings.NetworkMode === 'host' && Object.keys(settings.PortBindings ?? {}).length) {
    warnings.push('Published ports are discarded when using host network mode');
  }
  return warnings;
}

export function validateHostConfig<H extends HostSettings>(
  given: H,
  host: HostFacts,
  daemon: DaemonConfig,
  options: { update?: boolean } = {},
): HostConfigCheck<H> {
  checkRestartPolicy(given);
  for (const entry of given.ExtraHosts ?? []) checkExtraHost(entry);
  for (const server of given.Dns ?? []) if (!isIP(server)) throw invalid(`bad nameserver address ${server}`);
  checkPorts(given);
  checkCapabilities(given, host.capabilities);
  if (Object.keys(given.Annotations ?? {}).includes('')) {
    throw invalid('invalid Annotations: the empty string is not permitted as an annotation key');
  }
  const { settings, warnings } = validateResources(given, host, options.update);
  checkModes(settings);
  checkDevices(settings);
  if ((settings.ShmSize ?? 0) < 0) throw invalid('SHM size can not be less than 0');
  const score = settings.OomScoreAdj ?? 0;
  if (score < -1000 || score > 1000) {
    throw invalid(`Invalid value ${score}, range for oom score adj is [-1000, 1000]`);
  }
  checkUserNamespace(settings, daemon);
  checkCgroupAndRuntime(settings, host, daemon);
  checkTmpfs(settings);
  parseSecurityOptions(settings, daemon);
  return { hostConfig: settings, warnings: [...warnings, ...networkWarnings(settings, host, daemon)] };
}
