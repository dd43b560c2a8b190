/** POST /containers/create: a request becomes a record, with everything checked first and undone when a later step fails. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { asDaemonError, invalid } from '../errors.ts';
import type { ContainerCreate } from '../generated/types/container-create.ts';
import type { Image, ImageStore } from '../image/port.ts';
import { nowNano, rfc3339Nano, ZERO_TIME } from '../lib/clock.ts';
import { newId } from '../lib/ids.ts';
import { UndoStack } from '../lib/undo.ts';
import type { EndpointConfig } from '../network/port.ts';
import { joinedContainer } from '../runtime/oci/docker-types.ts';
import { validateConfig } from '../runtime/oci/validate-config.ts';
import { adaptHostConfig, validateHostConfig, validateNetworkMode } from '../runtime/oci/validate.ts';
import type { EffectDeps } from './deps.ts';
import type { ContainerConfig, HostConfig, NetworkingConfig } from './config.ts';
import { removeDirectory } from './directory.ts';
import { commandOf, hostConfigOf, mergeConfig } from './merge.ts';
import { parseLink } from './links.ts';
import { sandboxRequest } from './network-request.ts';
import { checkedName, randomName } from './names.ts';
import { populateVolumes, prepareMounts } from './mounting.ts';
import type { ContainerRecord, ContainerState } from './record.ts';
import type { Registry } from './registry.ts';
import { modeNetwork } from './view.ts';

export interface CreateDeps extends EffectDeps {
  images: ImageStore;
  registry: Registry;
}

export interface CreateOptions {
  name?: string;
  platform?: string;
}

const NEVER_RUN: ContainerState = {
  exitCode: 0,
  error: '',
  oomKilled: false,
  startedAt: ZERO_TIME,
  finishedAt: ZERO_TIME,
  restartCount: 0,
  pid: 0,
  hasBeenStartedBefore: false,
  manuallyStopped: false,
};

interface Checked {
  config: ContainerConfig;
  hostConfig: HostConfig;
  networking: NetworkingConfig;
  image: Image;
  warnings: string[];
}

/** Refusals come in dockerd's order: settings first (400), then the image (404, on which the CLI pulls). */
function check(deps: CreateDeps, body: ContainerCreate, options: CreateOptions): Checked {
  const given = hostConfigOf(body.HostConfig ?? {}, {
    logDriver: deps.config.logDriver,
    logOpts: { ...deps.config.logOpts },
  });
  if (!body.Image && !body.Cmd?.length && !body.Entrypoint?.length)
    throw invalid('config cannot be empty in order to create a container');
  validateConfig(body);
  validateNetworkMode(body, given);
  const adapted = adaptHostConfig(given, deps.host, deps.config);
  const { hostConfig, warnings } = validateHostConfig(adapted, deps.host, deps.config);
  checkStorageOptions(hostConfig);
  deps.logs.validate(hostConfig.LogConfig);
  const image = deps.images.get(body.Image ?? '', options.platform);
  const config = validateConfig(mergeConfig(body, image.config.config));
  if (image.config.architecture !== deps.host.architecture && !options.platform)
    warnings.push(
      `The requested image's platform (linux/${image.config.architecture}) does not match the detected host platform ` +
        `(linux/${deps.host.architecture}) and no specific platform was requested`,
    );
  const joined = joinOthers(deps, hostConfig);
  return { config, hostConfig: joined, networking: networkingOf(deps, body, joined), image, warnings };
}

/** No size of a root can be kept: overlay has it only over xfs with project quotas. */
function checkStorageOptions({ StorageOpt }: HostConfig): void {
  const unknown = Object.keys(StorageOpt ?? {}).find((option) => option.toLowerCase() !== 'size');
  if (unknown !== undefined) throw invalid(`Unknown option ${unknown}`);
  if (Object.keys(StorageOpt ?? {}).length)
    throw invalid(`--storage-opt is supported only for overlay over xfs with 'pquota' mount option`);
}

/**
 * container:<name> of the modes → container:<full id>, so that a rename changes nothing. Whose network is joined may come later than this
 * container. What is missing here is no 404: the CLI would pull the image.
 */
function joinOthers(deps: CreateDeps, hostConfig: HostConfig): HostConfig {
  const full = (mode: string): string => {
    const other = joinedContainer(mode);
    return other === undefined ? mode : `container:${resolved(deps, other).id}`;
  };
  for (const link of hostConfig.Links ?? []) {
    if (link.split(':').length > 2) throw invalid(`bad format for links: ${link}`);
    const { name } = parseLink(link);
    if (!deps.registry.find(name)) throw invalid(`could not get container for ${name}: No such container: ${name}`);
  }
  return {
    ...hostConfig,
    NetworkMode: networkModeOf(deps, hostConfig.NetworkMode),
    PidMode: full(hostConfig.PidMode),
    IpcMode: full(hostConfig.IpcMode),
  };
}

function resolved(deps: CreateDeps, reference: string): ContainerRecord {
  try {
    return deps.registry.resolve(reference);
  } catch (error) {
    throw invalid(asDaemonError(error).message, { cause: error });
  }
}

