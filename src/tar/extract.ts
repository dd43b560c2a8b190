/**
 * Extraction of a layer's tar into an empty directory that nobody else writes to. Everything in it was made here, so the
 * set of directories made is the whole truth about parents: a parent that is not in it and exists is a file or a link,
 * and is never followed. Nothing outside of the root is opened, linked or changed, whatever the archive says.
 *
 * Whiteouts become overlayfs's own: a 0/0 character device, and `trusted.overlay.opaque` on directories (kernel
 * Documentation/filesystems/overlayfs.rst; OCI image-spec layer.md "Whiteouts"). Paths are latin1 strings, a char a byte.
 */
import fs from 'node:fs';
import { invalid } from '../errors.ts';
import { isErrno, lsetxattr, makedev, mknod, S_IFBLK, S_IFCHR, S_IFIFO } from '../host/ffi.ts';
import type { TarHeader } from './header.ts';
import type { TarSink } from './parser.ts';
import { futimens, lutimens } from './utimens.ts';

const WHITEOUT = '.wh.';
const OPAQUE_MARK = '.wh..wh..opq';
const RESERVED = '.wh..wh.';
const OPAQUE_XATTR = 'trusted.overlay.opaque';
const MAX_ID = 0xffff_fffe;
/** More entries than any layer has; each costs us an inode and some memory. */
const MAX_ENTRIES = 10_000_000;

const bad = (why: string): Error => invalid(why, { code: 'bad-archive' });

/** Path components of an archive's name inside the root; `..` that would leave it is refused. */
export function componentsOf(name: string): string[] {
  const components: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (components.pop() === undefined) throw bad(`invalid path in archive: ${JSON.stringify(name)}`);
    } else components.push(part);
  }
  return components;
}

export class LayerExtractor implements TarSink {
  #root: string;
  #directories = new Set<string>(['']);
  #whiteouts = new Set<string>();
  /** Directories get their times last, because every child made in them changes them. */
  #times = new Map<string, bigint>();
  #file: { fd: number; path: string; header: TarHeader } | undefined;
  #bytes = 0;
  #entries = 0;

  constructor(root: string) {
    this.#root = Buffer.from(root).toString('latin1');
  }

