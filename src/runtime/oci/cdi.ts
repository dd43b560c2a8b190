/**
 * Container Device Interface: specs of vendors in JSON files under the CDI directories say what a device named
 * `vendor.com/class=name` adds to a container (github.com/cncf-tags/container-device-interface, SPEC.md).
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { internal } from '../../errors.ts';
import { type DeviceRequest, present } from './docker-types.ts';
import type { Hook, HookName, Spec, SpecMount } from './spec-types.ts';

export interface CdiDeviceNode {
  path: string;
  hostPath?: string;
  type?: string;
  major?: number;
  minor?: number;
  fileMode?: number;
  permissions?: string;
  uid?: number;
  gid?: number;
}

export interface CdiEdits {
  env?: string[];
  deviceNodes?: CdiDeviceNode[];
  mounts?: { hostPath: string; containerPath: string; type?: string; options?: string[] }[];
  hooks?: (Hook & { hookName: HookName })[];
  additionalGids?: number[];
  netDevices?: { hostInterfaceName: string; name: string }[];
}

interface CdiSpec {
  kind: string;
  devices: { name: string; containerEdits?: CdiEdits }[];
  containerEdits?: CdiEdits;
}

/** Edits by qualified name, with those that every device of the spec shares. */
export interface CdiRegistry {
  devices: ReadonlyMap<string, CdiEdits>;
  shared: ReadonlyMap<string, CdiEdits | undefined>;
  errors: readonly string[];
}

const isSpec = (value: unknown): value is CdiSpec => {
  const spec = value as CdiSpec | null;
  return typeof spec?.kind === 'string' && /^[^/]+\/[^/=]+$/.test(spec.kind) && Array.isArray(spec.devices);
};

/** Later directories win over earlier ones. What cannot be read is reported and left out. */
export async function readCdiRegistry(directories: readonly string[]): Promise<CdiRegistry> {
  const devices = new Map<string, CdiEdits>();
  const shared = new Map<string, CdiEdits | undefined>();
  const errors: string[] = [];
  for (const directory of directories) {
    const names = await readdir(directory).catch((): string[] => []);
    for (const name of names.filter((file) => file.endsWith('.json')).sort()) {
      try {
        const spec: unknown = JSON.parse(await readFile(join(directory, name), 'utf8'));
        if (!isSpec(spec)) throw new Error('it is no CDI spec');
        for (const device of spec.devices) {
          const qualified = `${spec.kind}=${device.name}`;
          devices.set(qualified, device.containerEdits ?? {});
          shared.set(qualified, spec.containerEdits);
        }
      } catch (error) {
        errors.push(`${join(directory, name)}: ${(error as Error).message}`);
      }
    }
  }
  return { devices, shared, errors };
}

const GPU_VENDORS = ['nvidia.com', 'amd.com'];

const isGpu = (request: DeviceRequest): boolean =>
  present(request.Capabilities).some((all) => all.includes('gpu')) &&
  ['', 'nvidia', 'amd'].includes(request.Driver ?? '');

function incompatible(request: DeviceRequest): Error {
  const capabilities = present(request.Capabilities)
    .map((all) => `[${all.join(' ')}]`)
    .join(' ');
  return internal(`could not select device driver "${request.Driver ?? ''}" with capabilities: [${capabilities}]`);
}

/** `--gpus` means devices of the first known vendor that has a CDI spec. */
function gpuNames(request: DeviceRequest, registry: CdiRegistry): string[] {
  const has = (kind: string): boolean => [...registry.devices.keys()].some((name) => name.startsWith(`${kind}=`));
  const vendor = GPU_VENDORS.find((name) => has(`${name}/gpu`));
  if (!vendor) throw incompatible(request);
  if (request.DeviceIDs?.length) return request.DeviceIDs.map((id) => `${vendor}/gpu=${id}`);
  const count = request.Count ?? 0;
  if (count < 0) return [`${vendor}/gpu=all`];
  return Array.from({ length: count }, (_, index) => `${vendor}/gpu=${index}`);
}

function namesOf(request: DeviceRequest, registry: CdiRegistry): string[] {
  if (request.Driver === 'cdi') {
    if (request.Count) throw internal('unexpected count in CDI device request');
    if (Object.keys(request.Options ?? {}).length) throw internal('unexpected options in CDI device request');
    return request.DeviceIDs ?? [];
  }
  if (isGpu(request)) return gpuNames(request, registry);
  throw incompatible(request);
}

/** What all device requests of a container add. Throws on a device nobody has described. */
export function requestedEdits(
  requests: readonly DeviceRequest[] | null | undefined,
  registry: CdiRegistry,
): CdiEdits[] {
  const names = (requests ?? []).flatMap((request) => namesOf(request, registry));
  const unknown = names.filter((name) => !registry.devices.has(name));
  if (unknown.length) throw internal(`CDI device injection failed: unresolvable CDI devices ${unknown.join(', ')}`);
  const shared = new Set(names.map((name) => registry.shared.get(name)).filter((edits) => edits !== undefined));
  return [...names.map((name) => registry.devices.get(name)!), ...shared];
}

const mountOf = (mount: NonNullable<CdiEdits['mounts']>[number]): SpecMount => ({
  destination: mount.containerPath,
  type: mount.type ?? 'bind',
  source: mount.hostPath,
  options: mount.options ?? ['rbind'],
});

/** Node numbers have been filled in from the host by then. */
function addDevice(spec: Spec, node: CdiDeviceNode): void {
  const type = (node.type ?? 'c') as 'c' | 'b' | 'p' | 'u';
  const [major, minor] = [node.major ?? 0, node.minor ?? 0];
  spec.linux.devices = spec.linux.devices.filter(({ path }) => path !== node.path);
  const { fileMode, uid, gid } = node;
  spec.linux.devices.push({ type, path: node.path, major, minor, fileMode, uid, gid });
  const rules = (spec.linux.resources.devices ??= []);
  if (type === 'c' || type === 'b') rules.push({ allow: true, type, major, minor, access: node.permissions ?? 'rwm' });
}

/** A new spec with the edits applied. */
export function applyCdiEdits(given: Spec, edits: readonly CdiEdits[]): Spec {
  if (!edits.length) return given;
  const spec = copyOf(given);
  for (const edit of edits) {
    spec.process.env.push(...(edit.env ?? []));
    spec.process.user.additionalGids.push(...(edit.additionalGids ?? []));
    for (const node of edit.deviceNodes ?? []) addDevice(spec, node);
    spec.mounts.push(...(edit.mounts ?? []).map(mountOf));
    for (const { hookName, ...hook } of edit.hooks ?? []) ((spec.hooks ??= {})[hookName] ??= []).push(hook);
    for (const { hostInterfaceName, name } of edit.netDevices ?? []) {
      (spec.linux.netDevices ??= {})[hostInterfaceName] = { name };
    }
  }
  return spec;
}

/** Copies what edits touch; raw numbers elsewhere do not survive structuredClone. */
const copyOf = (spec: Spec): Spec => ({
  ...spec,
  process: {
    ...spec.process,
    env: [...spec.process.env],
    user: { ...spec.process.user, additionalGids: [...spec.process.user.additionalGids] },
  },
  mounts: [...spec.mounts],
  linux: {
    ...spec.linux,
    devices: [...spec.linux.devices],
    resources: { ...spec.linux.resources, devices: [...(spec.linux.resources.devices ?? [])] },
  },
});
