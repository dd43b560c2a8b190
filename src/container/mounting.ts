/** Mounts of a container over the volumes' ports: planned and filled at its creation, brought onto the host at its start. */
import { closeSync, constants } from 'node:fs';
import { mkdir, realpath } from 'node:fs/promises';
import { asDaemonError, DaemonError, invalid } from '../errors.ts';
import { fdPath, withRoot } from '../host/rootfs.ts';
import type { UserRemap } from '../host/user-remap.ts';
import type { ImageStore } from '../image/port.ts';
import { newId } from '../lib/ids.ts';
import type { UndoStack } from '../lib/undo.ts';
import { joinedContainer } from '../runtime/oci/docker-types.ts';
import type { ContainerMount } from '../runtime/oci/mounts.ts';
import { prepareShm, releaseShm, shmMount } from '../runtime/oci/shm.ts';
import { type MountPoint, parseVolumesFrom, planMounts } from '../volume/mounts.ts';
import { checkBindSources, imagePath, type MountContext, releaseMounts, resolveMounts } from '../volume/resolve.ts';
import type { EffectDeps } from './deps.ts';
import type { ContainerRecord } from './record.ts';

/** At create: mount points with their volumes made and bind sources checked. */
export async function prepareMounts(
  deps: EffectDeps & { images: Pick<ImageStore, 'get'> },
  record: ContainerRecord,
  undo: UndoStack,
): Promise<MountPoint[]> {
  const { hostConfig, config } = record;
  const points = planMounts({
    binds: hostConfig.Binds,
    mounts: hostConfig.Mounts,
    tmpfs: hostConfig.Tmpfs,
    volumeDriver: hostConfig.VolumeDriver,
    volumes: config.Volumes,
    inherited: (hostConfig.VolumesFrom ?? []).map((spec) => {
      const { container, writable } = parseVolumesFrom(spec);
      return { points: donorOf(deps, container).mounts, writable };
    }),
  });
  await checkBindSources(points);
  const anonymous = new Map(points.filter(isNameless).map((point) => [point, newId()]));
  if (anonymous.size) {
    // Written with the volumes, deleted with the container's record: a daemon that dies in between removes them.
    deps.creations.put(record.id, { volumes: [...anonymous.values()] });
    undo.push('intent', () => deps.creations.delete(record.id));
  }
  return Promise.all(
    points.map((point, index) => {
      if (point.type === 'volume') return makeVolume(deps, record, point, anonymous.get(point) ?? point.name, undo);
      return point.type === 'image' ? holdImage(deps, record, point, index, undo) : point;
    }),
  );
}

/** A donor that is missing is no 404: the CLI would pull the image. */
function donorOf(deps: EffectDeps, container: string): ContainerRecord {
  try {
    return deps.resolve(container);
  } catch (error) {
    throw invalid(asDaemonError(error).message, { cause: error });
  }
}

/** The layer over a mounted image, by which its content stays though the image is removed by force. */
const imageRoot = ({ id }: Pick<ContainerRecord, 'id'>, index: number): string => `${id}.${index}`;

/** The container that a layer belongs to, its own root or an image that it mounts. */
export const ownerOfRoot = (root: string): string => root.split('.', 1)[0]!;

export const imageRoots = (record: ContainerRecord): string[] =>
  record.mounts.flatMap(({ type }, index) => (type === 'image' ? [imageRoot(record, index)] : []));

async function holdImage(
  deps: Pick<EffectDeps, 'rootfs'> & { images: Pick<ImageStore, 'get'> },
  record: ContainerRecord,
  point: MountPoint,
  index: number,
  undo: UndoStack,
): Promise<MountPoint> {
  // One that is taken over from another container has its image already.
  const name = point.image ? point.name : point.source;
  const image = deps.images.get(point.image ?? name);
  if (!image.config.rootfs.diff_ids.length) throw invalid(`image ${name} has no layers to mount`);
  const root = imageRoot(record, index);
  undo.push(`image ${name}`, () => deps.rootfs.remove(root));
  await deps.rootfs.prepare(root, image.id, { bare: true });
  return { ...point, name, image: image.id, source: imagePath(record.directory, index) };
}

