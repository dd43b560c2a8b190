/**
 * Puts the content of a tar archive into a directory of a container. Each entry's parent is found through the view, links
 * followed inside the container only; from there on everything is done on descriptors, or by calls that do not follow a
 * last link. A container that swaps paths meanwhile can only spoil its own files.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  lchownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { posix } from 'node:path';
import { internal, invalid } from '../errors.ts';
import { isErrno, lsetxattr, makedev, mknod, S_IFBLK, S_IFCHR, S_IFIFO } from '../host/ffi.ts';
import { fdPath } from '../host/rootfs.ts';
import type { TarHeader } from '../tar/header.ts';
import { readTar } from '../tar/read.ts';
import { lutimens } from '../tar/utimens.ts';
import { type ContainerView, entryPath, type Found, isDirectory, utf8Of } from './view.ts';

export interface UnpackOptions {
  /** Refuses to put a file over a directory and the other way. */
  noOverwriteDirNonDir: boolean;
  /** Owner of everything; the archive's own owners when undefined. */
  owner: { uid: number; gid: number } | undefined;
}

const MAX_ID = 0xffff_fffe;

/** A place for an entry: an open directory and a name in it. */
interface Place {
  parent: Found;
  base: string;
}

export class TreeReader {
  readonly #view: ContainerView;
  readonly #destination: string;
  readonly #options: UnpackOptions;
  /** Directories get their times last: every entry made in them changes them. */
  readonly #times = new Map<string, bigint>();

  /** `destination`: path of a directory in the container, free of links. */
  constructor(view: ContainerView, destination: string, options: UnpackOptions) {
    this.#view = view;
    this.#destination = destination;
    this.#options = options;
  }

  async read(source: AsyncIterable<Uint8Array>): Promise<void> {
    await readTar(source, (header, content) => this.#entry(header, content), { encoding: 'latin1' });
    for (const [path, mtimeNs] of this.#times) this.#at(path, (place) => lutimens(ended(place), mtimeNs));
  }

  /** The path an archive's name stands for; nothing outside of the destination. */
  #inside(name: string): string {
    const path = posix.join(this.#destination, posix.normalize(name));
    const within = this.#destination === '/' || path === this.#destination || path.startsWith(`${this.#destination}/`);
    if (!within || posix.normalize(name).startsWith('../') || posix.normalize(name) === '..') {
      throw invalid(`"${utf8Of(path)}" is outside of "${utf8Of(this.#destination)}"`, { code: 'bad-archive' });
    }
    return path.replace(/(.)\/$/, '$1');
  }

  async #entry(header: TarHeader, content: AsyncIterable<Uint8Array>): Promise<void> {
    if (header.uid > MAX_ID || header.gid > MAX_ID)
      throw invalid('archive: owner out of range', { code: 'bad-archive' });
    const path = this.#inside(header.name);
    // The destination is there and keeps what it is.
    if (path === this.#destination) return;
    const parent = this.#directory(posix.dirname(path));
    try {
      const place = { parent, base: posix.basename(path) };
      this.#clear(place, path, header);
      if (header.type === 'file') await this.#file(place, header, content);
      else this.#make(place, header);
      if (header.type === 'directory') this.#times.set(path, header.mtimeNs);
    } finally {
      closeSync(parent.fd);
    }
  }

  /** Opens a directory, making what is missing. */
  #directory(path: string): Found {
    try {
      const found = this.#view.find(path, true);
      if (isDirectory(found.fd)) return found;
      closeSync(found.fd);
      throw invalid(`mkdir ${utf8Of(path)}: not a directory`);
    } catch (error) {
      if (!isErrno(error, 'ENOENT') || path === '/') throw error;
    }
    const parent = this.#directory(posix.dirname(path));
    try {
      const base = posix.basename(path);
      mkdirSync(entryPath(parent.fd, base), { mode: 0o755 });
      const made = this.#view.child(parent.fd, parent.path, base);
      // Whatever the daemon's umask.
      chmodSync(fdPath(made.fd), 0o755);
      const { uid, gid } = this.#view.hostOwner(this.#options.owner ?? { uid: 0, gid: 0 });
      chownSync(fdPath(made.fd), uid, gid);
      return made;
    } finally {
      closeSync(parent.fd);
    }
  }

  /** Takes away what is in the entry's place, but for a directory where one comes. */
  #clear({ parent, base }: Place, path: string, header: TarHeader): void {
    let there: Found;
    try {
      there = this.#view.child(parent.fd, parent.path, base);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      throw error;
    }
    const isDir = isDirectory(there.fd);
    closeSync(there.fd);
    const becomesDir = header.type === 'directory';
    if (isDir && becomesDir) return;
    if (this.#options.noOverwriteDirNonDir && isDir !== becomesDir) {
      const [old, fresh] = isDir ? ['directory', 'non-directory'] : ['non-directory', 'directory'];
      throw invalid(`cannot overwrite ${old} "${utf8Of(path)}" with ${fresh} "${utf8Of(this.#destination)}"`);
    }
    if (this.#view.isMount(posix.join(parent.path, base))) {
      throw internal(`unlinkat ${utf8Of(path)}: device or resource busy`);
    }
    this.#remove(parent, base);
    for (const known of this.#times.keys())
      if (known === path || known.startsWith(`${path}/`)) this.#times.delete(known);
  }

  #remove(parent: Found, base: string): void {
    const entry = entryPath(parent.fd, base);
    const there = this.#view.child(parent.fd, parent.path, base);
    try {
      if (!isDirectory(there.fd)) return unlinkSync(entry);
      for (const name of readdirSync(fdPath(there.fd), { encoding: 'latin1' })) {
        if (this.#view.isMount(posix.join(there.path, name))) {
          throw internal(`unlinkat ${utf8Of(posix.join(there.path, name))}: device or resource busy`);
        }
        this.#remove(there, name);
      }
      rmdirSync(entry);
    } finally {
      closeSync(there.fd);
    }
  }

