/** What a selection holds, as digests: names, kinds, modes, owners and bytes, but no times. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { join, posix } from 'node:path';
import { linkTarget, namesIn, native } from './names.ts';
import { Filter, select, type Selection, type Tree } from './select.ts';

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
const CHUNK = 1 << 18;

function fileDigest(path: string): string {
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

const kindOf = (stat: fs.Stats): string =>
  stat.isDirectory() ? 'd' : stat.isFile() ? 'f' : stat.isSymbolicLink() ? 'l' : `x${stat.rdev}`;

export function digestSelection(tree: Tree, selection: Selection, owners: boolean): Digested {
  const picked = select(tree, selection);
  const filter = new Filter(tree, selection.excludes);
  const hash = createHash('sha256');
  const files: Record<string, string> = {};
  let told = 0;
  let bytes = 0;
  const visit = (path: string, name: string, relative: string): void => {
    const place = join(tree.root, path);
    const stat = fs.lstatSync(native(place));
    const dropped = relative !== '' && filter.drops(path, relative);
    if (dropped && !(stat.isDirectory() && filter.mayHold(path, relative))) return;
    const content = stat.isFile() ? fileDigest(place) : stat.isSymbolicLink() ? linkTarget(place) : '';
    const owner = owners ? [stat.uid, stat.gid] : [];
    const line = JSON.stringify([
      name,
      kindOf(stat),
      stat.isSymbolicLink() ? 0 : stat.mode & 0o7777,
      ...owner,
      content,
    ]);
    if (!dropped) {
      hash.update(line);
      if (stat.isFile()) bytes += stat.size;
      if (!stat.isDirectory() && told++ < MAX_FILES_TOLD)
        files[name] = createHash('sha256').update(line).digest('hex').slice(0, 16);
    }
    if (!stat.isDirectory()) return;
    for (const child of namesIn(place))
      visit(posix.join(path, child), posix.join(name, child), posix.join(relative, child));
  };
  for (const { path, as, directory, keep } of picked) {
    // A directory stands for its content, so its own name does not matter; a file's base name may become its name.
    hash.update(JSON.stringify([directory ? '' : posix.basename(as), keep]));
    visit(path, as, directory ? '' : posix.basename(as));
  }
  return { digest: hash.digest('hex'), files, sources: picked.length, directory: picked[0]?.directory ?? false, bytes };
}
