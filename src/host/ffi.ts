/**
 * The system calls Node lacks, through libc. Each is small, typed and synchronous, and fails with a SyscallError that
 * carries the errno's name, as Node's own file functions do. What may block for long (network file systems) does not
 * belong here but in a tool with a deadline. Numbers and flags: mount(2), openat2(2), fcntl(2), statfs(2), xattr(7).
 */
import { closeSync } from 'node:fs';
import koffi from 'koffi';

export class SyscallError extends Error {
  /** The name of the errno, as ENOENT. */
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly path: string | undefined;

  constructor(syscall: string, errno: number, path?: string) {
    const code = errnoName(errno);
    super(`${code}: ${syscall}${path === undefined ? '' : ` '${path}'`}`);
    this.name = 'SyscallError';
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    this.path = path;
  }
}

let errnoNames: Map<number, string> | undefined;

function errnoName(errno: number): string {
  // Of several names of one number the first counts: EAGAIN, not EWOULDBLOCK.
  errnoNames ??= new Map(
    Object.entries(koffi.os.errno)
      .map(([name, value]): [number, string] => [value, name])
      .reverse(),
  );
  return errnoNames.get(errno) ?? `E${errno}`;
}

/** True for what the kernel (through us or Node) refused with this errno. */
export const isErrno = (error: unknown, ...codes: string[]): boolean =>
  error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '');

/** Text, or bytes that end with a NUL. */
export type NativePath = string | Uint8Array;

type Native = (...args: unknown[]) => number;

let library: ReturnType<typeof koffi.load> | undefined;

/** Binds a libc function at its first use. */
export function libc(definition: string): Native {
  let bound: Native | undefined;
  return (...args) => {
    library ??= koffi.load('libc.so.6');
    bound ??= library.func(definition) as unknown as Native;
    return Number(bound(...args));
  };
}

export function check(syscall: string, result: number, path?: NativePath): number {
  if (result < 0) throw new SyscallError(syscall, koffi.errno(), typeof path === 'string' ? path : undefined);
  return result;
}

export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  REMOUNT: 32,
  NOSYMFOLLOW: 256,
  NOATIME: 1024,
  BIND: 4096,
  MOVE: 8192,
  REC: 16384,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
} as const;

export const MNT_DETACH = 2;

