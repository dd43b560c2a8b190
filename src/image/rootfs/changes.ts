/**
 * What a container changed, read off its writable layer: a whiteout deletes, a file that the layers below have too is
 * modified, every other is added. Sorted by path, as dockerd answers.
 */
import { lstat, readdir } from 'node:fs/promises';
import { lgetxattr } from '../../host/ffi.ts';
import type { Change } from '../port.ts';
import { bytesOf, latin1Of, nativeOf, textOf, walkLayer } from './walk.ts';

/** What a path is in the layers below, seen through their whiteouts and without following links. */
async function below(lower: readonly string[], path: string): Promise<'directory' | 'other' | undefined> {
  for (const layer of lower) {
    const parts = path.split('/');
    let hidden = false;
    for (let depth = 1; depth <= parts.length; depth++) {
      const at = `${layer}/${parts.slice(0, depth).join('/')}`;
      const stats = await lstat(bytesOf(at)).catch(() => undefined);
      if (!stats) break;
      if (stats.isCharacterDevice() && stats.rdev === 0) return undefined;
      if (depth === parts.length) return stats.isDirectory() ? 'directory' : 'other';
      if (!stats.isDirectory()) return undefined;
      hidden = hidden || isOpaque(at);
    }
    if (hidden) return undefined;
  }
  return undefined;
}

const isOpaque = (path: string): boolean => String(lgetxattr(nativeOf(path), 'trusted.overlay.opaque')) === 'y';

export async function changesOf(upper: string, lowerPaths: readonly string[]): Promise<Change[]> {
  const lower = lowerPaths.map(latin1Of);
  const changes: Change[] = [];
  for await (const file of walkLayer(latin1Of(upper))) {
    const Path = `/${textOf(file.path)}`;
    if (file.whiteout) changes.push({ Path, Kind: 2 });
    else changes.push({ Path, Kind: (await below(lower, file.path)) ? 0 : 1 });
    if (file.opaque) changes.push(...(await hiddenBy(lower, file.path, upper)));
  }
  return changes.sort((a, b) => (a.Path < b.Path ? -1 : a.Path > b.Path ? 1 : 0));
}

/** An opaque directory deletes what the layers below have in it, unless the writable layer has a new one of that name. */
async function hiddenBy(lower: readonly string[], path: string, upper: string): Promise<Change[]> {
  const present = new Set(await readdir(bytesOf(`${latin1Of(upper)}/${path}`), { encoding: 'latin1' }));
  const names = new Set<string>();
  for (const layer of lower) {
    const found = await readdir(bytesOf(`${layer}/${path}`), { encoding: 'latin1' }).catch(() => []);
    for (const name of found) if (!present.has(name)) names.add(name);
  }
  const gone: Change[] = [];
  for (const name of names) {
    if (await below(lower, `${path}/${name}`)) gone.push({ Path: `/${textOf(`${path}/${name}`)}`, Kind: 2 });
  }
  return gone;
}
