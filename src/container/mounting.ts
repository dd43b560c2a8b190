/** Mount points of a record → mounts of the spec: volumes are mounted, binds and tmpfs described. */
import { closeSync, constants } from 'node:fs';
import { mkdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { invalid, notImplemented } from '../errors.ts';
import { fdPath, withRoot } from '../host/rootfs.ts';
import type { ContainerMount, Propagation } from '../runtime/oci/mounts.ts';
import type { EffectDeps } from './actors.ts';
import type { MountPoint } from './config.ts';
import type { ContainerRecord } from './record.ts';
import type { Session } from './session.ts';

/** Attributes of a `volume mount` event. */
const mountAttributes = (record: ContainerRecord, mount: MountPoint): Record<string, string> => ({
  container: record.id,
  destination: mount.Destination,
  driver: mount.Driver ?? 'local',
  propagation: mount.Propagation,
  'read/write': String(mount.RW),
});

export async function openMounts(
  deps: EffectDeps,
  record: ContainerRecord,
  session: Session,
): Promise<ContainerMount[]> {
  const points = await Promise.all(record.mounts.map((mount) => openMount(deps, record, session, mount)));
  const taken = new Set(record.mounts.map((mount) => mount.Destination));
  const tmpfs = Object.entries(record.hostConfig.Tmpfs ?? {})
    .filter(([destination]) => !taken.has(destination))
    .map(([destination, options]): ContainerMount => ({ kind: 'tmpfs', destination, options }));
  return [...points, ...tmpfs, ...sharedMemory(deps, record)];
}

async function openMount(
  deps: EffectDeps,
  record: ContainerRecord,
  session: Session,
  mount: MountPoint,
): Promise<ContainerMount> {
  switch (mount.Type) {
    case 'tmpfs':
      return { kind: 'tmpfs', destination: mount.Destination, options: tmpfsOptions(mount) };
    case 'volume':
      return bindOf(mount, await volumeSource(deps, record, session, mount));
    case 'bind':
      return bindOf(mount, await bindSource(mount));
    default:
      throw notImplemented(`mounts of type ${mount.Type} are not supported`);
  }
}

function bindOf(mount: MountPoint, source: string): ContainerMount {
  const options = mount.Spec?.BindOptions;
  return {
    kind: 'bind',
    source,
    destination: mount.Destination,
    writable: mount.RW,
    propagation: (mount.Type === 'bind' ? mount.Propagation : '') as Propagation | '',
    nonRecursive: options?.NonRecursive,
    readOnlyNonRecursive: options?.ReadOnlyNonRecursive,
    readOnlyForceRecursive: options?.ReadOnlyForceRecursive,
    explicitPropagation: Boolean(options?.Propagation),
  };
}

function tmpfsOptions(mount: MountPoint): string {
  const options = mount.Spec?.TmpfsOptions;
  return [
    ...(mount.RW ? [] : ['ro']),
    ...(options?.SizeBytes ? [`size=${options.SizeBytes}`] : []),
    ...(options?.Mode ? [`mode=${options.Mode.toString(8)}`] : []),
    ...(options?.Options ?? []).map((pair) => pair.join('=')),
  ].join(',');
}

/** -v makes a missing source a directory; --mount did check that it is there, and it may have gone since. */
async function bindSource(mount: MountPoint): Promise<string> {
  const create = !mount.Spec || mount.Spec.BindOptions?.CreateMountpoint;
  const found = await stat(mount.Source).catch(() => undefined);
  if (!found && !create) throw invalid(`bind source path does not exist: ${mount.Source}`);
  if (!found) await mkdir(mount.Source, { recursive: true, mode: 0o755 });
  return mount.Source;
}

async function volumeSource(
  deps: EffectDeps,
  record: ContainerRecord,
  session: Session,
  mount: MountPoint,
): Promise<string> {
  const name = mount.Name ?? '';
  const path = await session.track(deps.volumes.mount(name, record.id, mountAttributes(record, mount)));
  session.volumes.add(name);
  const subpath = mount.Spec?.VolumeOptions?.Subpath;
  return subpath ? insideVolume(path, subpath) : path;
}

/** A subpath never leads out of the volume, whatever links lie in it. */
async function insideVolume(volume: string, subpath: string): Promise<string> {
  const found = withRoot(volume, (root) => {
    try {
      return root.open(subpath, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      throw invalid(`cannot access path ${join(volume, subpath)}: no such file or directory`, { cause: error });
    }
  });
  try {
    return await realpath(fdPath(found));
  } finally {
    closeSync(found);
  }
}

/** `--ipc container:x`: /dev/shm is the other container's. */
function sharedMemory(deps: EffectDeps, record: ContainerRecord): ContainerMount[] {
  const donor = /^container:(.+)$/.exec(record.hostConfig.IpcMode)?.[1];
  const host = record.hostConfig.IpcMode === 'host';
  const pid = donor === undefined ? undefined : deps.sessions.find(donor)?.task?.pid;
  const source = host ? '/dev/shm' : pid ? `/proc/${pid}/root/dev/shm` : undefined;
  return source ? [{ kind: 'bind', source, destination: '/dev/shm', writable: true, propagation: 'rprivate' }] : [];
}
