/** What a selection holds, as digests: names, kinds, modes, owners, extended attributes and bytes, but no times. */
import { createHash, hash } from 'node:crypto';
import { posix } from 'node:path';
import { directoryListing } from './listing.ts';
import { Filter, select, type Selection, type Tree } from './select.ts';
import { carriedXattrs } from './xattrs.ts';

export interface Digested {
  digest: string;
  /** One digest a file, for the explanation of a cache miss; capped. */
  files: Record<string, string>;
  /** Number of sources and whether the only one is a directory. */
  sources: number;
  directory: boolean;
  bytes: number;
}

const MAX_FILES_TOLD = 2000;

export function digestSelection(
  tree: Tree,
  selection: Selection,
  owners: boolean,
  listing = directoryListing(tree.root),
): Digested {
  const picked = select(tree, selection, listing);
  const filter = new Filter(tree, selection.excludes);
  const digest = createHash('sha256');
  const files: Record<string, string> = {};
  let told = 0;
  let bytes = 0;
  const visit = (path: string, name: string, relative: string): void => {
    const stat = listing.stat(path)!;
    const isDirectory = stat.kind === 'd';
    const dropped = relative !== '' && filter.drops(path, relative);
    if (dropped && !(isDirectory && filter.mayHold(path, relative))) return;
    if (!dropped) {
      const content = stat.kind === 'f' ? listing.digest(path) : stat.kind === 'l' ? listing.target(path) : '';
      const owner = owners ? [stat.uid, stat.gid] : [];
      const xattrs = carriedXattrs(listing.xattrs(path), owners).map(([key, value]) => [key, value.toString('hex')]);
      const line = JSON.stringify([
        ...[name, stat.kind, stat.kind === 'l' ? 0 : stat.mode, ...owner, content],
        ...(xattrs.length ? [xattrs] : []),
      ]);
      digest.update(line);
      if (stat.kind === 'f') bytes += stat.size;
      if (!isDirectory && told++ < MAX_FILES_TOLD) files[name] = hash('sha256', line).slice(0, 16);
    }
    if (!isDirectory) return;
    for (const child of listing.names(path))
      visit(posix.join(path, child), posix.join(name, child), posix.join(relative, child));
  };
  for (const { path, as, directory, keep } of picked) {
    // A directory stands for its content, so its own name does not matter; a file's base name may become its name.
    digest.update(JSON.stringify([directory ? '' : posix.basename(as), keep]));
    visit(path, as, directory ? '' : posix.basename(as));
  }
  return {
    digest: digest.digest('hex'),
    files,
    sources: picked.length,
    directory: picked[0]?.directory ?? false,
    bytes,
  };
}
