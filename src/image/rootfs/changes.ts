/**
 * What a container changed, read off its writable layer: a whiteout deletes, what the layers below have too is modified
 * when it differs or, as a directory, holds a change; every other is added. Sorted by path, as dockerd answers.
 */
import type { BigIntStats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { lgetxattr } from '../../host/ffi.ts';
import type { Change } from '../port.ts';
import { bytesOf, latin1Of, type LayerFile, nativeOf, textOf, walkLayer } from './walk.ts';

interface Below {
  /** On the host. */
  path: string;
  stats: BigIntStats;
}

/** What a path is in the layers below, seen through their whiteouts and without following links. */
async function below(lower: readonly string[], path: string): Promise<Below | undefined> {
  for (const layer of lower) {
    const parts = path.split('/');
    let hidden = false;
    for (let depth = 1; depth <= parts.length; depth++) {
      const at = `${layer}/${parts.slice(0, depth).join('/')}`;
      const stats = await lstat(bytesOf(at), { bigint: true }).catch(() => undefined);
      if (!stats) break;
      if (stats.isCharacterDevice() && stats.rdev === 0n) return undefined;
      if (depth === parts.length) return { path: at, stats };
      if (!stats.isDirectory()) return undefined;
      hidden = hidden || isOpaque(at);
    }
    if (hidden) return undefined;
  }
  return undefined;
}

const isOpaque = (path: string): boolean => String(lgetxattr(nativeOf(path), 'trusted.overlay.opaque')) === 'y';

const SAME = ['mode', 'uid', 'gid', 'rdev'] as const;

/** Opening for writing copies a file up, a file that comes and goes its directory; nothing has changed by that. */
function isSame(upper: string, { path, stats }: LayerFile, lower: Below): boolean {
  if (SAME.some((field) => stats[field] !== lower.stats[field])) return false;
  if (stats.isDirectory()) return true;
  if (stats.mtimeNs !== lower.stats.mtimeNs || stats.size !== lower.stats.size) return false;
  const capability = (file: string): string => String(lgetxattr(nativeOf(file), 'security.capability'));
  return !stats.isFile() || capability(`${upper}/${path}`) === capability(lower.path);
}

function* parentsOf(path: string): Generator<string> {
  for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) yield path.slice(0, at);
}

export async function changesOf(upper: string, lowerPaths: readonly string[]): Promise<Change[]> {
  const lower = lowerPaths.map(latin1Of);
  const root = latin1Of(upper);
  const changes: Change[] = [];
  const unchanged: string[] = [];
  for await (const file of walkLayer(root)) {
    const Path = `/${textOf(file.path)}`;
    const before = file.whiteout ? undefined : await below(lower, file.path);
    if (before && isSame(root, file, before)) unchanged.push(Path);
    else changes.push({ Path, Kind: file.whiteout ? 2 : before ? 0 : 1 });
    if (file.opaque) changes.push(...(await hiddenBy(lower, file.path, upper)));
  }
  const touched = new Set(changes.flatMap(({ Path }) => [...parentsOf(Path)]));
  for (const Path of unchanged) if (touched.has(Path)) changes.push({ Path, Kind: 0 });
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
