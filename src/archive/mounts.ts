/** What is mounted over a container's root, opened from the host's side, so that it is seen whether it runs or not. */
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerRecord } from '../container/record.ts';
import { isErrno, O_PATH } from '../host/ffi.ts';
import { withRoot } from '../host/rootfs.ts';
import type { MountPoint } from '../volume/mounts.ts';
import type { ViewMount } from './view.ts';

const opener = (path: string) => (): number => openSync(path, O_PATH);

/** A place inside a volume, its links followed inside the volume only. */
const within = (volume: string, subpath: string) => (): number =>
  withRoot(volume, (root) => root.open(subpath, O_PATH));

const exists = (open: () => number): boolean => {
  try {
    closeSync(open());
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
};

/** `volumePath`: where a volume's content is now; undefined leaves it out. */
export function viewMounts(
  record: ContainerRecord,
  volumePath: (point: MountPoint) => string | undefined,
): ViewMount[] {
  const mounts: ViewMount[] = [];
  for (const point of record.mounts) {
    if (point.type === 'tmpfs') continue;
    // An image is there while the container runs.
    const root = point.type === 'volume' ? volumePath(point) : point.source;
    if (root === undefined) continue;
    const open = point.subpath ? within(root, point.subpath) : opener(root);
    mounts.push({ destination: point.destination, writable: point.writable, open });
  }
  const taken = new Set(mounts.map(({ destination }) => destination));
  const files: [string, string | undefined][] = [
    ['/etc/resolv.conf', record.sandbox?.resolvConfPath],
    ['/etc/hosts', record.sandbox?.hostsPath],
    ['/etc/hostname', join(record.directory, 'hostname')],
  ];
  const writable = !record.hostConfig.ReadonlyRootfs;
  for (const [destination, path] of files) {
    if (path && !taken.has(destination)) mounts.push({ destination, writable, open: opener(path) });
  }
  return mounts.filter(({ open }) => exists(open));
}
