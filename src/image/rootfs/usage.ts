/** Bytes of all files under a directory; a file with several links counts once. */
import { latin1Of, walkLayer } from './walk.ts';

export async function bytesUnder(directory: string): Promise<number> {
  const seen = new Set<bigint>();
  let total = 0;
  for await (const { stats } of walkLayer(latin1Of(directory))) {
    if (!stats.isFile()) continue;
    if (stats.nlink > 1n) {
      if (seen.has(stats.ino)) continue;
      seen.add(stats.ino);
    }
    total += Number(stats.size);
  }
  return total;
}
