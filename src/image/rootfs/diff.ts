/**
 * A writable layer as an OCI layer tar (image-spec layer.md): overlayfs's whiteouts become `.wh.` files, opaque directories
 * get `.wh..wh..opq`. Sockets are left out, times are whole seconds, as dockerd has them.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { open, readlink } from 'node:fs/promises';
import { llistxattr, lgetxattr, major, minor } from '../../host/ffi.ts';
import { encodeHeader, END_OF_ARCHIVE, padding, type TarHeader, tarHeader, type TarType } from '../../tar/header.ts';
import { bytesOf, latin1Of, type LayerFile, nativeOf, walkLayer } from './walk.ts';

const READ_CHUNK = 256 << 10;
const SMALL = 64 << 10;
const KEPT_XATTRS = /^(security\.capability$|user\.(?!overlay\.))/;

const nameOf = (path: string): [directory: string, base: string] => {
  const slash = path.lastIndexOf('/');
  return [path.slice(0, slash + 1), path.slice(slash + 1)];
};

function typeOf({ stats }: LayerFile): TarType | undefined {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isCharacterDevice()) return 'char';
  if (stats.isBlockDevice()) return 'block';
  return stats.isFIFO() ? 'fifo' : undefined;
}

function xattrsOf(path: string): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const name of llistxattr(nativeOf(path))) {
    const value = KEPT_XATTRS.test(name) ? lgetxattr(nativeOf(path), name) : undefined;
    if (value) found.set(name, value);
  }
  return found;
}

async function headerOf(root: string, file: LayerFile, type: TarType): Promise<TarHeader> {
  const { path, stats } = file;
  const device = type === 'char' || type === 'block';
  return tarHeader({
    name: type === 'directory' ? `${path}/` : path,
    type,
    mode: Number(stats.mode & 0o7777n),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    size: type === 'file' ? Number(stats.size) : 0,
    mtimeNs: (stats.mtimeNs / 1_000_000_000n) * 1_000_000_000n,
    linkname: type === 'symlink' ? (await readlink(bytesOf(`${root}/${path}`), 'buffer')).toString('latin1') : '',
    major: device ? major(stats.rdev) : 0,
    minor: device ? minor(stats.rdev) : 0,
    xattrs: type === 'symlink' ? new Map() : xattrsOf(`${root}/${path}`),
  });
}

/** A small file is read sooner than a thread would have been told of it. */
function readSmall(path: string, size: number): Buffer {
  const buffer = Buffer.alloc(size + padding(size));
  const fd = openSync(bytesOf(path), 'r');
  try {
    for (let at = 0; at < size;) {
      const count = readSync(fd, buffer, at, size - at, null);
      if (count === 0) break;
      at += count;
    }
  } finally {
    closeSync(fd);
  }
  return buffer;
}

/** Exactly `size` bytes: a file that shrinks meanwhile is filled up, one that grows is cut, and the archive stays whole. */
async function* contentOf(path: string, size: number): AsyncGenerator<Uint8Array> {
  if (size <= SMALL) return yield readSmall(path, size);
  const handle = await open(bytesOf(path), 'r');
  try {
    for (let left = size; left > 0;) {
      const buffer = Buffer.allocUnsafe(Math.min(READ_CHUNK, left));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length);
      if (bytesRead === 0) buffer.fill(0);
      const bytes = bytesRead === 0 ? buffer : buffer.subarray(0, bytesRead);
      left -= bytes.length;
      yield bytes;
    }
  } finally {
    await handle.close();
  }
  const pad = padding(size);
  if (pad) yield new Uint8Array(pad);
}

/** The mark's own header; the mark is an empty file. */
const mark = (name: string, file: LayerFile): Uint8Array =>
  encodeHeader(tarHeader({ name, mode: 0, mtimeNs: (file.stats.mtimeNs / 1_000_000_000n) * 1_000_000_000n }), 'latin1');

/** Thousands of headers and small files in pieces that are worth handing on. */
async function* gathered(parts: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  let size = 0;
  for await (const part of parts) {
    held.push(part);
    size += part.length;
    if (size < SMALL) continue;
    yield Buffer.concat(held);
    held = [];
    size = 0;
  }
  if (size) yield Buffer.concat(held);
}

export const diffTar = (directory: string): AsyncGenerator<Uint8Array> => gathered(entriesOf(directory));

async function* entriesOf(directory: string): AsyncGenerator<Uint8Array> {
  const root = latin1Of(directory);
  const links = new Map<bigint, string>();
  for await (const file of walkLayer(root)) {
    const [parent, base] = nameOf(file.path);
    if (file.whiteout) {
      yield mark(`${parent}.wh.${base}`, file);
      continue;
    }
    const type = typeOf(file);
    if (!type) continue;
    const first = file.stats.nlink > 1n && type !== 'directory' ? links.get(file.stats.ino) : undefined;
    const header = await headerOf(root, file, type);
    if (first !== undefined) {
      yield encodeHeader({ ...header, type: 'link', linkname: first, size: 0, xattrs: new Map() }, 'latin1');
      continue;
    }
    if (file.stats.nlink > 1n) links.set(file.stats.ino, file.path);
    yield encodeHeader(header, 'latin1');
    if (file.opaque) yield mark(`${file.path}/.wh..wh..opq`, file);
    if (type === 'file' && header.size) yield* contentOf(`${root}/${file.path}`, header.size);
  }
  yield END_OF_ARCHIVE;
}