  entry(header: TarHeader): void {
    if (++this.#entries > MAX_ENTRIES) throw bad('too many entries in the archive');
    if (header.uid > MAX_ID || header.gid > MAX_ID) throw bad('owner out of range');
    const components = componentsOf(header.name);
    const base = components.at(-1);
    if (base === undefined) return this.#rootEntry(header);
    // What aufs kept for itself stands in very old images.
    if (components.slice(0, -1).some((part) => part.startsWith(RESERVED))) return;
    const parent = this.#parent(components);
    if (base.startsWith(WHITEOUT)) return this.#whiteout(parent, base, header);
    const path = parent ? `${parent}/${base}` : base;
    switch (header.type) {
      case 'directory':
        return this.#directory(path, header);
      case 'file':
        return this.#open(path, header);
      case 'link':
        return this.#link(path, header);
      case 'symlink':
        this.#bytes += header.linkname.length;
        this.#replacing(path, () => fs.symlinkSync(bytesOf(header.linkname), this.#at(path)));
        return this.#metadata(path, header);
      default:
        this.#replacing(path, () => this.#special(path, header));
        return this.#metadata(path, header);
    }
  }

  /** Links a file that lies elsewhere to where an entry of this name would go. Throws as link(2) does. */
  adopt(name: string, file: string): void {
    const components = componentsOf(name);
    if (!components.length) throw bad('the root of an archive must be a directory');
    this.#parent(components);
    const path = components.join('/');
    this.#replacing(path, () => fs.linkSync(file, this.#at(path)));
  }

  data(bytes: Buffer, position: number): void {
    if (!this.#file) return;
    for (let at = 0; at < bytes.length;) {
      at += fs.writeSync(this.#file.fd, bytes, at, bytes.length - at, position + at);
    }
  }

  done(): void {
    const file = this.#file;
    if (!file) return;
    this.#file = undefined;
    try {
      if (file.header.sparse) fs.ftruncateSync(file.fd, file.header.size);
      fs.fchownSync(file.fd, file.header.uid, file.header.gid);
      fs.fchmodSync(file.fd, file.header.mode);
      futimens(file.fd, file.header.mtimeNs);
    } finally {
      fs.closeSync(file.fd);
    }
    this.#attributes(file.path, file.header);
  }

  /** After the last entry. Returns the bytes of all files. */
  finish(): { bytes: number; entries: number } {
    for (const [path, mtimeNs] of this.#times) lutimens(this.#native(path), mtimeNs);
    return { bytes: this.#bytes, entries: this.#entries };
  }

  /** Lets go of the file that is open when the archive broke off. */
  close(): void {
    if (this.#file) fs.closeSync(this.#file.fd);
    this.#file = undefined;
  }

  #at(path: string): Buffer {
    return bytesOf(path ? `${this.#root}/${path}` : this.#root);
  }

  /** For system calls through the FFI: koffi takes a NUL-ended buffer wherever it takes a string. */
  #native(path: string): Buffer & string {
    return bytesOf(`${path ? `${this.#root}/${path}` : this.#root}\0`) as Buffer & string;
  }

  /** Makes missing parents; refuses to go through anything that is not a directory of this layer. */
  #parent(components: string[]): string {
    let path = '';
    for (const part of components.slice(0, -1)) {
      path = path ? `${path}/${part}` : part;
      if (this.#directories.has(path)) continue;
      this.#makeDirectory(path);
      fs.chmodSync(this.#at(path), 0o755);
    }
    return path;
  }

  #makeDirectory(path: string): void {
    const hidden = this.#whiteouts.delete(path);
    if (hidden) fs.unlinkSync(this.#at(path));
    try {
      fs.mkdirSync(this.#at(path), 0o700);
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
      throw bad(`archive goes through a file or link: ${JSON.stringify(Buffer.from(path, 'latin1').toString())}`);
    }
    this.#directories.add(path);
    // The layer hides what was here below and puts a directory of its own there.
    if (hidden) lsetxattr(this.#native(path), OPAQUE_XATTR, Buffer.from('y'));
  }

  #rootEntry(header: TarHeader): void {
    if (header.type !== 'directory') throw bad('the root of an archive must be a directory');
    this.#metadata('', header);
  }

  #directory(path: string, header: TarHeader): void {
    if (!this.#directories.has(path)) {
      if (!this.#whiteouts.has(path)) this.#remove(path);
      this.#makeDirectory(path);
    }
    this.#metadata(path, header);
  }

  #open(path: string, header: TarHeader): void {
    const flags = fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_WRONLY | fs.constants.O_NOFOLLOW;
    const fd = this.#replacing(path, () => fs.openSync(this.#at(path), flags, 0o600));
    this.#file = { fd, path, header };
    this.#bytes += header.size;
  }

  #link(path: string, header: TarHeader): void {
    const components = componentsOf(header.linkname);
    const parent = components.slice(0, -1).join('/');
    const target = components.join('/');
    if (target === path) return;
    if (!this.#directories.has(parent) || this.#directories.has(target) || this.#whiteouts.has(target)) {
      throw bad(`invalid hard link in archive: ${JSON.stringify(header.linkname)}`);
    }
    // link(2) does not follow a symlink at the end, and every parent is a directory of ours.
    this.#replacing(path, () => fs.linkSync(this.#at(target), this.#at(path)));
  }

  #special(path: string, header: TarHeader): void {
    const kind = header.type === 'char' ? S_IFCHR : header.type === 'block' ? S_IFBLK : S_IFIFO;
    mknod(this.#native(path), kind | 0o600, kind === S_IFIFO ? 0 : makedev(header.major, header.minor));
  }

  #whiteout(parent: string, base: string, header: TarHeader): void {
    if (base === OPAQUE_MARK) return lsetxattr(this.#native(parent), OPAQUE_XATTR, Buffer.from('y'));
    if (base.startsWith(RESERVED)) return;
    const name = base.slice(WHITEOUT.length);
    if (name === '' || name === '.' || name === '..') throw bad(`invalid whiteout in archive: ${JSON.stringify(base)}`);
    const path = parent ? `${parent}/${name}` : name;
    // A whiteout speaks of the layers below: what this layer itself put there stays.
    if (this.#directories.has(path)) return lsetxattr(this.#native(path), OPAQUE_XATTR, Buffer.from('y'));
    try {
      mknod(this.#native(path), S_IFCHR, 0);
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return;
      throw error;
    }
    this.#whiteouts.add(path);
    fs.lchownSync(this.#at(path), header.uid, header.gid);
  }

  /** Makes something at `path`; what an earlier entry left there goes first. */
  #replacing<T>(path: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
    }
    this.#remove(path);
    return make();
  }

  #remove(path: string): void {
    this.#whiteouts.delete(path);
    if (!this.#directories.has(path)) {
      try {
        return fs.unlinkSync(this.#at(path));
      } catch (error) {
        if (isErrno(error, 'ENOENT')) return;
        throw error;
      }
    }
    removeTree(this.#at(path));
    const below = `${path}/`;
    for (const set of [this.#directories, this.#whiteouts]) {
      for (const other of set) if (other === path || other.startsWith(below)) set.delete(other);
    }
    for (const other of this.#times.keys()) if (other === path || other.startsWith(below)) this.#times.delete(other);
  }

  #metadata(path: string, header: TarHeader): void {
    const at = this.#at(path);
    fs.lchownSync(at, header.uid, header.gid);
    if (header.type !== 'symlink') fs.chmodSync(at, header.mode);
    this.#attributes(path, header);
    if (header.type === 'directory') this.#times.set(path, header.mtimeNs);
    else lutimens(this.#native(path), header.mtimeNs);
  }

  #attributes(path: string, header: TarHeader): void {
    for (const [name, value] of header.xattrs) {
      // Overlayfs's own attributes would redirect lookups in a mount; only our whiteouts may set them.
      if (/^(trusted|user)\.overlay\./.test(name)) continue;
      try {
        lsetxattr(this.#native(path), name, value);
      } catch (error) {
        if (!isErrno(error, 'ENOTSUP', 'EOPNOTSUPP', 'EPERM')) throw error;
      }
    }
  }
}

const bytesOf = (path: string): Buffer => Buffer.from(path, 'latin1');

/** rm -r for names that are bytes: does not follow links, does not leave the tree. */
function removeTree(path: Buffer): void {
  for (const entry of fs.readdirSync(path, { withFileTypes: true, encoding: 'buffer' })) {
    const child = Buffer.concat([path, Buffer.from('/'), entry.name]);
    if (entry.isDirectory()) removeTree(child);
    else fs.unlinkSync(child);
  }
  fs.rmdirSync(path);
}
