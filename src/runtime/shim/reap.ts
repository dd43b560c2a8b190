/**
 * Clears what a container can leave on the host when its shim did not do it: processes, runc's state, mounts and the
 * control group. Every step is idempotent and looks at what is there, so it runs after any crash.
 */
import { existsSync, readFileSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { isErrno, umount } from '../../host/ffi.ts';
import { runTool } from '../../lib/spawn.ts';

export interface ReapOptions {
  id: string;
  bundle: string;
  /** Path of the OCI runtime and the directory of its state. */
  runtime: string;
  root: string;
  log: Logger;
}

const DELETE_DEADLINE_MS = 10_000;
const CGROUPS = '/sys/fs/cgroup';

const readText = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

/** Kills the container's first process, if the number the shim wrote down is still that of this container. */
export function killInit(id: string, bundle: string): void {
  const pid = Number.parseInt(readText(join(bundle, 'init.pid')), 10);
  if (!(pid > 1) || !readText(`/proc/${pid}/cgroup`).includes(id)) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!isErrno(error, 'ESRCH')) throw error;
  }
}

const unescapeMount = (path: string): string =>
  path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** Detaches every mount at or under `directory`, the innermost first. */
export function unmountUnder(directory: string): void {
  const targets = readText('/proc/self/mountinfo')
    .split('\n')
    .map((line) => unescapeMount(line.split(' ')[4] ?? ''))
    .filter((target) => target === directory || target.startsWith(`${directory}/`));
  for (const target of targets.reverse()) {
    try {
      umount(target);
    } catch (error) {
      if (!isErrno(error, 'EINVAL', 'ENOENT')) throw error;
    }
  }
}

/** The container's control group in each hierarchy, as its config names it (cgroupfs only; systemd removes its scopes). */
function cgroupDirectories(bundle: string): string[] {
  let path: unknown;
  try {
    path = JSON.parse(readText(join(bundle, 'config.json')))?.linux?.cgroupsPath;
  } catch {
    return [];
  }
  if (typeof path !== 'string' || !path.startsWith('/') || path === '/') return [];
  const hierarchies = readdirSync(CGROUPS, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [CGROUPS, ...hierarchies.map((entry) => join(CGROUPS, entry.name))].map((root) => join(root, path));
}

function removeCgroups(bundle: string): void {
  for (const directory of cgroupDirectories(bundle)) {
    try {
      rmdirSync(directory);
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'EBUSY', 'EPERM', 'EROFS')) throw error;
    }
  }
}

export async function reap(options: ReapOptions): Promise<void> {
  const { id, bundle, log } = options;
  const attempt = async (step: string, work: () => unknown): Promise<void> => {
    try {
      await work();
    } catch (error) {
      log.warn({ err: error, container: id, step }, 'a step of clearing a container failed');
    }
  };
  await attempt('kill', () => killInit(id, bundle));
  if (existsSync(join(options.root, id))) {
    const args = ['--root', options.root, 'delete', '--force', id];
    await attempt('runtime delete', () =>
      runTool(options.runtime, args, { deadline: DELETE_DEADLINE_MS, accept: [0, 1] }),
    );
  }
  await attempt('unmount', () => unmountUnder(join(bundle, 'rootfs')));
  await attempt('cgroup', () => removeCgroups(bundle));
}
