/** Walks a writable layer in the order of names, parents first, with what overlayfs says of each file. */
import type { BigIntStats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { lgetxattr } from '../../host/ffi.ts';

export interface LayerFile {
  /** Relative to the layer, latin1: a char a byte. */
  path: string;
  stats: BigIntStats;
  /** Marks a file of the layers below as deleted. */
  whiteout: boolean;
  /** A directory that hides all of the layers below. */
  opaque: boolean;
}

/** A path of bytes for Node and, with its NUL, for system calls. */
export const bytesOf = (path: string): Buffer => Buffer.from(path, 'latin1');
export const nativeOf = (path: string): Buffer & string => Buffer.from(`${path}\0`, 'latin1') as Buffer & string;
/** Turns an ordinary path into one of bytes. */
export const latin1Of = (path: string): string => Buffer.from(path, 'utf8').toString('latin1');
/** Turns a path of bytes into one that can be shown. */
export const textOf = (path: string): string => Buffer.from(path, 'latin1').toString('utf8');

/** `root` is a path of bytes. */
export async function* walkLayer(root: string, below = ''): AsyncGenerator<LayerFile> {
  const names = await readdir(bytesOf(below ? `${root}/${below}` : root), { encoding: 'latin1' });
  for (const name of names.sort()) {
    const path = below ? `${below}/${name}` : name;
    const stats = await lstat(bytesOf(`${root}/${path}`), { bigint: true }).catch((error: NodeJS.ErrnoException) => {
      // The container may run meanwhile.
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (!stats) continue;
    const directory = stats.isDirectory();
    const opaque = directory && String(lgetxattr(nativeOf(`${root}/${path}`), 'trusted.overlay.opaque')) === 'y';
    yield { path, stats, whiteout: stats.isCharacterDevice() && stats.rdev === 0n, opaque };
    if (directory) yield* walkLayer(root, path);
  }
}