function networkModeOf(deps: CreateDeps, mode: string): string {
  const other = joinedContainer(mode);
  if (other !== undefined) return `container:${deps.registry.find(other)?.id ?? other}`;
  const network = modeNetwork(mode);
  return network === undefined ? mode : networkName(deps, network);
}

/** As it is called, however it was named; as it was named while there is none. */
function networkName(deps: CreateDeps, reference: string): string {
  try {
    return deps.networks.resolve(reference).name;
  } catch (error) {
    if (asDaemonError(error).kind === 'notFound') return reference;
    throw error;
  }
}

/** Endpoints by the networks' names, as inspect shows them; the mode's own among them. */
function networkingOf(deps: CreateDeps, body: ContainerCreate, hostConfig: HostConfig): NetworkingConfig {
  const EndpointsConfig: Record<string, EndpointConfig> = {};
  const mode = body.NetworkDisabled ? undefined : modeNetwork(hostConfig.NetworkMode);
  if (mode !== undefined) EndpointsConfig[mode] = {};
  for (const [network, config] of Object.entries(body.NetworkingConfig?.EndpointsConfig ?? {})) {
    const name = network === 'default' ? 'bridge' : networkName(deps, network);
    EndpointsConfig[name] = givenEndpoint(config ?? {});
  }
  const own = mode === undefined ? undefined : EndpointsConfig[mode];
  if (own && body.MacAddress && !own.MacAddress) own.MacAddress = body.MacAddress;
  return { EndpointsConfig };
}

type EndpointBody = NonNullable<
  NonNullable<NonNullable<ContainerCreate['NetworkingConfig']>['EndpointsConfig']>[string]
>;

/** What a client may choose; the rest of EndpointSettings is ours to say. */
export function givenEndpoint(config: EndpointBody): EndpointConfig {
  const { IPAMConfig, Links, Aliases, MacAddress, GwPriority, DriverOpts } = config;
  return {
    ...(IPAMConfig
      ? {
          IPAMConfig: {
            ...(IPAMConfig.IPv4Address ? { IPv4Address: IPAMConfig.IPv4Address } : {}),
            ...(IPAMConfig.IPv6Address ? { IPv6Address: IPAMConfig.IPv6Address } : {}),
            ...(IPAMConfig.LinkLocalIPs?.length ? { LinkLocalIPs: IPAMConfig.LinkLocalIPs } : {}),
          },
        }
      : {}),
    ...(Links?.length ? { Links } : {}),
    ...(Aliases?.length ? { Aliases } : {}),
    ...(MacAddress ? { MacAddress } : {}),
    ...(GwPriority ? { GwPriority } : {}),
    ...(DriverOpts ? { DriverOpts } : {}),
  };
}

/** The own id, the host's name, or the name of the container whose network is joined. */
function hostnameOf(deps: CreateDeps, id: string, config: ContainerConfig, hostConfig: HostConfig): string {
  if (config.Hostname) return config.Hostname;
  if (hostConfig.NetworkMode === 'host' || hostConfig.UTSMode === 'host') return deps.host.hostname;
  const other = joinedContainer(hostConfig.NetworkMode);
  return (other && deps.registry.get(other)?.config.Hostname) || id.slice(0, 12);
}

export interface Created {
  record: ContainerRecord;
  warnings: string[];
}

export async function createContainer(
  deps: CreateDeps,
  body: ContainerCreate,
  options: CreateOptions,
): Promise<Created> {
  const name = options.name ? checkedName(options.name) : randomName(deps.registry.isTaken);
  const { config, hostConfig, networking, image, warnings } = check(deps, body, options);
  const id = newId();
  const directory = join(deps.config.dataRoot, 'containers', id);
  const base: ContainerRecord = {
    id,
    name,
    created: rfc3339Nano(nowNano(deps.clock)),
    image: image.id,
    ...commandOf(config),
    config: { ...config, Hostname: hostnameOf(deps, id, config, hostConfig) },
    hostConfig,
    networking,
    mounts: [],
    directory,
    phase: 'created',
    state: NEVER_RUN,
  };
  deps.networks.validate({ ...sandboxRequest(base, deps.idOf), endpoints: networking.EndpointsConfig });
  deps.registry.reserve(name, id);
  const undo = new UndoStack();
  undo.push('name', () => deps.registry.release(name, id));
  try {
    undo.push('directory', () => removeDirectory(directory));
    undo.push('rootfs', () => deps.rootfs.remove(id));
    const [mounts] = await Promise.all([
      prepareMounts(deps, base, undo),
      mkdir(directory, { recursive: true, mode: 0o710 }),
      deps.rootfs.prepare(id, image.id),
    ]);
    const record: ContainerRecord = { ...base, mounts };
    await populateVolumes(deps, record);
    undo.release();
    return { record, warnings };
  } catch (error) {
    await undo.unwind((step, failure) =>
      deps.log.warn({ err: failure, container: id, step }, 'a creation was not undone'),
    );
    throw error;
  }
}