const mountCall = libc(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
export function mount(source: string, target: string, type: string, flags = 0, data = ''): void {
  check('mount', mountCall(source || 'none', target, type || null, flags, data || null), target);
}

const umountCall = libc('int umount2(const char *target, int flags)');
/** Detaches by default: the mount leaves the tree at once, and goes when its last user does. */
export function umount(target: string, flags: number = MNT_DETACH): void {
  check('umount2', umountCall(target, flags), target);
}

/** Unmounts whatever lies at `target`; false when nothing was mounted there. */
export function umountIfMounted(target: string): boolean {
  try {
    umount(target);
    return true;
  } catch (error) {
    if (isErrno(error, 'EINVAL', 'ENOENT')) return false;
    throw error;
  }
}

const SYS = { openTree: 428, moveMount: 429, mountSetattr: 442 } as const;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const OPEN_TREE_CLONE = 1;
const MOUNT_ATTR_IDMAP = 0x100000n;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const openTreeCall = libc('long syscall(long number, int directory, const char *path, unsigned int flags)');
const mountSetattrCall = libc(
  'long syscall(long number, int fd, const char *path, unsigned int flags, const void *attributes, size_t size)',
);
const moveMountCall = libc(
  'long syscall(long number, int fd, const char *path, int directory, const char *target, unsigned int flags)',
);
/** Binds `source` to `target` with owners mapped by a user namespace (mount_setattr(2), "ID-mapped mounts"). */
export function idmappedMount(source: string, target: string, userNamespace: number): void {
  const fd = check('open_tree', openTreeCall(SYS.openTree, AT_FDCWD, source, OPEN_TREE_CLONE | O_CLOEXEC), source);
  try {
    const attributes = Buffer.alloc(32);
    attributes.writeBigUInt64LE(MOUNT_ATTR_IDMAP, 0);
    attributes.writeBigUInt64LE(BigInt(userNamespace), 24);
    check('mount_setattr', mountSetattrCall(SYS.mountSetattr, fd, '', AT_EMPTY_PATH, attributes, 32), source);
    check('move_mount', moveMountCall(SYS.moveMount, fd, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH), target);
  } finally {
    closeSync(fd);
  }
}

export const S_IFMT = 0o170000;
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;
export const S_IFIFO = 0o010000;

/** Linux's dev_t of a major and a minor number, as glibc's makedev. */
export const makedev = (major: number, minor: number): bigint => {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return ((high & 0xfffn) << 8n) | (low & 0xffn) | ((low & 0xffffff00n) << 12n) | ((high & 0xfffff000n) << 32n);
};
export const major = (dev: bigint | number): number => {
  const bits = BigInt(dev);
  return Number(((bits >> 8n) & 0xfffn) | ((bits >> 32n) & 0xfffff000n));
};
export const minor = (dev: bigint | number): number => {
  const bits = BigInt(dev);
  return Number((bits & 0xffn) | ((bits >> 12n) & 0xffffff00n));
};

const mknodCall = libc('int mknod(const char *path, unsigned int mode, uint64_t dev)');
/** `mode` holds the type (S_IFCHR, S_IFBLK, S_IFIFO) and the permissions, which the umask narrows. */
export function mknod(path: NativePath, mode: number, dev: bigint | number = 0): void {
  check('mknod', mknodCall(path, mode, dev), path);
}

const mkfifoCall = libc('int mkfifo(const char *path, unsigned int mode)');
export function mkfifo(path: string, mode = 0o600): void {
  check('mkfifo', mkfifoCall(path, mode), path);
}

const lsetxattrCall = libc(
  'int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)',
);
export function lsetxattr(path: NativePath, name: string, value: Uint8Array): void {
  check('lsetxattr', lsetxattrCall(path, name, value, value.length, 0), path);
}

const lremovexattrCall = libc('int lremovexattr(const char *path, const char *name)');
export function lremovexattr(path: string, name: string): void {
  check('lremovexattr', lremovexattrCall(path, name), path);
}

/** The kernel's own limits of a value and of a list of names (xattr(7)): one buffer of that size always suffices. */
const XATTR_MAX = 65536;
const scratch = Buffer.allocUnsafeSlow(XATTR_MAX);

const lgetxattrCall = libc('long lgetxattr(const char *path, const char *name, void *value, size_t size)');
/** Undefined when there is no such attribute, or the file system has none at all. */
export function lgetxattr(path: string, name: string): Buffer | undefined {
  const size = lgetxattrCall(path, name, scratch, XATTR_MAX);
  if (size >= 0) return Buffer.from(scratch.subarray(0, size));
  const error = new SyscallError('lgetxattr', koffi.errno(), path);
  if (isErrno(error, 'ENODATA', 'ENOTSUP', 'EOPNOTSUPP')) return undefined;
  throw error;
}

const llistxattrCall = libc('long llistxattr(const char *path, void *list, size_t size)');
export function llistxattr(path: string): string[] {
  const size = llistxattrCall(path, scratch, XATTR_MAX);
  if (size >= 0) return scratch.toString('utf8', 0, size).split('\0').filter(Boolean);
  const error = new SyscallError('llistxattr', koffi.errno(), path);
  if (isErrno(error, 'ENOTSUP', 'EOPNOTSUPP')) return [];
  throw error;
}

const getxattrCall = libc('long getxattr(const char *path, const char *name, void *value, size_t size)');
/** As lgetxattr, but of what `path` leads to: for `/proc/self/fd/N`, which is itself a link. */
export function getxattr(path: string, name: string): Buffer | undefined {
  const size = getxattrCall(path, name, scratch, XATTR_MAX);
  if (size >= 0) return Buffer.from(scratch.subarray(0, size));
  const error = new SyscallError('getxattr', koffi.errno(), path);
  if (isErrno(error, 'ENODATA', 'ENOTSUP', 'EOPNOTSUPP')) return undefined;
  throw error;
}

/** All extended attributes of a file itself (no symlink is followed). */
export function readXattrs(path: string): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const name of llistxattr(path)) {
    const value = lgetxattr(path, name);
    if (value) found.set(name, value);
  }
  return found;
}

export const RESOLVE = { NO_XDEV: 1, NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16 } as const;
export const O_PATH = 0o10000000;
export const O_CLOEXEC = 0o2000000;

/** The number of openat2 is the same on every architecture that came after it was added. */
const SYS_OPENAT2 = 437;
const openat2Call = libc('long syscall(long number, int directory, const char *path, const void *how, size_t size)');
/**
 * Opens `path` below the directory `fd`. With RESOLVE.IN_ROOT the directory is the root of every symlink and every `..`
 * on the way, whatever other processes rename meanwhile (then EAGAIN, which is tried again here). A path of bytes ends with
 * a NUL.
 */
