/** Files in and out of containers: stat, read and write a path, export the root, list what changed. */
import { closeSync } from 'node:fs';
import { posix } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import type { Logger } from 'pino';
import type { ContainerLookup } from '../container/port.ts';
import { type ContainerRecord, hasProcesses } from '../container/record.ts';
import { asDaemonError, cancelled, type DaemonError, invalid, notFound } from '../errors.ts';
import { isErrno } from '../host/ffi.ts';
import type { UserRemap } from '../host/user-remap.ts';
import type { Change, RootfsStore } from '../image/port.ts';
import { rfc3339Nano } from '../lib/clock.ts';
import { newId } from '../lib/ids.ts';
import { UndoStack } from '../lib/undo.ts';
import { databasesIn, resolveUser } from '../runtime/oci/user.ts';
import { decompress } from '../tar/decompress.ts';
import type { MountPoint } from '../volume/mounts.ts';
import type { Volumes } from '../volume/port.ts';
import { goFileMode } from './file-mode.ts';
import { viewMounts } from './mounts.ts';
import { packTree } from './pack.ts';
import { TreeReader } from './unpack.ts';
import { ContainerView, type Found, isDirectory, latin1Of, statOf, utf8Of } from './view.ts';

/** Docker's ContainerPathStat. */
export interface PathStat {
  name: string;
  size: number;
  /** Go's FileMode bits. */
  mode: number;
  mtime: string;
  linkTarget: string;
}

export interface WriteOptions {
  noOverwriteDirNonDir: boolean;
  /** Everything belongs to the container's user. */
  copyUIDGID: boolean;
}

export interface ArchiveDeps {
  containers: Pick<ContainerLookup, 'resolve' | 'publish'>;
  rootfs: Pick<RootfsStore, 'withMounted' | 'changes'>;
  volumes: Pick<Volumes, 'find' | 'mount' | 'unmount'>;
  log: Logger;
  /** Set when users of containers are none of the host. */
  remap?: UserRemap;
}

interface Opened {
  view: ContainerView;
  root: string;
  release(): Promise<void>;
}

/** As a client wrote it, made absolute; a last `/` or `/.` is kept, for it asks for what a link leads to. */
function absolute(path: string): { path: string; follows: boolean } {
  return { path: posix.resolve('/', path), follows: /\/\.?$/.test(path) || path === '.' };
}

/** Go's filepath.Base of the path as the client wrote it. */
const baseOf = (path: string): string => posix.basename(/\/\.$/.test(path) || path === '.' ? '.' : path) || '/';

/** What the entries of a tree begin with. */
const treeName = (path: string): string =>
  baseOf(path) === '..' ? posix.basename(absolute(path).path) || '/' : baseOf(path);

export class Archives {
  readonly #deps: ArchiveDeps;

  constructor(deps: ArchiveDeps) {
    this.#deps = deps;
  }

