/**
 * A container's files as the container sees them: its root with its volumes and binds at their places, running or not. Paths
 * are walked here component by component, each opened from its parent's descriptor without following a link; links and `..`
 * are followed by the text of the path, so nothing a container swaps meanwhile leads outside (CVE-2018-15664, 2019-14271).
 *
 * Paths are latin1 strings, a char a byte, so that any name survives.
 */
import { type BigIntStats, chmodSync, chownSync, closeSync, constants, fstatSync, mkdirSync, openSync } from 'node:fs';
import { posix } from 'node:path';
import { isErrno, O_PATH, openat2, readlinkFd, SyscallError } from '../host/ffi.ts';
import { fdPath } from '../host/rootfs.ts';
import type { Owner, UserRemap } from '../host/user-remap.ts';

/** Something of the host seen at a path in the container. */
export interface ViewMount {
  /** As text. */
  destination: string;
  writable: boolean;
  /** Opens it for reference (O_PATH); the caller closes the descriptor. */
  open(): number;
}

/** Something found. `fd` was opened for reference only (O_PATH), a last link not followed; the caller closes it. */
export interface Found {
  fd: number;
  /** Its path in the container, free of links. */
  path: string;
}

/** Between the ids of a container and the host's. */
export type Owners = Pick<UserRemap, 'inside' | 'outside'>;

const SAME_OWNERS: Owners = { inside: (owner) => owner, outside: (owner) => owner };

/** As many as the kernel follows. */
const MAX_LINKS = 40;
const ELOOP = 40;
const SELF = O_PATH | constants.O_NOFOLLOW;

export const latin1Of = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
export const utf8Of = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('utf8');

/** The entry `name` of an open directory, for calls that do not follow a last link. */
export const entryPath = (directory: number, name: string): Buffer => Buffer.from(fdPath(directory, name), 'latin1');

const ended = (name: string): Buffer => Buffer.from(`${name}\0`, 'latin1');

export const statOf = (fd: number): BigIntStats => fstatSync(fd, { bigint: true });
export const isDirectory = (fd: number): boolean => fstatSync(fd).isDirectory();

export class ContainerView {
  readonly #root: number;
  readonly #mounts = new Map<string, ViewMount>();
  readonly #readonlyRoot: boolean;
  readonly #owners: Owners;

  constructor(root: string, mounts: readonly ViewMount[] = [], readonlyRoot = false, owners = SAME_OWNERS) {
    this.#root = openSync(root, O_PATH | constants.O_DIRECTORY);
    for (const mount of mounts) this.#mounts.set(latin1Of(mount.destination), mount);
    this.#readonlyRoot = readonlyRoot;
    this.#owners = owners;
  }

  /** A file's owner as the container knows it. */
  ownerOf({ uid, gid }: BigIntStats): Owner {
    return this.#owners.inside({ uid: Number(uid), gid: Number(gid) });
  }

  /** The host's ids of a user of the container. */
  hostOwner(owner: Owner): Owner {
    return this.#owners.outside(owner);
  }

  close(): void {
    closeSync(this.#root);
  }

  /** Opens the thing `name` in an open directory; `path` is the directory's. Throws ENOENT and ENOTDIR as the kernel. */
  child(directory: number, path: string, name: string): Found {
    const inside = posix.join(path, name);
    const mount = this.#mounts.get(inside);
    if (mount) return { fd: mount.open(), path: inside };
    try {
      return { fd: openat2(directory, ended(name), { flags: SELF, resolve: 0 }), path: inside };
    } catch (error) {
      if (!isErrno(error, 'ENOENT') || !this.#leadsToMount(inside)) throw error;
      // As when it starts: directories on the way to a mount point are made.
      mkdirSync(entryPath(directory, name));
      const fd = openat2(directory, ended(name), { flags: SELF, resolve: 0 });
      // Whatever the daemon's umask.
      chmodSync(fdPath(fd), 0o755);
      const { uid, gid } = this.hostOwner({ uid: 0, gid: 0 });
      chownSync(fdPath(fd), uid, gid);
      return { fd, path: inside };
    }
  }

  #leadsToMount(path: string): boolean {
    return [...this.#mounts.keys()].some((destination) => destination.startsWith(`${path}/`));
  }

  isMount(path: string): boolean {
    return this.#mounts.has(path);
  }

  /** What a path leads to. With `follow` a last link counts as what it points to. Throws ENOENT, ENOTDIR, ELOOP as the kernel. */
  find(path: string, follow: boolean): Found {
    let todo = components(path);
    for (let links = 0; links <= MAX_LINKS;) {
      const step = this.#walk(todo, follow);
      if ('fd' in step) return step;
      todo = step.redirected;
      if (step.link) links++;
    }
    throw new SyscallError('lookup', ELOOP, utf8Of(path));
  }

  /** Walks from the root until it arrives, or to a link or `..`, in whose place other components then stand. */
  #walk(names: readonly string[], follow: boolean): Found | { redirected: string[]; link: boolean } {
    let here: Found = { fd: openSync(fdPath(this.#root), O_PATH), path: '/' };
    try {
      for (const [index, name] of names.entries()) {
        const rest = names.slice(index + 1);
        if (name === '..') {
          closeSync(here.fd);
          // `here.path` is free of links, so its text tells its parent; the root is its own.
          return { redirected: [...components(posix.dirname(here.path)), ...rest], link: false };
        }
        const next = this.child(here.fd, here.path, name);
        const above = here.path;
        closeSync(here.fd);
        here = next;
        if (!fstatSync(here.fd).isSymbolicLink() || (rest.length === 0 && !follow)) continue;
        const text = readlinkFd(here.fd, 'latin1');
        closeSync(here.fd);
        const base = text.startsWith('/') ? [] : components(above);
        return { redirected: [...base, ...components(text), ...rest], link: true };
      }
      return here;
    } catch (error) {
      closeSync(here.fd);
      throw error;
    }
  }

  /** Where all links of a path lead, as far as there is something. */
  target(path: string): string {
    try {
      const found = this.find(path, true);
      closeSync(found.fd);
      return found.path;
    } catch {
      return this.#brokenTarget(path);
    }
  }

  #brokenTarget(path: string): string {
    let link: Found | undefined;
    try {
      link = this.find(path, false);
      return posix.resolve(posix.dirname(link.path), readlinkFd(link.fd, 'latin1'));
    } catch {
      return path;
    } finally {
      if (link) closeSync(link.fd);
    }
  }

  /** Why nothing may be written at a path free of links; undefined when it may. */
  refusesWriting(path: string): string | undefined {
    let covering: string | undefined;
    for (const destination of this.#mounts.keys()) {
      const covers = path === destination || path.startsWith(`${destination}/`);
      if (covers && destination.length > (covering?.length ?? 0)) covering = destination;
    }
    if (covering !== undefined) {
      return this.#mounts.get(covering)!.writable ? undefined : 'mounted volume is marked read-only';
    }
    return this.#readonlyRoot ? 'container rootfs is marked read-only' : undefined;
  }
}

const components = (path: string): string[] => path.split('/').filter((name) => name !== '' && name !== '.');
