/** Modification times to the nanosecond: Node's own utimes goes through a double and loses the last two digits. */
import koffi from 'koffi';
import { SyscallError } from '../host/ffi.ts';

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;

type Utimensat = (directory: number, path: Uint8Array, times: BigInt64Array, flags: number) => number;
let call: Utimensat | undefined;

/** Sets atime and mtime of the file itself, never of a symlink's target. `path` ends with a NUL byte. */
export function lutimens(path: Uint8Array, mtimeNs: bigint): void {
  call ??= koffi
    .load('libc.so.6')
    .func('int utimensat(int directory, const void *path, const int64_t *times, int flags)') as unknown as Utimensat;
  let seconds = mtimeNs / 1_000_000_000n;
  let nano = mtimeNs % 1_000_000_000n;
  if (nano < 0n) {
    nano += 1_000_000_000n;
    seconds -= 1n;
  }
  const times = BigInt64Array.of(seconds, nano, seconds, nano);
  if (call(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) < 0) throw new SyscallError('utimensat', koffi.errno());
}
