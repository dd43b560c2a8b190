/**
 * A hint to ext4's allocator (chattr(1), attribute T): directories made in this one have nothing to do with each other.
 * Each begins in a block group of its own, where whoever fills it does not wait for those who fill the others, and need not
 * step over the inodes of what was deleted there a moment ago, which ext4 does not give out again at once.
 */
import { closeSync, openSync } from 'node:fs';
import { check, libc } from './ffi.ts';

/** linux/fs.h, for 64 bits. */
const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
const FS_TOPDIR_FL = 0x00020000;

const ioctl = libc('int ioctl(int fd, unsigned long request, void *flags)');

/** File systems that know no such hint are left as they are. */
export function spreadDirectories(path: string): void {
  const fd = openSync(path, 'r');
  try {
    const flags = new Uint32Array(2);
    check('ioctl', ioctl(fd, FS_IOC_GETFLAGS, flags), path);
    flags[0]! |= FS_TOPDIR_FL;
    check('ioctl', ioctl(fd, FS_IOC_SETFLAGS, flags), path);
  } catch {
    // It was only a hint.
  } finally {
    closeSync(fd);
  }
}
