/**
 * Reads the user databases of a root filesystem that is not mounted, straight from its layers: a start must not cost a mount
 * for two small files. Whatever is out of the ordinary (links, opaque directories) is left to a real mount.
 */
import { lstatSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { lgetxattr } from '../host/ffi.ts';
import { readFileInRoot } from '../host/rootfs.ts';

const LIMIT = 8 << 20;

/** The text; undefined when it is not there; `unclear` when only a mount can tell. */
export type Reading = string | undefined | typeof UNCLEAR;

export const UNCLEAR = Symbol('only a mount can tell');

const look = (path: string): Stats | undefined => {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
};

const isWhiteout = (stats: Stats): boolean => stats.isCharacterDevice() && stats.rdev === 0;

/** `layers` from the topmost down; `path` like /etc/passwd, a directory and a file. */
export function readThroughLayers(layers: readonly string[], path: string): Reading {
  const [, directory = '', file = ''] = path.split('/');
  for (const layer of layers) {
    const parent = look(join(layer, directory));
    if (!parent) continue;
    if (isWhiteout(parent)) return undefined;
    if (!parent.isDirectory()) return UNCLEAR;
    const entry = look(join(layer, directory, file));
    if (entry?.isFile()) return readFileInRoot(layer, path, LIMIT);
    if (entry) return isWhiteout(entry) ? undefined : UNCLEAR;
    if (String(lgetxattr(join(layer, directory), 'trusted.overlay.opaque')) === 'y') return undefined;
  }
  return undefined;
}
