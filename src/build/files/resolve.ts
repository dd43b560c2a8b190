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

interface Resolving {
  isLink(path: string): boolean;
  target(link: string): string;
  /** False leaves a link at the end as it is. */
  followLast?: boolean;
}

/** The real place of a path in a tree that is looked at by `isLink` and `target`. Components that do not exist are kept as they are. */
export function resolvePath(path: string, { isLink, target: targetOf, followLast = true }: Resolving): string {
  const todo = components(path).reverse();
  const done: string[] = [];
  let links = 0;
  while (todo.length) {
    const part = todo.pop()!;
    if (part === '..') {
      done.pop();
      continue;
    }
    const here = [...done, part].join('/');
    const last = todo.length === 0;
    if (!isLink(here) || (last && !followLast)) {
      done.push(part);
      continue;
    }
    if (++links > MAX_LINKS) throw invalid(`too many levels of symbolic links: ${path}`);
    const target = targetOf(here);
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

/** The same in a directory on the disk: relative to the root, no leading slash. */
export const resolveIn = (root: string, path: string, options: { followLast?: boolean } = {}): string =>
  resolvePath(path, {
    isLink: (here) => lstatOf(join(root, here))?.isSymbolicLink() ?? false,
    target: (link) => linkTarget(join(root, link)),
    ...options,
  });
