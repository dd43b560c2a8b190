/** Fills an empty volume with what the image has at its place: owners, modes, times, xattrs, hard links, device nodes. */
import { chmod, lstat, lutimes, opendir, lchown } from 'node:fs/promises';
import { runTool } from '../lib/spawn.ts';

const COPY_MS = 15 * 60_000;

async function isEmpty(path: string): Promise<boolean> {
  const directory = await opendir(path);
  try {
    return (await directory.read()) === null;
  } finally {
    await directory.close();
  }
}

/**
 * Copies with the host's cp, outside this process: it keeps every attribute, follows no symlink, and a large tree does not
 * hold up the event loop. Does nothing when the volume has content, or when the source is no directory.
 */
export async function copyUp(source: string, target: string, signal?: AbortSignal): Promise<void> {
  const from = await lstat(source).catch(() => undefined);
  if (!from?.isDirectory() || !(await isEmpty(target))) return;
  if (!(await isEmpty(source))) {
    await runTool('cp', ['-a', '--reflink=auto', '--', `${source}/.`, target], { deadline: COPY_MS, signal });
  }
  await lchown(target, from.uid, from.gid);
  await chmod(target, from.mode & 0o7777);
  await lutimes(target, from.atime, from.mtime);
}
