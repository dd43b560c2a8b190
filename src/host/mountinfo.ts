/** /proc/<pid>/mountinfo as data; its fields are described in proc_pid_mountinfo(5). */
import { readFile } from 'node:fs/promises';

export interface MountInfo {
  id: number;
  parent: number;
  root: string;
  target: string;
  options: readonly string[];
  propagation: 'shared' | 'slave' | 'private' | 'unbindable';
  type: string;
  source: string;
  superOptions: readonly string[];
}

/** Space, tab, newline and backslash come as \040, \011, \012 and \134. */
const unescape = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));

function propagationOf(tags: readonly string[]): MountInfo['propagation'] {
  if (tags.some((tag) => tag.startsWith('shared:'))) return 'shared';
  if (tags.some((tag) => tag.startsWith('master:'))) return 'slave';
  return tags.includes('unbindable') ? 'unbindable' : 'private';
}

export function parseMountInfo(text: string): MountInfo[] {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const fields = line.split(' ');
      const separator = fields.indexOf('-', 6);
      return {
        id: Number(fields[0]),
        parent: Number(fields[1]),
        root: unescape(fields[3] ?? ''),
        target: unescape(fields[4] ?? ''),
        options: (fields[5] ?? '').split(','),
        propagation: propagationOf(fields.slice(6, separator)),
        type: fields[separator + 1] ?? '',
        source: unescape(fields[separator + 2] ?? ''),
        superOptions: (fields[separator + 3] ?? '').split(','),
      };
    });
}

export const readMountInfo = async (): Promise<MountInfo[]> =>
  parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));

/** The mount that `path` lies on: the longest target above it, and of several at one target the newest. */
export function mountOf(mounts: readonly MountInfo[], path: string): MountInfo | undefined {
  let found: MountInfo | undefined;
  for (const mount of mounts) {
    const above = mount.target === '/' || path === mount.target || path.startsWith(`${mount.target}/`);
    if (above && mount.target.length >= (found?.target.length ?? 0)) found = mount;
  }
  return found;
}
