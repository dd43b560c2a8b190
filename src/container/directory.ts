/** Removing directories of a container, under which something may still be mounted. */
import { existsSync } from 'node:fs';
import { rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { conflict } from '../errors.ts';
import { isErrno, umountIfMounted } from '../host/ffi.ts';
import { readMountInfo } from '../host/mountinfo.ts';
import { releaseShm } from '../runtime/oci/shm.ts';
import { releaseMounts } from '../volume/resolve.ts';

/** A tmpfs, images and pinned parts of volumes may be mounted in it. Never descends into something that is still mounted there: that would be the content of a volume. */
export async function removeDirectory(directory: string): Promise<void> {
  if (existsSync(join(directory, 'mounts'))) {
    releaseShm(directory);
    const volumes = { mount: async () => '', unmount: async () => {} };
    await releaseMounts([], { containerId: '', directory, volumes });
    const mounted = (await readMountInfo()).find(({ target }) => target.startsWith(`${directory}/`));
    if (mounted) throw conflict(`${mounted.target} is still mounted`, { code: 'mounted' });
  }
  await rm(directory, { recursive: true, force: true });
}

/**
 * Removing a bundle, on whose rootfs the shim mounts the container's root. rmdir(2) never descends: should the mount still be
 * there, it is undone first, and the container's files stay what they are.
 */
export async function removeBundle(bundle: string): Promise<void> {
  const rootfs = join(bundle, 'rootfs');
  try {
    await rmdir(rootfs);
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) {
      while (umountIfMounted(rootfs));
      await rmdir(rootfs);
    }
  }
  await rm(bundle, { recursive: true, force: true });
}