  async #file(place: Place, header: TarHeader, content: AsyncIterable<Uint8Array>): Promise<void> {
    const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
    const file = await open(entryPath(place.parent.fd, place.base), flags, 0o600);
    try {
      for await (const bytes of content) {
        for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, bytes.length - at)).bytesWritten;
      }
      const { uid, gid } = this.#view.hostOwner(this.#options.owner ?? header);
      await file.chown(uid, gid);
      await file.chmod(header.mode);
    } finally {
      await file.close();
    }
    this.#attributes(place, header);
    lutimens(ended(place), header.mtimeNs);
  }

  #make(place: Place, header: TarHeader): void {
    const entry = entryPath(place.parent.fd, place.base);
    switch (header.type) {
      case 'directory':
        this.#makeDirectory(entry);
        break;
      case 'symlink':
        symlinkSync(Buffer.from(header.linkname, 'latin1'), entry);
        break;
      case 'link':
        return this.#link(entry, header);
      default:
        mknod(ended(place), KINDS[header.type as keyof typeof KINDS] | 0o600, makedev(header.major, header.minor));
    }
    this.#own(place, header);
    this.#attributes(place, header);
    if (header.type !== 'directory') lutimens(ended(place), header.mtimeNs);
  }

  #makeDirectory(entry: Buffer): void {
    try {
      mkdirSync(entry, { mode: 0o700 });
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
    }
  }

  /** Hard links name a file of the archive. link(2) does not follow a last link. */
  #link(entry: Buffer, header: TarHeader): void {
    const target = this.#inside(header.linkname);
    this.#at(target, ({ parent, base }) => linkSync(entryPath(parent.fd, base), entry));
  }

  /** On the descriptor: a name could be another thing by now. */
  #own({ parent, base }: Place, header: TarHeader): void {
    const { uid, gid } = this.#view.hostOwner(this.#options.owner ?? header);
    if (header.type === 'symlink') return lchownSync(entryPath(parent.fd, base), uid, gid);
    const made = this.#view.child(parent.fd, parent.path, base);
    try {
      chownSync(fdPath(made.fd), uid, gid);
      chmodSync(fdPath(made.fd), header.mode);
    } finally {
      closeSync(made.fd);
    }
  }

  #attributes(place: Place, header: TarHeader): void {
    for (const [name, value] of header.xattrs) {
      if (/^(trusted|user)\.overlay\./.test(name)) continue;
      try {
        lsetxattr(ended(place), name, value);
      } catch (error) {
        if (!isErrno(error, 'ENOTSUP', 'EOPNOTSUPP', 'EPERM')) throw error;
      }
    }
  }

  #at(path: string, work: (place: Place) => void): void {
    const parent = this.#view.find(posix.dirname(path), true);
    try {
      work({ parent, base: posix.basename(path) });
    } finally {
      closeSync(parent.fd);
    }
  }
}

const KINDS = { char: S_IFCHR, block: S_IFBLK, fifo: S_IFIFO } as const;

/** For system calls that take bytes. */
const ended = ({ parent, base }: Place): Buffer => Buffer.concat([entryPath(parent.fd, base), Buffer.alloc(1)]);
