/** Bytes of the files in a tree; a file with several links counts once. What vanishes meanwhile does not count. */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

export async function treeSize(root: string): Promise<number> {
  const seen = new Set<string>();
  const waiting = [root];
  let bytes = 0;
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) waiting.push(path);
      const info = await lstat(path).catch(() => undefined);
      if (!info || entry.isDirectory()) continue;
      const inode = `${info.dev}:${info.ino}`;
      if (info.nlink > 1 && seen.has(inode)) continue;
      seen.add(inode);
      bytes += info.size;
    }
  }
  return bytes;
}
