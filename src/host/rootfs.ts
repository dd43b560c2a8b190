/**
 * Opening paths inside a container's root without ever leaving it: every symlink and every `..` is taken as inside the
 * root by the kernel itself (openat2 RESOLVE_IN_ROOT), whatever the container renames meanwhile. Work goes on through
 * the descriptor (`/proc/self/fd/N`), never through the path again.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { O_PATH, openat2, RESOLVE } from './ffi.ts';

export const O_NOFOLLOW = constants.O_NOFOLLOW;

const flagsInRoot = RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS;

/** The path of an open descriptor; a last component after it is not followed by calls of the l… kind. */
export const fdPath = (fd: number, name = ''): string => `/proc/self/fd/${fd}${name && `/${name}`}`;

/** A root directory held open. Close it; descriptors opened in it stay good. */
export class OpenRoot {
  readonly fd: number;

  constructor(path: string) {
    this.fd = openSync(path, O_PATH | constants.O_DIRECTORY);
  }

  /** Opens what `path` leads to, symlinks followed inside the root. */
  open(path: string, flags: number, mode = 0): number {
    return openat2(this.fd, path || '.', { flags, mode, resolve: flagsInRoot });
  }

  /** Opens the thing at `path` itself for reference (O_PATH), a last symlink not followed. */
  openSelf(path: string): number {
    return this.open(path, O_PATH | O_NOFOLLOW);
  }

  openDirectory(path: string): number {
    return this.open(path, O_PATH | constants.O_DIRECTORY);
  }

  close(): void {
    closeSync(this.fd);
  }
}

export function withRoot<T>(path: string, work: (root: OpenRoot) => T): T {
  const root = new OpenRoot(path);
  try {
    return work(root);
  } finally {
    root.close();
  }
}

/**
 * The text of a regular file inside `root`; undefined when it is missing, is no regular file or is larger than `limit`.
 * A FIFO put in its place does not block us.
 */
export function readFileInRoot(root: string, path: string, limit: number): string | undefined {
  let fd: number | undefined;
  try {
    fd = withRoot(root, (opened) => opened.open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY));
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > limit) return undefined;
    const buffer = Buffer.alloc(stat.size);
    let filled = 0;
    for (let read = -1; filled < buffer.length && read !== 0; filled += read) {
      read = readSync(fd, buffer, filled, buffer.length - filled, filled);
    }
    return buffer.toString('utf8', 0, filled);
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
