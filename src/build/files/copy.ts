/**
 * Copies a selection into a root file system. Destination links are resolved inside the root; an existing file or link is
 * replaced, never written through. Owners, modes, times, hard links and extended attributes come along.
 */
import fs from 'node:fs';
import { join, posix } from 'node:path';
import { invalid } from '../../errors.ts';
import { lsetxattr, mknod, readXattrs } from '../../host/ffi.ts';
import { lutimens } from '../../tar/utimens.ts';
import { applyMode, type ModeChange } from './mode.ts';
import { components, lstatOf, resolveIn } from './resolve.ts';
import { namesIn, native, nativeNul } from './names.ts';
import { Filter, type Picked, select, type Selection, type Tree } from './select.ts';
import { carriedXattrs } from './xattrs.ts';

export interface Owner {
  uid: number;
  gid: number;
}

export interface CopyTask {
  tree: Tree;
  selection: Selection;
  root: string;
  /** Absolute; a slash at the end means a directory. */
  dest: string;
  /** Undefined keeps the owners of the source. */
  owner?: Owner;
  mode?: ModeChange;
  /** Milliseconds; given to directories made here, so that builds can be repeated. */
  time?: number;
  /** The keyword, for messages. */
  keyword: string;
}

const ROOT: Owner = { uid: 0, gid: 0 };

class Copier {
  #task: CopyTask;
  #filter: Filter;
  #links = new Map<string, string>();

  constructor(task: CopyTask) {
    this.#task = task;
    this.#filter = new Filter(task.tree, task.selection.excludes);
  }

  run(): void {
    const { tree, selection, keyword } = this.#task;
    const picked = select(tree, selection);
    const intoDirectory = this.#task.dest.endsWith('/') || this.#task.dest === '' || selection.parents;
    if (picked.length > 1 && !intoDirectory)
      throw invalid(
        `When using ${keyword} with more than one source file, the destination must be a directory and end with a /`,
      );
    for (const one of picked) {
      // Names of one file are links of each other where they are copied together, not where each is asked for.
      this.#links.clear();
      this.#one(one, intoDirectory);
    }
  }

