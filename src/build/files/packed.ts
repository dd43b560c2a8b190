/**
 * An archive as the tree that it would be unpacked to: where its files' bytes lie is remembered, and they are read only when a digest
 * is asked for. What only a file system knows the outcome of is not guessed at: then there is no listing, and it has to be unpacked.
 */
import { createHash, hash } from 'node:crypto';
import fs from 'node:fs';
import { makedev } from '../../host/ffi.ts';
import { componentsOf, LayerExtractor } from '../../tar/extract.ts';
import type { TarHeader } from '../../tar/header.ts';
import { TarParser, type TarSink } from '../../tar/parser.ts';
import type { Kind, Listed, Listing } from './listing.ts';
import { nameOf } from './names.ts';

/** Uncompressed: its bytes, or the file that it lies in. */
export type Archive = Uint8Array | string;

const CHUNK = 1 << 20;
const WHITEOUT = '.wh.';
/** What a directory gets that an archive does not mention. */
const IMPLIED = { mode: 0o755, uid: 0, gid: 0, size: 0, xattrs: new Map<string, Buffer>() };

interface Node extends Listed {
  children?: Map<string, Node>;
  target?: string;
  xattrs: ReadonlyMap<string, Buffer>;
  /** Where its bytes are in the archive. */
  offset: number;
}

/** Not for us to tell. */
class Unclear extends Error {}

const kindOf = ({ type, major, minor }: TarHeader): Kind => {
  if (type === 'directory') return 'd';
  if (type === 'file') return 'f';
  if (type === 'symlink') return 'l';
  return type === 'fifo' ? 'x0' : `x${makedev(major, minor)}`;
};

const decoded = (latin1: string): string => nameOf(Buffer.from(latin1, 'latin1'));

/** Follows the rules of the extractor: what comes later takes the place of what was there. */
class Packed implements TarSink {
  readonly root: Node = { kind: 'd', ...IMPLIED, children: new Map(), offset: 0 };
  #at = 0;
  #chunk: Buffer = Buffer.alloc(0);
  #file: Node | undefined;

  /** Told of each piece of the archive before the parser is. */
  reads(chunk: Buffer, at: number): void {
    this.#chunk = chunk;
    this.#at = at;
  }

  entry(header: TarHeader): void {
    this.#file = undefined;
    const parts = componentsOf(header.name).map(decoded);
    const base = parts.pop();
    if (header.sparse || parts.some(isMark) || (base !== undefined && isMark(base))) throw new Unclear();
    if (base === undefined) return this.#rootEntry(header);
    const parent = this.#directory(parts);
    if (header.type === 'link') return this.#link(parent, base, header);
    const { mode, uid, gid, size, xattrs } = header;
    const node: Node = { kind: kindOf(header), mode, uid, gid, size, xattrs, offset: -1 };
    if (node.kind === 'd') node.children = parent.children!.get(base)?.children ?? new Map();
    if (node.kind === 'l') node.target = decoded(header.linkname);
    if (node.kind === 'f') this.#file = node;
    parent.children!.set(base, node);
  }

  data(bytes: Buffer): void {
    if (this.#file && this.#file.offset < 0) this.#file.offset = this.#at + bytes.byteOffset - this.#chunk.byteOffset;
  }

  done(): void {}

  #rootEntry({ type, mode, uid, gid, xattrs }: TarHeader): void {
    if (type !== 'directory') throw new Unclear();
    Object.assign(this.root, { mode, uid, gid, xattrs });
  }

  #directory(parts: readonly string[]): Node {
    let node = this.root;
    for (const part of parts) {
      let next = node.children!.get(part);
      if (!next) node.children!.set(part, (next = { kind: 'd', ...IMPLIED, children: new Map(), offset: -1 }));
      if (!next.children) throw new Unclear();
      node = next;
    }
    return node;
  }

  #link(parent: Node, base: string, { linkname }: TarHeader): void {
    const parts = componentsOf(linkname).map(decoded);
    let node: Node | undefined = this.root;
    for (const part of parts) node = node?.children?.get(part);
    if (!node || node.children) throw new Unclear();
    parent.children!.set(base, node);
  }
}

