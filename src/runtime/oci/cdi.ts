/** What device requests of a container mean, by the CDI specs of this host, and what they change in its OCI spec. */
import { internal } from '../../errors.ts';
import type { CdiDeviceNode, CdiEdits, CdiRegistry } from './cdi-registry.ts';
import { type DeviceRequest, present } from './docker-types.ts';
import type { Spec, SpecMount } from './spec-types.ts';

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
