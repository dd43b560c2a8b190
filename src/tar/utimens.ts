/** Modification times to the nanosecond: Node's own utimes goes through a double and loses the last two digits. */
import { check, libc } from '../host/ffi.ts';

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;

const utimensat = libc('int utimensat(int directory, const void *path, const int64_t *times, int flags)');
const futimensCall = libc('int futimens(int fd, const int64_t *times)');

/** For atime and mtime. */
function timesOf(mtimeNs: bigint): BigInt64Array {
  let seconds = mtimeNs / 1_000_000_000n;
  let nano = mtimeNs % 1_000_000_000n;
  if (nano < 0n) {
    nano += 1_000_000_000n;
    seconds -= 1n;
  }
  return BigInt64Array.of(seconds, nano, seconds, nano);
}

/** Sets atime and mtime of the file itself, never of a symlink's target. `path` ends with a NUL byte. */
export function lutimens(path: Uint8Array, mtimeNs: bigint): void {
  check('utimensat', utimensat(AT_FDCWD, path, timesOf(mtimeNs), AT_SYMLINK_NOFOLLOW));
}

export function futimens(fd: number, mtimeNs: bigint): void {
  check('futimens', futimensCall(fd, timesOf(mtimeNs)));
}
