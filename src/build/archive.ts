/** ADD unpacks local archives: is a file one, by its bytes and not by its name? */
import { createReadStream } from 'node:fs';
import { decompress } from '../tar/decompress.ts';
import { lstatOf } from './files/resolve.ts';

const BLOCK = 512;

/** A tar header's checksum is right; an empty archive is none. */
function isTarHeader(block: Buffer): boolean {
  const stored = parseInt(
    block
      .toString('latin1', 148, 156)
      .replace(/[\0 ].*$/, '')
      .trim() || 'x',
    8,
  );
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 32 : block[i]!;
  return sum === stored;
}

export async function isArchive(path: string): Promise<boolean> {
  // Opening a FIFO would wait for its other end, for ever.
  if (!lstatOf(path)?.isFile()) return false;
  const source = createReadStream(path);
  let plain = source as Awaited<ReturnType<typeof decompress>>;
  try {
    plain = await decompress(source);
    let head = Buffer.alloc(0);
    for await (const chunk of plain) {
      head = Buffer.concat([head, chunk as Buffer]);
      if (head.length >= BLOCK) return isTarHeader(head);
    }
    return false;
  } catch {
    // What cannot be decompressed is no archive.
    return false;
  } finally {
    plain.destroy();
    source.destroy();
  }
}
