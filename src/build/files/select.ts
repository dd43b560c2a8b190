/** Which files of a source tree a COPY or ADD means: paths, globs, ignored and excluded names. */
import { posix } from 'node:path';
import { notFound } from '../../errors.ts';
import { compileGlob, isGlob, PathMatcher } from '../patterns.ts';
import { directoryListing, type Listing } from './listing.ts';
import type { Archive } from './packed.ts';
import { components, resolvePath } from './resolve.ts';

/** A tree files are taken from. All of it can cross to a worker thread. */
export interface Tree {
  root: string;
  /** Patterns of .dockerignore. */
  ignore: string[];
  /** What `root` is to be unpacked from, when somebody needs more than digests of it. */
  archive?: Archive;
  /** It has so little in it that a thread of its own would take longer to begin than the work. */
  small?: true;
}

export interface Selection {
  sources: string[];
  excludes: string[];
  parents: boolean;
  /** A pattern may fit nothing, as BuildKit has it. */
  emptyGlobs?: boolean;
}

/** One thing to copy: `path` is its real place in the tree, `as` the name it was asked by. */
export interface Picked {
  path: string;
  as: string;
  directory: boolean;
  /** With --parents: the directories to keep, and where the kept part begins. */
  keep: string;
}

/** The ignore rules of a tree with those of one instruction; a name is asked with its path in the tree. */
export class Filter {
  #ignore: PathMatcher;
  #exclude: PathMatcher;

  constructor(tree: Tree, excludes: readonly string[]) {
    this.#ignore = new PathMatcher(tree.ignore);
    this.#exclude = new PathMatcher(excludes.map((pattern) => pattern.replace(/^\/+/, '')));
  }

  /** `relative` is the path below the copied source, which --exclude is about. */
  drops(path: string, relative: string): boolean {
    return (
      (!this.#ignore.empty && this.#ignore.matches(path)) || (!this.#exclude.empty && this.#exclude.matches(relative))
    );
  }

  mayHold(directory: string, relative: string): boolean {
    return this.#ignore.mustWalk(directory) || this.#exclude.mustWalk(relative);
  }
}

const real = (listing: Listing, path: string): string =>
  resolvePath(path, { isLink: (here) => listing.stat(here)?.kind === 'l', target: listing.target });

/** Expands a glob component by component; links to directories are followed inside the root. */
function expandGlob(listing: Listing, pattern: string): string[] {
  const parts = components(pattern);
  let found = [''];
  for (const [index, part] of parts.entries()) {
    const test = isGlob(part) ? compileGlob(part) : undefined;
    const deep = part === '**';
    found = found.flatMap((directory) => {
      if (deep) return [directory, ...directoriesBelow(listing, directory)];
      if (!test) return [posix.join(directory, part.replace(/\\(.)/g, '$1'))];
      const place = real(listing, directory);
      if (listing.stat(place)?.kind !== 'd') return [];
      return listing
        .names(place)
        .filter((name) => test.test(name))
        .map((name) => posix.join(directory, name));
    });
    if (index === parts.length - 1 && !deep) break;
  }
  return [...new Set(found)].filter((path) => path && listing.stat(real(listing, path)));
}

function directoriesBelow(listing: Listing, directory: string): string[] {
  if (listing.stat(directory)?.kind !== 'd') return [];
  return listing
    .names(directory)
    .map((name) => posix.join(directory, name))
    .filter((path) => listing.stat(path)?.kind === 'd')
    .flatMap((path) => [path, ...directoriesBelow(listing, path)]);
}

/** `a/./b/c` with --parents keeps `b/c`; without the pivot all is kept. */
function keptPart(source: string, path: string): string {
  const pivot = source.indexOf('/./');
  if (pivot < 0) return path;
  const before = components(source.slice(0, pivot)).length;
  return components(path).slice(before).join('/');
}

/** Errors: notFound for a source that is not there or ignored, naming it as dockerd does. */
export function select(tree: Tree, selection: Selection, listing = directoryListing(tree.root)): Picked[] {
  const filter = new Filter(tree, []);
  return selection.sources.flatMap((source) => {
    const clean = components(source).join('/');
    const paths = isGlob(source) ? expandGlob(listing, source) : [clean.replace(/\\([*?[\]\\])/g, '$1')];
    const picked = paths.flatMap((path): Picked[] => {
      if (path && filter.drops(path, path) && !filter.mayHold(path, path)) return [];
      const place = real(listing, path);
      const stat = listing.stat(place);
      if (!stat) return [];
      const keep = selection.parents ? keptPart(source, path) : '';
      return [{ path: place, as: path, directory: stat.kind === 'd', keep }];
    });
    if (picked.length) return picked;
    if (isGlob(source) && selection.emptyGlobs) return [];
    if (isGlob(source)) throw notFound(`no source files were specified: ${source}`, { code: 'no-source' });
    throw notFound(
      `file not found in build context or excluded by .dockerignore: stat ${clean || '/'}: file does not exist`,
      { code: 'no-source' },
    );
  });
}