const isNameless = ({ type, name }: MountPoint): boolean => type === 'volume' && name === '';

async function makeVolume(
  deps: EffectDeps,
  record: ContainerRecord,
  point: MountPoint,
  name: string,
  undo: UndoStack,
): Promise<MountPoint> {
  undo.push(`volume ${name}`, async () => {
    deps.volumes.release(name, record.id);
    if (point.name === '') await deps.volumes.remove(name, { force: true });
  });
  const { Driver } = await deps.volumes
    .ensure({
      name,
      driver: point.driver || undefined,
      options: point.volumeOptions,
      labels: point.volumeLabels,
      anonymous: point.name === '',
      reference: record.id,
    })
    .catch((error: unknown) => {
      const { kind, code, message } = asDaemonError(error);
      throw new DaemonError(kind, code === 'plugin' ? `create ${name}: ${message}` : message, { code, cause: error });
    });
  return { ...point, name, driver: Driver };
}

/** At create, as in dockerd: a new volume takes what the image has at its place. */
export async function populateVolumes(deps: EffectDeps, record: ContainerRecord): Promise<void> {
  const points = record.mounts.filter((point) => point.type === 'volume' && point.copy && !point.subpath);
  if (!points.length) return;
  await deps.rootfs.withMounted(record.id, async (root) => {
    for (const point of points) {
      const source = openInside(root, point.destination);
      if (source === undefined) continue;
      try {
        await deps.volumes.copyUp(point.name, await realpath(fdPath(source)));
      } finally {
        closeSync(source);
      }
    }
  });
}

/** What a path inside leads to, without ever leaving it; undefined when there is nothing. The caller closes it. */
function openInside(directory: string, path: string): number | undefined {
  return withRoot(directory, (root) => {
    try {
      return root.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch {
      return undefined;
    }
  });
}

/** Whose ids a container has; undefined when they are the host's. */
export const remapOf = (deps: EffectDeps, { hostConfig }: ContainerRecord): UserRemap | undefined =>
  hostConfig.UsernsMode === 'host' ? undefined : deps.remap;

const contextOf = (deps: EffectDeps, record: ContainerRecord): MountContext => ({
  containerId: record.id,
  directory: record.directory,
  volumes: {
    async mount(name, id, attributes) {
      const path = await deps.volumes.mount(name, id, { driver: 'local', container: id, ...attributes });
      return remapOf(deps, record)?.visible(path) ?? path;
    },
    unmount: (name, id) => deps.volumes.unmount(name, id),
  },
  async mountImage({ source }, index) {
    await mkdir(source, { recursive: true });
    await deps.rootfs.mountReadOnly(imageRoot(record, index), source, remapOf(deps, record)?.seen);
  },
  onError: (what, error) =>
    deps.log.warn({ err: error, container: record.id, what }, 'a mount of a container could not be let go'),
});

/** At start. */
export async function openMounts(deps: EffectDeps, record: ContainerRecord): Promise<ContainerMount[]> {
  const points = await resolveMounts(record.mounts, contextOf(deps, record));
  const shm = sharedMemory(deps, record);
  const taken = record.mounts.some((mount) => mount.destination === '/dev/shm');
  return shm && !taken ? [...points, shm] : points;
}

/** After the end. Idempotent. */
export async function closeMounts(deps: EffectDeps, record: ContainerRecord): Promise<void> {
  await releaseMounts(record.mounts, contextOf(deps, record));
  releaseShm(record.directory);
}

/** What the ipc mode puts at /dev/shm. A shareable container's own lies on the host while it runs. */
function sharedMemory(deps: EffectDeps, record: ContainerRecord): ContainerMount | undefined {
  const { IpcMode, ShmSize } = record.hostConfig;
  if (IpcMode === 'shareable') prepareShm(record.directory, ShmSize || deps.config.defaultShmSize);
  const other = joinedContainer(IpcMode);
  const donor = other === undefined ? undefined : deps.find(other);
  return shmMount(
    IpcMode,
    record.directory,
    donor && { ipcMode: donor.hostConfig.IpcMode, directory: donor.directory },
  );
}
