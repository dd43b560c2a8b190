/**
 * Builds the OCI runtime configuration of a container. Pure: everything of the host was read before (host-side.ts), every
 * mount, user, namespace and name is resolved by the caller.
 */
import { posix } from 'node:path';
import type { Config } from '../../config/config.ts';
import { invalid } from '../../errors.ts';
import type { HostFacts } from '../../host/port.ts';
import { capabilitySets, containerCapabilities } from './capabilities.ts';
import { applyCdiEdits } from './cdi.ts';
import { defaultMaskedPaths, defaultReadonlyPaths } from './defaults.ts';
import { containerDevices } from './devices.ts';
import type { ContainerSettings, HostSettings } from './docker-types.ts';
import { joinedContainer } from './docker-types.ts';
import type { HostSide } from './host-side.ts';
import { type ContainerMount, containerMounts, rootPropagation } from './mounts.ts';
import { containerNamespaces } from './namespaces.ts';
import { containerEnvironment, processArguments, resourceLimits } from './process.ts';
import { resourcesOf } from './resources.ts';
import { seccompFor } from './seccomp.ts';
import { apparmorProfile, parseSecurityOptions, type SecurityOptions } from './security.ts';
import type { IdMapping, LinuxSpecification, ProcessSpecification, Spec, User } from './spec-types.ts';

export interface SpecInput {
  id: string;
  /** Docker's Config, the image's defaults merged in. */
  config: ContainerSettings;
  /** Docker's HostConfig after validation; container: modes hold full ids. */
  hostConfig: HostSettings;
  /** Entrypoint and command as one. */
  args: readonly string[];
  /** Environment of legacy links. */
  linkedEnvironment?: readonly string[];
  user: User;
  host: HostFacts;
  daemon: SpecDaemonConfig;
  side: HostSide;
  /** Path of the container's network namespace; '' shares the host's. */
  netnsPath: string;
  mounts: readonly ContainerMount[];
  /** Pids of the init of containers whose namespaces are joined. */
  joined?: { pid?: number; ipc?: number };
  /** The root filesystem, relative to the bundle or absolute. */
  rootPath?: string;
  /** `namespace`: path of the user namespace that has them. */
  idMappings?: { namespace: string; uid: IdMapping[]; gid: IdMapping[] };
  /** Set without root: what only root may set is left out. */
  rootless?: boolean;
}

export type SpecDaemonConfig = Pick<
  Config,
  'defaultUlimits' | 'defaultShmSize' | 'noNewPrivileges' | 'cgroupParent' | 'dataRoot'
>;

/** The version of the specification this follows; runtimes take any 1.x. */
const OCI_VERSION = '1.0.2';

const PING_GROUPS = 'net.ipv4.ping_group_range';

/** cgroupfs: `/docker/<id>`; systemd: `system.slice:docker:<id>`, which becomes system.slice/docker-<id>.scope. */
export function cgroupsPath(id: string, parent: string, driver: 'cgroupfs' | 'systemd'): string {
  if (driver === 'systemd') return `${parent || 'system.slice'}:docker:${id}`;
  return posix.join('/', parent || 'docker', id);
}

/** Docker gives a domain name to setdomainname through a sysctl, and only in a uts namespace of the container's own. */
function sysctls({ config, hostConfig, side, rootless, idMappings }: SpecInput): Record<string, string> {
  const mode = hostConfig.NetworkMode ?? '';
  const ownNetwork = mode !== 'host' && joinedContainer(mode) === undefined;
  const domain: Record<string, string> =
    config.Domainname && hostConfig.UTSMode !== 'host' ? { 'kernel.domainname': config.Domainname } : {};
  const defaults = { ...side.sysctls };
  // The kernel takes only groups that the namespace has.
  if (idMappings && hostConfig.UsernsMode !== 'host' && PING_GROUPS in defaults)
    defaults[PING_GROUPS] = `0 ${(idMappings.gid[0]?.size ?? 1) - 1}`;
  return { ...domain, ...(ownNetwork && !rootless ? defaults : {}), ...hostConfig.Sysctls };
}

function buildProcess(input: SpecInput, capabilities: string[], security: SecurityOptions): ProcessSpecification {
  const { config, hostConfig, side } = input;
  const [height = 0, width = 0] = hostConfig.ConsoleSize ?? [];
  const limits = resourceLimits(hostConfig, input.daemon);
  return {
    terminal: Boolean(config.Tty),
    ...(config.Tty && height > 0 && width > 0 ? { consoleSize: { height, width } } : {}),
    user: {
      uid: input.user.uid,
      gid: input.user.gid,
      additionalGids: [...input.user.additionalGids],
      ...(input.user.umask === undefined ? {} : { umask: input.user.umask }),
    },
    args: processArguments(input.args, side.initPath !== undefined),
    env: containerEnvironment(config, input.linkedEnvironment),
    cwd: config.WorkingDir || '/',
    capabilities: capabilitySets(capabilities),
    ...(limits.length ? { rlimits: limits } : {}),
    noNewPrivileges: security.noNewPrivileges,
    ...(input.host.apparmor ? { apparmorProfile: apparmorProfile(hostConfig, security) } : {}),
    ...(input.rootless ? {} : { oomScoreAdj: hostConfig.OomScoreAdj ?? 0 }),
  };
}

