/**
 * The lowest layer of every container's root: what the runtime mounts over (and /.dockerenv) is there already, so that it
 * does not show up as a change of the container nor in a commit. It lies below the image, whose own files win.
 */
import { chmodSync, closeSync, mkdirSync, openSync, symlinkSync } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../../host/ffi.ts';

/** Its directory under overlay2/. */
export const BASE = 'base';
/** Its name under overlay2/l/: all names there are short, so that many fit into one mount's options. */
export const BASE_LINK = 'BASE';

const DIRECTORIES = ['dev/pts', 'dev/shm', 'dev/mqueue', 'etc', 'proc', 'sys'];
const FILES = ['.dockerenv', 'dev/console', 'etc/hostname', 'etc/hosts', 'etc/resolv.conf'];

/** A directory that is the root of a container for some user in it: the daemon's umask has no say. */
export async function makeRoot(path: string): Promise<void> {
  // What is above it, should it be the first there, is nobody's to look into.
  await mkdir(path, { recursive: true, mode: 0o710 });
  await chmod(path, 0o755);
}

function link(target: string, path: string): void {
  try {
    symlinkSync(target, path);
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
  }
}

/** Idempotent. `overlay` is overlay2/, with its directory of links. */
export function makeBase(overlay: string): void {
  const root = join(overlay, BASE, 'diff');
  for (const directory of ['', 'dev', ...DIRECTORIES]) {
    mkdirSync(join(root, directory), { recursive: true });
    chmodSync(join(root, directory), 0o755);
  }
  for (const file of FILES) {
    closeSync(openSync(join(root, file), 'a'));
    chmodSync(join(root, file), 0o644);
  }
  link('/proc/mounts', join(root, 'etc/mtab'));
  link(`../${BASE}/diff`, join(overlay, 'l', BASE_LINK));
}