  stat(name: string, path: string): Promise<PathStat> {
    return this.#within(name, path, false, async ({ view }) => {
      const found = find(view, path);
      try {
        return statView(view, found, path);
      } finally {
        closeSync(found.fd);
      }
    });
  }

  /** The tree at a path as a tar stream. The container's root stays mounted until the body ended or was returned. */
  async read(name: string, path: string): Promise<{ stat: PathStat; body: AsyncIterable<Uint8Array> }> {
    const record = this.#deps.containers.resolve(name);
    const stream = this.#reading(record, name, path);
    // Started at once: a generator that never began would not clean up after itself.
    const first = await stream.next();
    if (first.done || first.value instanceof Uint8Array) throw new Error('an archive begins with its stat');
    this.#deps.containers.publish(record, 'archive-path');
    return { stat: first.value, body: stream as AsyncIterable<Uint8Array> };
  }

  async write(name: string, path: string, options: WriteOptions, source: Readable): Promise<void> {
    const record = this.#deps.containers.resolve(name);
    await this.#within(name, path, true, async ({ view, root }) => {
      const found = view.find(latin1Of(absolute(path).path), true);
      try {
        if (!isDirectory(found.fd)) throw invalid('extraction point is not a directory');
      } finally {
        closeSync(found.fd);
      }
      const refusal = view.refusesWriting(found.path);
      if (refusal) throw invalid(refusal);
      const { noOverwriteDirNonDir, copyUIDGID } = options;
      const { User } = record.config;
      // Whoever runs as root keeps the archive's owners.
      const owner = copyUIDGID && User ? resolveUser(User, [], databasesIn(root)) : undefined;
      // Unpacked outside of the container: a tool of the image must never run here (CVE-2019-14271).
      const plain = await decompress(shielded(source));
      try {
        await new TreeReader(view, found.path, { noOverwriteDirNonDir, owner }).read(plain);
      } finally {
        plain.destroy();
      }
    }).finally(() => source.resume());
    this.#deps.containers.publish(record, 'extract-to-dir');
  }

  /** The root alone, without volumes, as a tar stream. */
  async export(name: string): Promise<AsyncIterable<Uint8Array>> {
    const record = this.#deps.containers.resolve(name);
    const stream = this.#exporting(record);
    await stream.next();
    this.#deps.containers.publish(record, 'export');
    return stream;
  }

  changes(name: string): Promise<Change[]> {
    return this.#deps.rootfs.changes(this.#deps.containers.resolve(name).id);
  }

  async *#reading(record: ContainerRecord, name: string, path: string): AsyncGenerator<PathStat | Uint8Array> {
    const opened = await this.#open(record, true);
    try {
      const found = named(name, path, () => find(opened.view, path));
      try {
        yield statView(opened.view, found, path);
        yield* packTree(opened.view, found, latin1Of(treeName(path)));
      } finally {
        closeSync(found.fd);
      }
    } finally {
      await opened.release();
    }
  }

  /** Yields nothing of worth first, so that it has begun before anybody returns it. */
  async *#exporting(record: ContainerRecord): AsyncGenerator<Uint8Array> {
    const opened = await this.#open(record, false);
    try {
      const root = opened.view.find('/', true);
      try {
        yield new Uint8Array(0);
        yield* packTree(opened.view, root, '');
      } finally {
        closeSync(root.fd);
      }
    } finally {
      await opened.release();
    }
  }

  async #within<T>(name: string, path: string, write: boolean, work: (opened: Opened) => Promise<T>): Promise<T> {
    const opened = await this.#open(this.#deps.containers.resolve(name), true);
    try {
      return await work(opened);
    } catch (error) {
      throw failure(error, name, path, write);
    } finally {
      await opened.release();
    }
  }

  /** Mounts the root, and volumes that nobody has mounted, for as long as the caller needs them. */
  async #open(record: ContainerRecord, withMounts: boolean): Promise<Opened> {
    const undo = new UndoStack();
    const release = (): Promise<void> =>
      undo.unwind((what, error) => this.#deps.log.warn({ err: error, container: record.id, what }, 'could not let go'));
    try {
      const held = await this.#holdRoot(record.id);
      undo.push('root', held.release);
      const paths = withMounts ? await this.#volumePaths(record, undo) : new Map<string, string>();
      // Its own mount, and only that, has the ids that its users have on the host.
      const owners = held.isOwn && record.hostConfig.UsernsMode !== 'host' ? this.#deps.remap : undefined;
      const volumePath = ({ name }: MountPoint): string | undefined => {
        const path = paths.get(name);
        return path && (owners?.visible(path) ?? path);
      };
      const mounts = withMounts ? viewMounts(record, volumePath) : [];
      const view = new ContainerView(held.root, mounts, record.hostConfig.ReadonlyRootfs ?? false, owners);
      undo.push('view', () => view.close());
      return { view, root: held.root, release };
    } catch (error) {
      await release();
      throw error;
    }
  }

  /** withMounted as two halves, so that a stream can outlive the call that opened it. */
  async #holdRoot(id: string): Promise<{ root: string; isOwn: boolean; release(): Promise<void> }> {
    const opened = Promise.withResolvers<{ root: string; isOwn: boolean }>();
    const closing = Promise.withResolvers<void>();
    const done = this.#deps.rootfs.withMounted(id, async (root, isOwn) => {
      opened.resolve({ root, isOwn });
      await closing.promise;
    });
    done.catch(opened.reject);
    return {
      ...(await opened.promise),
      release: () => {
        closing.resolve();
        return done;
      },
    };
  }

  async #volumePaths(record: ContainerRecord, undo: UndoStack): Promise<Map<string, string>> {
    const paths = new Map<string, string>();
    for (const point of record.mounts) {
      if (point.type !== 'volume' || paths.has(point.name)) continue;
      const path = await this.#volumePath(record, point, undo);
      if (path) paths.set(point.name, path);
    }
    return paths;
  }

  /** Plain volumes are where they are; others have to be mounted when their container is not running. */
  async #volumePath(record: ContainerRecord, point: MountPoint, undo: UndoStack): Promise<string | undefined> {
    const { volumes } = this.#deps;
    const info = volumes.find(point.name);
    if (!info) return undefined;
    if ((info.Driver === 'local' && !info.Options) || hasProcesses(record)) return info.Mountpoint;
    const user = `archive-${newId()}`;
    const path = await volumes.mount(point.name, user, { destination: point.destination });
    undo.push(`volume ${point.name}`, () => volumes.unmount(point.name, user));
    return path;
  }
}

/** Destroying a request's body would take its answer along: what is left of it is read and dropped instead. */
function shielded(source: Readable): Readable {
  const shield = new PassThrough();
  source.on('error', (error) => shield.destroy(error));
  source.on('close', () => {
    if (!source.readableEnded) shield.destroy(cancelled('the upload broke off'));
  });
  shield.on('close', () => source.unpipe(shield));
  return source.pipe(shield);
}

function find(view: ContainerView, path: string): Found {
  const asked = absolute(path);
  const found = view.find(latin1Of(asked.path), asked.follows);
  if (!asked.follows || asked.path === '/' || isDirectory(found.fd)) return found;
  closeSync(found.fd);
  throw invalid(`${path}: not a directory`);
}

function statView(view: ContainerView, found: Found, path: string): PathStat {
  const stat = statOf(found.fd);
  const isLink = (Number(stat.mode) & 0o170000) === 0o120000;
  return {
    name: baseOf(path),
    size: Number(stat.size),
    mode: goFileMode(Number(stat.mode)),
    mtime: rfc3339Nano(stat.mtimeNs),
    linkTarget: isLink ? utf8Of(view.target(latin1Of(absolute(path).path))) : '',
  };
}

/** Puts dockerd's words to what the kernel says of a path. */
function failure(error: unknown, name: string, path: string, write = false): DaemonError {
  if (isErrno(error, 'ENOENT', 'ENOTDIR')) {
    return notFound(`Could not find the file ${path} in container ${name}`, { cause: error });
  }
  if (isErrno(error, 'EROFS') && write) return invalid('container rootfs is marked read-only', { cause: error });
  return asDaemonError(error);
}

function named<T>(name: string, path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw failure(error, name, path);
  }
}
