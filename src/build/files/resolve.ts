/**
 * Paths inside a tree whose symlinks are not to be trusted: every link is resolved as if the tree were `/`, so that no
 * name leads out of it. The trees are private to the build while this runs; nobody swaps links between check and use.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { invalid } from '../../errors.ts';
import { linkTarget, native } from './names.ts';

const MAX_LINKS = 255;

/** The components of a path with `.` and `..` taken out; `..` at the root stays there. */
export function components(path: string): string[] {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') parts.pop();
    else parts.push(part);
  }
  return parts;
}

/** Undefined when there is nothing, a file on the way to it included. */
export function lstatOf(path: string): fs.Stats | undefined {
  try {
    return fs.lstatSync(native(path), { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/**
 * The real place (relative to the root, no leading slash) of a path. Components that do not exist are kept as they are.
 * `followLast: false` leaves a link at the end as it is.
 */
export function resolveIn(root: string, path: string, options: { followLast?: boolean } = {}): string {
  const todo = components(path).reverse();
  const done: string[] = [];
  let links = 0;
  while (todo.length) {
    const part = todo.pop()!;
    if (part === '..') {
      done.pop();
      continue;
    }
    const here = join(root, ...done, part);
    const last = todo.length === 0;
    const stat = lstatOf(here);
    if (!stat?.isSymbolicLink() || (last && options.followLast === false)) {
      done.push(part);
      continue;
    }
    if (++links > MAX_LINKS) throw invalid(`too many levels of symbolic links: ${path}`);
    const target = linkTarget(here);
    if (target.startsWith('/')) done.length = 0;
    todo.push(
      ...target
        .split('/')
        .filter((name) => name !== '' && name !== '.')
        .reverse(),
    );
  }
  return done.join('/');
}
