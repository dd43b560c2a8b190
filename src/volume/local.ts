/**
 * The local driver: a directory under the data root, over which a file system is mounted while somebody uses it when the
 * options say so.
 */
import { lookup } from 'node:dns/promises';
import { chmod, mkdir, readdir, readFile, realpath, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { internal } from '../errors.ts';
import { isErrno, mount, MS, SyscallError, umountIfMounted } from '../host/ffi.ts';
import { readMountInfo } from '../host/mountinfo.ts';
import { withDeadline } from '../lib/deadline.ts';
import { runTool } from '../lib/spawn.ts';
import type { VolumeDriver } from './driver.ts';
import { isRemote, type LocalMount, localMount, validateLocalOptions, withoutPassword } from './local-options.ts';

const RESOLVE_MS = 10_000;
const REMOTE_MOUNT_MS = 60_000;

type Options = Readonly<Record<string, string>>;

export class LocalDriver implements VolumeDriver {
  readonly name = 'local';
  readonly scope = 'local';
  readonly #root: string;

  /** `root`: the directory `volumes` under the data root. */
  constructor(root: string) {
    this.#root = root;
  }

  validate(options: Options): void {
    validateLocalOptions(options);
  }

  path(name: string): string {
    return join(this.#root, name, '_data');
  }

  async create(name: string): Promise<void> {
    // Others may pass through the first, never list it; the content is the containers' own.
    await mkdir(join(this.#root, name), { recursive: true, mode: 0o701 });
    await chmod(join(this.#root, name), 0o701);
    await makeContent(this.path(name));
  }

  async remove(name: string): Promise<void> {
    const path = this.path(name);
    if (umountIfMounted(path)) for (; umountIfMounted(path););
    const directory = join(this.#root, name);
    const real = await realpath(directory).catch((error: unknown) => {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    });
    if (real === undefined) return;
    if (real !== (await realpath(this.#root)) + `/${name}`) {
      throw internal(`unable to remove a directory outside of the local volume root ${this.#root}: ${real}`);
    }
    await rm(directory, { recursive: true, force: true });
  }

  async mount(name: string, _user: string, options: Options): Promise<string> {
    const path = this.path(name);
    const wanted = localMount(options);
    // A plain directory can have been taken away by hand; it comes back empty, as with dockerd.
    await makeContent(path);
    if (wanted && !(await isMounted(path))) await this.#mountOver(path, wanted);
    return path;
  }

  async unmount(name: string, _user: string, last: boolean, options: Options): Promise<void> {
    if (last && localMount(options)) umountIfMounted(this.path(name));
  }

  async #mountOver(path: string, wanted: LocalMount): Promise<void> {
    try {
      if (isRemote(wanted.type)) await mountRemote(path, wanted);
      else mountHere(path, wanted);
    } catch (error) {
      const reason = withoutPassword(error instanceof Error ? error.message : String(error));
      throw internal(`failed to mount local volume: ${reason}`, { code: 'volume-mount', cause: error });
    }
  }

  /** Directories another daemon left in the same data root, with their options. */
  async found(): Promise<{ name: string; options: Record<string, string> }[]> {
    const entries = await readdir(this.#root, { withFileTypes: true }).catch(() => []);
    const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
    return Promise.all(names.map(async (name) => ({ name, options: await this.#savedOptions(name) })));
  }

  async #savedOptions(name: string): Promise<Record<string, string>> {
    try {
      const saved = JSON.parse(await readFile(join(this.#root, name, 'opts.json'), 'utf8')) as Record<string, unknown>;
      const fields = { type: saved.MountType, o: saved.MountOpts, device: saved.MountDevice };
      return Object.fromEntries(Object.entries(fields).filter((field): field is [string, string] => Boolean(field[1])));
    } catch {
      return {};
    }
  }
}

/** A new content directory is open to every user, whatever the daemon's umask; one that is there stays as it is. */
async function makeContent(path: string): Promise<void> {
  if (await mkdir(path, { recursive: true })) await chmod(path, 0o755);
}

async function isMounted(path: string): Promise<boolean> {
  const real = await realpath(path);
  return (await readMountInfo()).some((entry) => entry.target === real);
}

function mountHere(path: string, wanted: LocalMount): void {
  try {
    mount(wanted.device, path, wanted.type, wanted.flags, wanted.data);
    // A bind takes its other flags only in a second step.
    const more = wanted.flags & ~(MS.BIND | MS.REC);
    if (wanted.flags & MS.BIND && more) mount(wanted.device, path, '', MS.REMOUNT | MS.BIND | more);
  } catch (error) {
    umountIfMounted(path);
    if (!(error instanceof SyscallError)) throw error;
    const words = {
      ENOENT: 'no such file or directory',
      ENODEV: 'no such device',
      EINVAL: 'invalid argument',
      EPERM: 'operation not permitted',
    };
    const reason = words[error.code as keyof typeof words] ?? error.code;
    const data = wanted.data ? `, data: ${wanted.data}` : '';
    throw internal(`mount ${wanted.device}:${path}, flags: 0x${wanted.flags.toString(16)}${data}: ${reason}`, {
      cause: error,
    });
  }
}

/** The kernel wants an address where people write a name. */
async function mountRemote(path: string, wanted: LocalMount): Promise<void> {
  const given = /(?:^|,)addr=([^,]*)/.exec(wanted.data)?.[1];
  let data = wanted.data;
  if (given && !isIP(given)) {
    const { address } = await withDeadline('resolving the volume address', RESOLVE_MS, undefined, () => lookup(given));
    data = data.replace(`addr=${given}`, `addr=${address}`);
  }
  const options = ['rw', ...wanted.words, data].filter(Boolean).join(',');
  await runTool('mount', ['-i', '-n', '-t', wanted.type, '-o', options, wanted.device, path], {
    deadline: REMOTE_MOUNT_MS,
  });
}
