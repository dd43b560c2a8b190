/** RUN --mount made real: directories, files and sockets that the step's container gets, and their end. */
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import fs from 'node:fs';
import { join } from 'node:path';
import { invalid, notFound } from '../errors.ts';
import { mount as bindMount, MS, umountIfMounted } from '../host/ffi.ts';
import { readMountInfo } from '../host/mountinfo.ts';
import { fdPath, OpenRoot } from '../host/rootfs.ts';
import type { Owner, UserRemap } from '../host/user-remap.ts';
import { UndoStack } from '../lib/undo.ts';
import { components, lstatOf, resolveIn } from './files/resolve.ts';
import { type RunMount } from './mounts.ts';
import { withRoot } from './layer.ts';
import { contentKey, sourceOf } from './sources.ts';
import type { StageRun } from './stage.ts';

/** Docker's Mount as a container is created with it. */
export interface ContainerMount {
  Type: 'bind' | 'tmpfs';
  Source?: string;
  Target: string;
  ReadOnly?: boolean;
  TmpfsOptions?: { SizeBytes?: number; Mode?: number };
}

export interface OpenMounts {
  mounts: ContainerMount[];
  env: string[];
  /** Removes from a container's root the places that exist only because something was mounted there. */
  tidy(containerId: string): Promise<void>;
  close(): Promise<void>;
}

const NOTHING: OpenMounts = { mounts: [], env: [], tidy: async () => {}, close: async () => {} };

const PINNED = 'pinned-';

class Opening implements OpenMounts {
  readonly mounts: ContainerMount[] = [];
  readonly env: string[] = [];
  readonly #stage: StageRun;
  readonly #undo = new UndoStack();
  /** Paths that were not in the image: topmost first. */
  #made: string[] = [];

  constructor(stage: StageRun) {
    this.#stage = stage;
  }

  async open(mount: RunMount): Promise<void> {
    switch (mount.type) {
      case 'bind':
        return this.#bind(mount);
      case 'cache':
        return this.#cache(mount);
      case 'tmpfs':
        this.mounts.push({ Type: 'tmpfs', Target: mount.target, TmpfsOptions: { SizeBytes: mount.size } });
        return;
      case 'secret':
        return this.#secret(mount);
      case 'ssh':
        return this.#ssh(mount);
    }
  }

