/** Go's os.FileMode, which fsutil carries, to and from the mode of stat(2). Pure. */
import { constants } from 'node:fs';

const GO = {
  dir: 0x8000_0000,
  symlink: 0x0800_0000,
  device: 0x0400_0000,
  pipe: 0x0200_0000,
  socket: 0x0100_0000,
  setuid: 0x0080_0000,
  setgid: 0x0040_0000,
  charDevice: 0x0020_0000,
  sticky: 0x0010_0000,
};
const TYPE = GO.dir | GO.symlink | GO.device | GO.pipe | GO.socket | GO.charDevice;

export type FileKind = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket';

export function kindOfGoMode(mode: number): FileKind {
  if (mode & GO.dir) return 'directory';
  if (mode & GO.symlink) return 'symlink';
  if (mode & GO.charDevice) return 'char';
  if (mode & GO.device) return 'block';
  if (mode & GO.pipe) return 'fifo';
  if (mode & GO.socket) return 'socket';
  return 'file';
}

export const isRegularGoMode = (mode: number): boolean => (mode & TYPE) === 0;

export const permissionsOfGoMode = (mode: number): number =>
  (mode & 0o777) | (mode & GO.setuid ? 0o4000 : 0) | (mode & GO.setgid ? 0o2000 : 0) | (mode & GO.sticky ? 0o1000 : 0);

const KINDS: [number, number][] = [
  [constants.S_IFDIR, GO.dir],
  [constants.S_IFLNK, GO.symlink],
  [constants.S_IFCHR, GO.device | GO.charDevice],
  [constants.S_IFBLK, GO.device],
  [constants.S_IFIFO, GO.pipe],
  [constants.S_IFSOCK, GO.socket],
];

export function goModeOf(mode: number): number {
  const kind = KINDS.find(([type]) => (mode & constants.S_IFMT) === type)?.[1] ?? 0;
  const bits = (mode & 0o4000 ? GO.setuid : 0) | (mode & 0o2000 ? GO.setgid : 0) | (mode & 0o1000 ? GO.sticky : 0);
  return (kind | bits | (mode & 0o777)) >>> 0;
}