const isMark = (name: string): boolean => name.startsWith(WHITEOUT);

/** Hands an archive to a sink, piece by piece. */
function readInto(archive: Archive, sink: TarSink, onChunk: (chunk: Buffer, at: number) => void = () => {}): void {
  const parser = new TarParser(sink, { encoding: 'latin1' });
  const take = (chunk: Buffer, at: number): void => {
    onChunk(chunk, at);
    parser.write(chunk);
  };
  if (typeof archive !== 'string') take(Buffer.from(archive.buffer, archive.byteOffset, archive.byteLength), 0);
  else {
    const fd = fs.openSync(archive, 'r');
    try {
      const buffer = Buffer.allocUnsafe(CHUNK);
      let at = 0;
      for (let read = fs.readSync(fd, buffer); read > 0 && !parser.ended; read = fs.readSync(fd, buffer)) {
        take(buffer.subarray(0, read), at);
        at += read;
      }
    } finally {
      fs.closeSync(fd);
    }
  }
  parser.end();
}

function listingOf(root: Node, bytesOf: (node: Node) => string): Listing {
  const at = (path: string): Node | undefined => {
    let node: Node | undefined = root;
    for (const part of path.split('/')) {
      if (part === '' || part === '.') continue;
      // Not resolved: the system would follow it.
      if (node.kind === 'l') throw new Unclear();
      node = node.children?.get(part);
      if (!node) return undefined;
    }
    return node;
  };
  return {
    stat: at,
    names: (directory) => [...at(directory)!.children!.keys()].sort(),
    target: (link) => at(link)!.target!,
    digest: (file) => bytesOf(at(file)!),
    xattrs: (path) => at(path)!.xattrs,
  };
}

function digestInFile(fd: number, { offset, size }: Node, buffer: Buffer): string {
  if (size <= buffer.length) {
    fs.readSync(fd, buffer, 0, size, Math.max(0, offset));
    return hash('sha256', buffer.subarray(0, size));
  }
  const digest = createHash('sha256');
  for (let done = 0; done < size;) {
    const read = fs.readSync(fd, buffer, 0, Math.min(buffer.length, size - done), offset + done);
    if (read === 0) throw new Unclear();
    digest.update(buffer.subarray(0, read));
    done += read;
  }
  return digest.digest('hex');
}

/** Answers what `look` finds out, or undefined when the archive has to be unpacked for that. Errors of `look` are thrown. */
export function inArchive<T>(archive: Archive, look: (listing: Listing) => T): T | undefined {
  let fd: number | undefined;
  try {
    const packed = new Packed();
    try {
      readInto(archive, packed, (chunk, at) => packed.reads(chunk, at));
    } catch {
      // Whoever unpacks it says what is wrong with it.
      return undefined;
    }
    if (typeof archive !== 'string')
      return look(
        listingOf(packed.root, ({ offset, size }) => hash('sha256', archive.subarray(offset, offset + size))),
      );
    const file = (fd = fs.openSync(archive, 'r'));
    const buffer = Buffer.allocUnsafe(CHUNK);
    return look(listingOf(packed.root, (node) => digestInFile(file, node, buffer)));
  } catch (error) {
    if (error instanceof Unclear) return undefined;
    throw error;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

/** Into a directory that is not there yet; it is there only when it is whole. */
export function unpack(archive: Archive, directory: string): void {
  const making = `${directory}.part`;
  fs.mkdirSync(making, { recursive: true });
  const extractor = new LayerExtractor(making);
  try {
    readInto(archive, extractor);
    extractor.finish();
  } finally {
    extractor.close();
  }
  fs.renameSync(making, directory);
}