  get #remap(): UserRemap | undefined {
    return this.#stage.build.deps.remap;
  }

  /** To a user of the step's container. */
  async #give(path: string, owner: Owner): Promise<void> {
    const { uid, gid } = this.#remap?.outside(owner) ?? owner;
    await chown(path, uid, gid);
  }

  /** Keeps a scoped tree open until `close`. */
  async #hold(from: string | undefined): Promise<{ root: string; isPrivate: boolean }> {
    const { build, signal } = this.#stage;
    const source = await sourceOf(this.#stage, from);
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    let scope!: Promise<void>;
    const root = await new Promise<string>((resolve, reject) => {
      scope = source.with(async (tree) => {
        resolve((await build.deps.files.unpacked(tree, signal)).root);
        await released;
      });
      scope.catch(reject);
    });
    this.#undo.push('mount source', () => {
      release();
      return scope;
    });
    return { root, isPrivate: source.owned };
  }

  async #bind(mount: RunMount): Promise<void> {
    const { root, isPrivate } = await this.#hold(mount.from);
    let source = join(root, resolveIn(root, mount.source));
    if (!lstatOf(source)) throw notFound(`failed to calculate checksum of ref: ${mount.source}: not found`);
    // What is written to a bind mount is thrown away; images are private copies anyway, the client's directories are not.
    if (!mount.readOnly && !isPrivate) source = await this.#copyOf(source);
    source = this.#remap?.visible(source) ?? source;
    this.mounts.push({ Type: 'bind', Source: source, Target: mount.target, ReadOnly: mount.readOnly });
  }

  async #copyOf(source: string): Promise<string> {
    const directory = await mkdtemp(join(this.#stage.build.directory, 'writable-'));
    const copy = join(directory, 'copy');
    await fs.promises.cp(source, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    return copy;
  }

  async #cache(mount: RunMount): Promise<void> {
    const { cache } = this.#stage.build.deps;
    const { from, source } = mount;
    // One that begins with something else is another one.
    const base = from === undefined ? '' : ` of ${source || '/'} in ${await contentKey(this.#stage, from, source)}`;
    const id = mount.sharing === 'private' ? this.#privateId(mount.id + base) : mount.id + base;
    this.#undo.push('cache in use', cache.use(cache.mountKey(id)));
    const { key, path } = await cache.mount(id, (directory) => this.#fill(directory, mount));
    if (mount.sharing === 'locked') await this.#lock(key);
    this.#undo.push('cache size', () => cache.measure(key));
    const inner =
      from === undefined && components(source).length
        ? await this.#pinned(path, source)
        : (this.#remap?.visible(path) ?? path);
    this.mounts.push({ Type: 'bind', Source: inner, Target: mount.target, ReadOnly: mount.readOnly });
  }

  /** What a new cache begins with: nothing, or what `from` has at `source`, with the owners and modes of there. */
  async #fill(directory: string, { from, source, uid, gid, mode }: RunMount): Promise<void> {
    if (from === undefined) {
      await chown(directory, uid, gid);
      return chmod(directory, mode ?? 0o755);
    }
    const { root, isPrivate } = await this.#hold(from);
    const place = resolveIn(root, source);
    const stat = lstatOf(join(root, place));
    if (!stat?.isDirectory()) throw notFound(`a cache mount cannot begin with ${source || '/'}: no such directory`);
    const selection = { sources: [place || '.'], excludes: [], parents: false };
    const copy = { tree: { root, ignore: [] }, selection, root: directory, dest: '/', keyword: 'RUN' };
    const { build, signal } = this.#stage;
    await build.deps.files.copy({ copies: [copy], keepOwner: isPrivate }, signal);
    await chmod(directory, stat.mode & 0o7777);
    if (isPrivate) await chown(directory, stat.uid, stat.gid);
  }

  /**
   * Binds what `source` is inside `root` right now to a place of ours: another step with the same cache could put a link in its
   * place before the container is made (CVE-2024-23651).
   */
  async #pinned(root: string, source: string): Promise<string> {
    const target = await mkdtemp(join(this.#stage.build.directory, PINNED));
    // Made the plain way, so that they belong to the container's root, and seen as the container sees them.
    fs.closeSync(openDirectories(root, source));
    const fd = openDirectories(this.#remap?.visible(root) ?? root, source);
    try {
      bindMount(fdPath(fd), target, '', MS.BIND);
    } finally {
      fs.closeSync(fd);
    }
    this.#undo.push('pinned source', () => void umountIfMounted(target));
    return target;
  }

  /** A private cache that is in use by another step gets a sibling. */
  #privateId(id: string): string {
    const { cache } = this.#stage.build.deps;
    for (let n = 0; ; n++) {
      const name = n ? `${id}#${n}` : id;
      if (!cache.isMountInUse(name)) return name;
    }
  }

  async #lock(key: string): Promise<void> {
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    await new Promise<void>((resolve) => {
      void this.#stage.build.deps.cache.locks.run(key, () => {
        resolve();
        return released;
      });
    });
    this.#undo.push('cache lock', release);
  }

  async #secret(mount: RunMount): Promise<void> {
    const value = await this.#stage.build.request.services.secret?.(mount.id);
    if (!value) {
      if (mount.required) throw invalid(`secret ${mount.id}: not found`);
      return;
    }
    if (mount.env) this.env.push(`${mount.env}=${Buffer.from(value).toString('utf8')}`);
    if (!mount.target) return;
    // On a tmpfs of the host, if it has one: a secret is never written to a disk.
    const base = fs.existsSync('/dev/shm') ? '/dev/shm' : this.#stage.build.directory;
    const directory = await mkdtemp(join(base, 'build-secret-'));
    this.#undo.push('secret', () => rm(directory, { recursive: true, force: true }));
    const path = join(directory, 'secret');
    await writeFile(path, value, { mode: 0o600 });
    await chmod(path, mount.mode ?? 0o400);
    await this.#give(path, mount);
    this.mounts.push({ Type: 'bind', Source: path, Target: mount.target, ReadOnly: true });
  }

  async #ssh(mount: RunMount): Promise<void> {
    const { services } = this.#stage.build.request;
    const directory = await mkdtemp(join(this.#stage.build.directory, 'ssh-'));
    const agent = await services.agent?.(mount.id, directory);
    if (!agent) {
      if (mount.required) throw invalid(`no SSH key "${mount.id}" forwarded from the client`);
      return;
    }
    this.#undo.push('ssh agent', () => agent.close());
    await chmod(agent.path, mount.mode ?? 0o600);
    await this.#give(agent.path, mount);
    this.env.push(`SSH_AUTH_SOCK=${mount.target}`);
    this.mounts.push({ Type: 'bind', Source: agent.path, Target: mount.target });
  }

  /** Notes which of the targets the image does not have. */
  async note(): Promise<void> {
    const { build, state } = this.#stage;
    const targets = this.mounts.map(({ Target }) => Target);
    await withRoot(build.layers, state, async (root) => {
      this.#made = targets.flatMap((target) => missingPaths(root, target));
    });
  }

  /**
   * Works on the writable layer itself: the container's own mount of it may be on its way out. A path that leads through a
   * link was put there by the step and is left alone.
   */
  async tidy(containerId: string): Promise<void> {
    if (!this.#made.length) return;
    const upper = this.#stage.build.deps.rootfs.describe(containerId).Data.UpperDir;
    if (!upper) return;
    for (const path of [...this.#made].sort((a, b) => b.length - a.length)) {
      if (resolveIn(upper, path, { followLast: false }) === path) removeIfEmpty(join(upper, path));
    }
  }

  async close(): Promise<void> {
    const { log } = this.#stage.build.deps;
    await this.#undo.unwind((name, error) =>
      log.warn({ err: error, step: name }, 'a mount of a build step did not close cleanly'),
    );
  }
}

/** Opens a directory inside `root`, made where it is missing. No link leads outside. */
export function openDirectories(root: string, path: string): number {
  const opened = new OpenRoot(root);
  let fd = opened.openDirectory('');
  try {
    const parts = components(path);
    for (const [index, name] of parts.entries()) {
      const parent = fd;
      try {
        fs.mkdirSync(fdPath(parent, name), { mode: 0o755 });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      fd = opened.openDirectory(parts.slice(0, index + 1).join('/'));
      fs.closeSync(parent);
    }
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  } finally {
    opened.close();
  }
}

function missingPaths(root: string, target: string): string[] {
  const parts = components(target);
  return parts
    .map((_, i) => parts.slice(0, i + 1).join('/'))
    .filter((path) => !lstatOf(join(root, resolveIn(root, path))));
}

/** What the step itself put there stays. */
function removeIfEmpty(path: string): void {
  const stat = lstatOf(path);
  try {
    if (stat?.isDirectory()) fs.rmdirSync(path);
    else if (stat?.isFile() && stat.size === 0) fs.unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
  }
}

/** Lets go of what a killed daemon had pinned below a directory: what removes the directory must not go through it. */
export async function unpinBelow(directory: string): Promise<void> {
  const mounted = (await readMountInfo())
    .map(({ target }) => target)
    .filter((path) => path.startsWith(`${directory}/`));
  for (const path of mounted.reverse()) while (umountIfMounted(path));
}

/** Opens all or none. */
export async function openMounts(stage: StageRun, mounts: readonly RunMount[]): Promise<OpenMounts> {
  if (!mounts.length) return NOTHING;
  const opening = new Opening(stage);
  try {
    for (const mount of mounts) await opening.open(mount);
    await opening.note();
  } catch (error) {
    await opening.close();
    throw error;
  }
  return opening;
}