  #one(picked: Picked, intoDirectory: boolean): void {
    const { root, dest, tree, keyword } = this.#task;
    const kept = components(picked.keep);
    const base = kept.length ? this.#keepParents(picked, kept) : dest;
    let target = resolveIn(root, base);
    const existing = lstatOf(join(root, target));
    if (picked.directory) {
      if (existing && !existing.isDirectory())
        throw invalid(`cannot copy to non-directory: ${dest}`, { code: keyword });
      if (!existing) this.#makeDirectories(target);
      return this.#children(picked.path, target, '');
    }
    const name = posix.basename(picked.as);
    if (intoDirectory || existing?.isDirectory()) {
      if (existing && !existing.isDirectory())
        throw invalid(`cannot copy to non-directory: ${dest}`, { code: keyword });
      target = posix.join(target, kept.length ? kept.at(-1)! : name);
    }
    this.#makeDirectories(posix.dirname(target));
    this.#file(join(tree.root, picked.path), join(root, target));
  }

  /** With --parents: makes the kept directories as they are in the source, and answers where the source goes. */
  #keepParents(picked: Picked, kept: string[]): string {
    const directories = picked.directory ? kept : kept.slice(0, -1);
    const above = components(picked.as).length - kept.length;
    let target = this.#task.dest;
    for (const [index, name] of directories.entries()) {
      target = posix.join(target, name);
      const source = components(picked.as)
        .slice(0, above + index + 1)
        .join('/');
      const place = resolveIn(this.#task.root, target);
      if (lstatOf(join(this.#task.root, place))) continue;
      this.#makeDirectories(place);
      this.#metadata(
        fs.lstatSync(native(join(this.#task.tree.root, resolveIn(this.#task.tree.root, source)))),
        join(this.#task.root, place),
      );
    }
    return target;
  }

  /** Missing directories belong to the named owner, else to root. */
  #makeDirectories(path: string): void {
    const { root, owner = ROOT, time } = this.#task;
    let place = root;
    for (const part of components(path)) {
      place = join(place, part);
      const stat = lstatOf(place);
      if (stat?.isDirectory()) continue;
      if (stat) throw invalid(`cannot create directory ${path}: ${part} is not a directory`);
      const made = native(place);
      fs.mkdirSync(made, 0o755);
      fs.chmodSync(made, 0o755);
      fs.lchownSync(made, owner.uid, owner.gid);
      if (time !== undefined) fs.lutimesSync(made, time / 1000, time / 1000);
    }
  }

  #children(source: string, target: string, relative: string): void {
    const { tree, root } = this.#task;
    for (const name of namesIn(join(tree.root, source))) {
      const from = posix.join(source, name);
      const below = posix.join(relative, name);
      const stat = fs.lstatSync(native(join(tree.root, from)));
      const dropped = this.#filter.drops(from, below);
      if (dropped && !(stat.isDirectory() && this.#filter.mayHold(from, below))) continue;
      const to = posix.join(target, name);
      if (stat.isDirectory()) this.#directory(from, to, below, stat, dropped);
      else if (!dropped) this.#file(join(tree.root, from), join(root, to), stat);
    }
  }

  #directory(from: string, to: string, below: string, stat: fs.Stats, dropped: boolean): void {
    const { root } = this.#task;
    let place = to;
    const existing = lstatOf(join(root, to));
    if (existing?.isSymbolicLink()) place = resolveIn(root, to);
    const there = lstatOf(join(root, place));
    if (there && !there.isDirectory()) fs.rmSync(native(join(root, place)));
    const made = !there?.isDirectory();
    // A dropped directory is walked for exceptions only, and made when one is found.
    if (made && dropped && !this.#holdsKept(from, below)) return;
    if (made) fs.mkdirSync(native(join(root, place)), { recursive: true });
    this.#children(from, place, below);
    if (made || !dropped) this.#metadata(stat, join(root, place), join(this.#task.tree.root, from));
  }

  #holdsKept(from: string, below: string): boolean {
    const place = join(this.#task.tree.root, from);
    return namesIn(place).some((name) => {
      const path = posix.join(from, name);
      const relative = posix.join(below, name);
      if (!this.#filter.drops(path, relative)) return true;
      return (
        lstatOf(join(place, name))!.isDirectory() &&
        this.#filter.mayHold(path, relative) &&
        this.#holdsKept(path, relative)
      );
    });
  }

  #file(from: string, to: string, stat = fs.lstatSync(native(from))): void {
    const existing = lstatOf(to);
    if (existing?.isDirectory())
      throw invalid(`cannot replace directory with file: ${to.slice(this.#task.root.length)}`);
    if (existing) fs.unlinkSync(native(to));
    const key = `${stat.dev}:${stat.ino}`;
    const linked = stat.nlink > 1 ? this.#links.get(key) : undefined;
    if (linked) return fs.linkSync(native(linked), native(to));
    if (stat.isSymbolicLink()) fs.symlinkSync(fs.readlinkSync(native(from), { encoding: 'buffer' }), native(to));
    else if (stat.isFile())
      fs.copyFileSync(native(from), native(to), fs.constants.COPYFILE_FICLONE | fs.constants.COPYFILE_EXCL);
    else if (stat.isSocket()) return;
    else mknod(nativeNul(to), stat.mode, stat.rdev);
    if (stat.nlink > 1) this.#links.set(key, to);
    this.#metadata(stat, to, from);
  }

  #metadata(stat: fs.Stats, to: string, from?: string): void {
    const { owner = stat, mode } = this.#task;
    const place = native(to);
    fs.lchownSync(place, owner.uid, owner.gid);
    if (!stat.isSymbolicLink())
      fs.chmodSync(place, mode ? applyMode(mode, stat.mode, stat.isDirectory()) : stat.mode & 0o7777);
    if (from)
      for (const [name, value] of carriedXattrs(readXattrs(nativeNul(from)), !this.#task.owner))
        lsetxattr(nativeNul(to), name, value);
    lutimens(nativeNul(to), BigInt(Math.round(stat.mtimeMs * 1000)) * 1000n);
  }
}

export function copySelection(task: CopyTask): void {
  new Copier(task).run();
}
