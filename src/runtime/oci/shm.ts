/**
 * The shared memory of a container: a tmpfs of its own inside it, except where others may join it (ipc mode shareable),
 * when it lies on the host under the container's directory and is bound into every container that shares it.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { invalid } from '../../errors.ts';
import { FS_MAGIC, fsMagic, mount, MS, umountIfMounted } from '../../host/ffi.ts';
import { joinedContainer } from './docker-types.ts';
import type { ContainerMount } from './mounts.ts';

export const shmPath = (directory: string): string => join(directory, 'mounts', 'shm');

/** Makes the tmpfs of a shareable container. Idempotent. */
export function prepareShm(directory: string, size: number): string {
  const path = shmPath(directory);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (fsMagic(path) !== FS_MAGIC.TMPFS) {
    mount('shm', path, 'tmpfs', MS.NOSUID | MS.NODEV | MS.NOEXEC, `mode=1777,size=${size}`);
  }
  return path;
}

/** Idempotent. */
export function releaseShm(directory: string): void {
  umountIfMounted(shmPath(directory));
}

/**
 * The mount at /dev/shm that an ipc mode needs; undefined where the default tmpfs does. `donor` is what the container of
 * `container:<id>` has: its ipc mode and its directory.
 */
export function shmMount(
  ipcMode: string,
  directory: string,
  donor: { ipcMode: string; directory: string } | undefined,
): ContainerMount | undefined {
  const at = (source: string): ContainerMount => ({
    kind: 'bind',
    source,
    destination: '/dev/shm',
    writable: true,
    propagation: 'rprivate',
  });
  if (ipcMode === 'host') return at('/dev/shm');
  if (ipcMode === 'shareable') return at(shmPath(directory));
  if (joinedContainer(ipcMode) === undefined || !donor) return undefined;
  if (donor.ipcMode === 'host') return at('/dev/shm');
  if (donor.ipcMode !== 'shareable') {
    throw invalid(
      `failed to join IPC namespace: container ${joinedContainer(ipcMode)}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)`,
    );
  }
  return at(shmPath(donor.directory));
}
