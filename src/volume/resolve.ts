/**
 * Brings a container's mount points onto the host at its start, and lets go of them after its end: makes missing bind
 * sources, mounts volumes, and pins subpaths so that nobody can swap them for a link while the container starts.
 */
import { closeSync, fstatSync, mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { asDaemonError, invalid, notFound } from '../errors.ts';
import { isErrno, mount, MS, O_PATH, umountIfMounted } from '../host/ffi.ts';
import { fdPath, withRoot } from '../host/rootfs.ts';
import { UndoStack } from '../lib/undo.ts';
import type { ContainerMount } from '../runtime/oci/mounts.ts';
import type { MountPoint } from './mounts.ts';
import type { Volumes } from './port.ts';

export interface MountContext {
  containerId: string;
  /** The container's own directory; pinned subpaths are mounted under it. */
  directory: string;
  volumes: Pick<Volumes, 'mount' | 'unmount'>;
  /** Mounts the image of a point at its source; idempotent. */
  mountImage: (point: MountPoint, index: number) => Promise<void>;
  onError?: (what: string, error: unknown) => void;
}

/** Checked at create: `--mount` wants its source to be there, `-v` makes it. */
export async function checkBindSources(points: readonly MountPoint[]): Promise<void> {
  for (const { type, source, createSource } of points) {
    if (type !== 'bind' || createSource) continue;
    await stat(source).catch((error: unknown) => {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw asDaemonError(error);
      throw invalid(`invalid mount config for type "bind": bind source path does not exist: ${source}`);
    });
  }
}

async function bindSource(point: MountPoint): Promise<string> {
  if (!point.createSource) {
    await checkBindSources([point]);
    return point.source;
  }
  const there = await stat(point.source).then(
    () => true,
    () => false,
  );
  if (there) return point.source;
  await makeOpen(point.source).catch((error: unknown) => {
    const reason = asDaemonError(error).message;
    throw invalid(`error while creating mount source path '${point.source}': ${reason}`, { cause: error });
  });
  return point.source;
}

/** Open to every user, whatever the daemon's umask. */
async function makeOpen(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  for (let made = path; first && made.length >= first.length; made = dirname(made)) await chmod(made, 0o755);
}

const pinDirectory = (directory: string): string => join(directory, 'mounts', 'subpaths');
const imageDirectory = (directory: string): string => join(directory, 'mounts', 'images');

/** Where the image of a container's mount point is mounted while it runs. */
export const imagePath = (directory: string, index: number): string => join(imageDirectory(directory), String(index));

/**
 * Binds what `subpath` is inside `root` right now to a place of ours: the kernel resolves it inside the root, and the
 * bind is made from the descriptor.
 */
function pinSubpath(root: string, subpath: string, target: string): string {
  let fd: number;
  try {
    fd = withRoot(root, (opened) => opened.open(subpath, O_PATH));
  } catch (error) {
    const path = join(root, subpath);
    if (isErrno(error, 'ENOENT'))
      throw notFound(`cannot access path ${path}: lstat ${path}: no such file or directory`, { cause: error });
    throw invalid(`cannot access path ${path}: ${(error as Error).message}`, { cause: error });
  }
  try {
    if (fstatSync(fd).isDirectory()) mkdirSync(target, { recursive: true });
    else {
      mkdirSync(join(target, '..'), { recursive: true });
      writeFileSync(target, '');
    }
    mount(fdPath(fd), target, '', MS.BIND | MS.REC);
    return target;
  } finally {
    closeSync(fd);
  }
}

/** Idempotent: lets go of everything that is mounted in a directory of ours. */
function unmountIn(pins: string): void {
  let names: string[];
  try {
    names = readdirSync(pins);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  for (const name of names) {
    const path = join(pins, name);
    while (umountIfMounted(path));
    // Only what is empty by then: never what was mounted.
    try {
      rmdirSync(path);
    } catch (error) {
      if (!isErrno(error, 'ENOTDIR')) throw error;
      rmSync(path);
    }
  }
}

/** Pinned subpaths lie over the images they are of. */
function unmountAll(directory: string): void {
  unmountIn(pinDirectory(directory));
  unmountIn(imageDirectory(directory));
}

const boundAt = (point: MountPoint, source: string): ContainerMount => ({
  kind: 'bind',
  source,
  destination: point.destination,
  writable: point.writable,
  propagation: point.propagation,
  explicitPropagation: point.explicitPropagation,
  nonRecursive: point.nonRecursive,
  readOnlyNonRecursive: point.readOnlyNonRecursive,
  readOnlyForceRecursive: point.readOnlyForceRecursive,
});

async function sourceOf(point: MountPoint, index: number, context: MountContext): Promise<string> {
  let root: string;
  if (point.type === 'volume') {
    root = await context.volumes.mount(point.name, context.containerId, {
      destination: point.destination,
      'read/write': String(point.writable),
      propagation: point.propagation,
    });
  } else {
    await context.mountImage(point, index);
    root = point.source;
  }
  return point.subpath ? pinSubpath(root, point.subpath, join(pinDirectory(context.directory), String(index))) : root;
}

/** All or nothing: what was mounted before a failure is let go again. */
export async function resolveMounts(points: readonly MountPoint[], context: MountContext): Promise<ContainerMount[]> {
  const undo = new UndoStack();
  undo.push('subpaths', () => unmountAll(context.directory));
  const mounts: ContainerMount[] = [];
  try {
    for (const [index, point] of points.entries()) {
      if (point.type === 'tmpfs') {
        mounts.push({ kind: 'tmpfs', destination: point.destination, options: point.tmpfs });
      } else if (point.type === 'bind') {
        mounts.push(boundAt(point, await bindSource(point)));
      } else {
        if (point.type === 'volume') {
          undo.push(`volume ${point.name}`, () => context.volumes.unmount(point.name, context.containerId));
        }
        mounts.push(boundAt(point, await sourceOf(point, index, context)));
      }
    }
    return mounts;
  } catch (error) {
    await undo.unwind((name, failure) => context.onError?.(name, failure));
    throw error;
  }
}

/** Idempotent. Goes on over failures, which are reported. */
export async function releaseMounts(
  points: readonly MountPoint[],
  context: Omit<MountContext, 'mountImage'>,
): Promise<void> {
  const undo = new UndoStack();
  for (const name of new Set(points.filter(({ type }) => type === 'volume').map((point) => point.name))) {
    if (name) undo.push(`volume ${name}`, () => context.volumes.unmount(name, context.containerId));
  }
  undo.push('subpaths', () => unmountAll(context.directory));
  await undo.unwind((name, error) => context.onError?.(name, error));
}

export interface SystemFiles {
  hostsPath: string;
  resolvConfPath: string;
  hostnamePath: string;
}

/** The files the daemon writes for a container, bound over the image's, except where the user mounts something. */
export function systemMounts(
  files: SystemFiles,
  taken: readonly MountPoint[],
  readonlyRoot: boolean,
): ContainerMount[] {
  const destinations = new Set(taken.map((point) => point.destination));
  const wanted: [string, string][] = [
    ['/etc/resolv.conf', files.resolvConfPath],
    ['/etc/hostname', files.hostnamePath],
    ['/etc/hosts', files.hostsPath],
  ];
  return wanted
    .filter(([destination, source]) => source !== '' && !destinations.has(destination))
    .map(([destination, source]) => ({
      kind: 'bind',
      source,
      destination,
      writable: !readonlyRoot,
      propagation: 'rprivate',
    }));
}