export function openat2(fd: number, path: NativePath, how: { flags: number; mode?: number; resolve: number }): number {
  const struct = Buffer.alloc(24);
  struct.writeBigUInt64LE(BigInt(how.flags | O_CLOEXEC), 0);
  struct.writeBigUInt64LE(BigInt(how.mode ?? 0), 8);
  struct.writeBigUInt64LE(BigInt(how.resolve), 16);
  for (let attempt = 0; ; attempt++) {
    const result = openat2Call(SYS_OPENAT2, fd, path, struct, 24);
    if (result >= 0) return result;
    const error = new SyscallError('openat2', koffi.errno(), typeof path === 'string' ? path : undefined);
    if (attempt >= 64 || !isErrno(error, 'EAGAIN', 'EINTR')) throw error;
  }
}

const readlinkatCall = libc('long readlinkat(int fd, const char *path, void *buffer, size_t size)');
/** Where a symlink points that is held open with O_PATH and O_NOFOLLOW. */
export function readlinkFd(fd: number, encoding: 'utf8' | 'latin1' = 'utf8'): string {
  const size = check('readlinkat', readlinkatCall(fd, '', scratch, XATTR_MAX));
  return scratch.toString(encoding, 0, size);
}

const F_SETPIPE_SZ = 1031;
const fcntlCall = libc('int fcntl(int fd, int command, int argument)');
/** Widens a pipe; returns the size the kernel gave it. Above /proc/sys/fs/pipe-max-size it needs CAP_SYS_RESOURCE. */
export function setPipeSize(fd: number, bytes: number): number {
  return check('fcntl', fcntlCall(fd, F_SETPIPE_SZ, bytes));
}

export const FS_MAGIC = {
  CGROUP2: 0x63677270,
  TMPFS: 0x01021994,
  OVERLAY: 0x794c7630,
  NSFS: 0x6e736673,
  PROC: 0x9fa0,
} as const;

const statfsCall = libc('int statfs(const char *path, void *buffer)');
/** Only what Node's own statfs cannot tell without a thread: the type of the file system at `path`. */
export function fsMagic(path: string): number {
  const buffer = Buffer.alloc(256);
  check('statfs', statfsCall(path, buffer), path);
  return buffer.readUInt32LE(0);
}

const killCall = libc('int kill(int pid, int signal)');
/** As process.kill, for signals Node has no name for (real-time ones). */
export function kill(pid: number, signal: number): void {
  check('kill', killCall(pid, signal));
}

const rawCall = libc('long syscall(long number)');
const X32_GETPID = 0x40000000 + 39;
/** Whether this kernel of an x86-64 machine takes the system calls of the x32 ABI: most are built without it, or boot with it off. */
export const takesX32Calls = (): boolean => rawCall(X32_GETPID) > 0;

const flockCall = libc('int flock(int fd, int operation)');
const LOCK_EX_NB = 2 | 4;
/** Takes an exclusive flock(2) without waiting; false when another process has it. */
export function flockExclusive(fd: number): boolean {
  if (flockCall(fd, LOCK_EX_NB) === 0) return true;
  const error = new SyscallError('flock', koffi.errno());
  if (isErrno(error, 'EAGAIN', 'EWOULDBLOCK')) return false;
  throw error;
}

export const socketCall = libc('int socket(int domain, int type, int protocol)');

const exitCall = libc('void _exit(int status)');
/**
 * Ends the process at once (_exit(2)). process.exit() waits for the threads of V8 first, and one that compiles and needs a garbage collection
 * waits for the main thread: both wait for ever.
 */
export function endProcess(code: number): never {
  exitCall(code);
  throw new Error('unreachable');
}

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const sendtoCall = libc(
  'long sendto(int fd, const void *data, size_t size, int flags, const void *address, unsigned int length)',
);
const MSG_DONTWAIT_NOSIGNAL = 0x40 | 0x4000;
/** Sends one datagram to a unix socket; a leading @ names an abstract one (unix(7)). Never blocks. */
export function sendDatagram(path: string, data: Uint8Array): void {
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`);
  const address = Buffer.concat([Buffer.from(Uint16Array.of(AF_UNIX).buffer), name]);
  const fd = check('socket', socketCall(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0));
  try {
    check('sendto', sendtoCall(fd, data, data.length, MSG_DONTWAIT_NOSIGNAL, address, address.length), path);
  } finally {
    closeSync(fd);
  }
}
