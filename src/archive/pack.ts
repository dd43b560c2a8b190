/**
 * A tree of a container as a tar stream, made in this process and on descriptors: no tool of an image runs, no path is
 * looked up twice. Hard links within the tree stay links; sockets are left out; of xattrs only capabilities go along.
 */
import { closeSync, constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { getxattr, isErrno, major, minor, readlinkFd } from '../host/ffi.ts';
import { fdPath } from '../host/rootfs.ts';
import { encodeHeader, END_OF_ARCHIVE, padding, type TarHeader, tarHeader, type TarType } from '../tar/header.ts';
import { type ContainerView, type Found, statOf } from './view.ts';

const CHUNK = 256 << 10;
const CAPABILITY = 'security.capability';

const TYPES: Readonly<Record<number, TarType>> = {
  0o120000: 'symlink',
  0o100000: 'file',
  0o060000: 'block',
  0o040000: 'directory',
  0o020000: 'char',
  0o010000: 'fifo',
};

function headerOf(view: ContainerView, found: Found, name: string, type: TarType): TarHeader {
  const stat = statOf(found.fd);
  const capability = type === 'file' ? getxattr(fdPath(found.fd), CAPABILITY) : undefined;
  const device = type === 'char' || type === 'block';
  return tarHeader({
    name: type === 'directory' && !name.endsWith('/') ? `${name}/` : name,
    type,
    mode: Number(stat.mode) & 0o7777,
    ...view.ownerOf(stat),
    size: type === 'file' ? Number(stat.size) : 0,
    // Whole seconds, as dockerd has them: a fraction would cost every entry a header of its own.
    mtimeNs: (stat.mtimeNs / 1_000_000_000n) * 1_000_000_000n,
    linkname: type === 'symlink' ? readlinkFd(found.fd, 'latin1') : '',
    major: device ? major(stat.rdev) : 0,
    minor: device ? minor(stat.rdev) : 0,
    xattrs: new Map(capability ? [[CAPABILITY, capability]] : []),
  });
}

/** Exactly as many bytes as the header promised, whatever happens to the file meanwhile. */
async function* contentOf(fd: number, size: number): AsyncGenerator<Uint8Array> {
  const file = await open(fdPath(fd), constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    for (let left = size; left > 0;) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK, left));
      const { bytesRead } = await file.read(chunk, 0, chunk.length, null);
      const bytes = bytesRead === 0 ? chunk.fill(0) : chunk.subarray(0, bytesRead);
      left -= bytes.length;
      yield bytes;
    }
  } finally {
    await file.close();
  }
  if (padding(size)) yield new Uint8Array(padding(size));
}

class TreeWriter {
  readonly #view: ContainerView;
  /** Name of the first link to an inode. */
  readonly #links = new Map<string, string>();

  constructor(view: ContainerView) {
    this.#view = view;
  }

  async *entry(found: Found, name: string): AsyncGenerator<Uint8Array> {
    const stat = statOf(found.fd);
    const type = TYPES[Number(stat.mode) & 0o170000];
    if (!type) return;
    const header = headerOf(this.#view, found, name, type);
    if (type !== 'directory' && stat.nlink > 1n) {
      const inode = `${stat.dev}:${stat.ino}`;
      const first = this.#links.get(inode);
      if (first !== undefined) {
        yield encodeHeader({ ...header, type: 'link', linkname: first, size: 0, xattrs: new Map() }, 'latin1');
        return;
      }
      this.#links.set(inode, name);
    }
    yield encodeHeader(header, 'latin1');
    if (type === 'file') yield* contentOf(found.fd, header.size);
    if (type === 'directory') yield* this.children(found, name);
  }

  async *children(directory: Found, name: string): AsyncGenerator<Uint8Array> {
    const names = await readdir(fdPath(directory.fd), { encoding: 'latin1' });
    for (const child of names.sort()) {
      const found = this.#open(directory, child);
      if (!found) continue;
      try {
        // Not joined: clients look for the `./` of a tree's content.
        yield* this.entry(found, name === '' ? child : `${name.replace(/\/$/, '')}/${child}`);
      } finally {
        closeSync(found.fd);
      }
    }
  }

  /** Undefined when it is gone since the directory was read. */
  #open(directory: Found, name: string): Found | undefined {
    try {
      return this.#view.child(directory.fd, directory.path, name);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }
}

/** `name` is what `found` is called in the archive; '' leaves the directory itself out. */
export async function* packTree(view: ContainerView, found: Found, name: string): AsyncGenerator<Uint8Array> {
  const writer = new TreeWriter(view);
  yield* name === '' ? writer.children(found, '') : writer.entry(found, name);
  yield END_OF_ARCHIVE;
}