/** The container's own choice, then the daemon's; privileged ones have none unless they name one. */
function seccomp(input: SpecInput, capabilities: string[], chosen: string): LinuxSpecification['seccomp'] {
  const { host, hostConfig, side } = input;
  if (chosen === 'unconfined' || (hostConfig.Privileged && !chosen)) return undefined;
  if (!host.seccomp) {
    if (!chosen || chosen === 'builtin') return undefined;
    throw invalid('seccomp is not enabled in your kernel, cannot run a custom seccomp profile');
  }
  const target = { architecture: host.architecture, kernelVersion: host.kernelVersion, x32: host.x32, capabilities };
  return seccompFor(chosen || side.seccomp, target);
}

/** Paths of /proc and /sys: as the client said, else Docker's, and none for privileged containers. */
function guardedPaths({ hostConfig, host }: SpecInput, security: SecurityOptions) {
  const open = Boolean(hostConfig.Privileged) || security.systemPaths;
  return {
    maskedPaths: hostConfig.MaskedPaths ?? (open ? [] : defaultMaskedPaths(host)),
    readonlyPaths: hostConfig.ReadonlyPaths ?? (open ? [] : defaultReadonlyPaths()),
  };
}

function buildLinux(
  input: SpecInput,
  capabilities: string[],
  security: SecurityOptions,
): Omit<LinuxSpecification, 'rootfsPropagation'> {
  const { hostConfig, host, side, idMappings } = input;
  const { devices, rules } = containerDevices(hostConfig, side.devices, side.hostDevices);
  const filter = seccomp(input, capabilities, security.seccomp);
  const parent = hostConfig.CgroupParent || input.daemon.cgroupParent;
  const mapped = idMappings && hostConfig.UsernsMode !== 'host';
  return {
    ...(mapped ? { uidMappings: idMappings.uid, gidMappings: idMappings.gid } : {}),
    namespaces: containerNamespaces({
      settings: hostConfig,
      netnsPath: input.netnsPath,
      networkDisabled: Boolean(input.config.NetworkDisabled),
      joined: input.joined ?? {},
      idMappings,
    }),
    devices,
    cgroupsPath: input.rootless && host.cgroup.version === 1 ? '' : cgroupsPath(input.id, parent, host.cgroup.driver),
    resources: input.rootless && host.cgroup.version === 1 ? {} : resourcesOf(hostConfig, side.blockDevices, rules),
    sysctl: sysctls(input),
    ...(filter ? { seccomp: filter } : {}),
    ...guardedPaths(input, security),
  };
}

export function buildSpec(input: SpecInput): Spec {
  const { hostConfig, config } = input;
  const security = parseSecurityOptions(hostConfig, input.daemon);
  if (security.writableCgroups !== undefined && (input.idMappings || input.rootless)) {
    throw invalid('option WritableCgroups conflicts with user namespaces and rootless mode');
  }
  const capabilities = containerCapabilities(hostConfig, input.host.capabilities);
  const mounts = containerMounts({
    settings: hostConfig,
    mounts: input.mounts,
    shmSize: hostConfig.ShmSize || input.daemon.defaultShmSize,
    propagation: input.side.propagation,
    dataRoot: input.daemon.dataRoot,
    kernelVersion: input.host.kernelVersion,
    initPath: input.side.initPath,
    writableCgroups: security.writableCgroups ?? Boolean(hostConfig.Privileged || input.idMappings),
  });
  const propagation = rootPropagation(mounts);
  const annotations = hostConfig.Annotations ?? {};
  const spec: Spec = {
    ociVersion: OCI_VERSION,
    process: buildProcess(input, capabilities, security),
    root: { path: input.rootPath ?? 'rootfs', readonly: Boolean(hostConfig.ReadonlyRootfs) },
    ...(hostConfig.UTSMode === 'host' ? {} : { hostname: config.Hostname ?? '' }),
    mounts,
    ...(Object.keys(annotations).length ? { annotations } : {}),
    linux: { ...buildLinux(input, capabilities, security), ...(propagation ? { rootfsPropagation: propagation } : {}) },
  };
  return applyCdiEdits(spec, input.side.cdi);
}
