/** What selections and digests ask of a tree, which may be a directory or an archive that was never unpacked. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { readXattrs } from '../../host/ffi.ts';
import { linkTarget, namesIn, native, nativeNul } from './names.ts';
import { lstatOf } from './resolve.ts';

/** Directory, file, symbolic link, or a special file with its device. */
export type Kind = 'd' | 'f' | 'l' | `x${number | bigint}`;

export interface Listed {
  kind: Kind;
  /** 07777. */
  mode: number;
  uid: number;
  gid: number;
  size: number;
}

/** Paths are relative to the tree's root; the one in question may be a link, those on the way to it are resolved. */
export interface Listing {
  /** Undefined where there is nothing. */
  stat(path: string): Listed | undefined;
  /** In order. */
  names(directory: string): string[];
  target(link: string): string;
  /** sha256 of a file's bytes, in hex. */
  digest(file: string): string;
  xattrs(path: string): ReadonlyMap<string, Buffer>;
}

const CHUNK = 1 << 18;

function digestOfFile(path: string): string {
  const hash = createHash('sha256');
  const fd = fs.openSync(native(path), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  try {
    const buffer = Buffer.allocUnsafe(CHUNK);
    for (let read = fs.readSync(fd, buffer); read > 0; read = fs.readSync(fd, buffer))
      hash.update(buffer.subarray(0, read));
  } finally {
    fs.closeSync(fd);
  }
  return hash.digest('hex');
}

const kindOf = (stat: fs.Stats): Kind =>
  stat.isDirectory() ? 'd' : stat.isFile() ? 'f' : stat.isSymbolicLink() ? 'l' : `x${stat.rdev}`;

/** Of a directory on the disk. */
export function directoryListing(root: string): Listing {
  return {
    stat(path) {
      const stat = lstatOf(join(root, path));
      return stat && { kind: kindOf(stat), mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid, size: stat.size };
    },
    names: (directory) => namesIn(join(root, directory)),
    target: (link) => linkTarget(join(root, link)),
    digest: (file) => digestOfFile(join(root, file)),
    xattrs: (path) => readXattrs(nativeNul(join(root, path))),
  };
}
