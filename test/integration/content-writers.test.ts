/** The thread that writes and hashes blobs, under several writers whose pieces share their memory. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BlobWriters } from '../../src/image/content/writers.ts';

let directory: string;
let writers: BlobWriters;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'writers-'));
  writers = new BlobWriters();
});
afterEach(async () => {
  await writers.close();
  rmSync(directory, { recursive: true });
});

/** Writes in chunks of odd sizes, and spoils each as soon as it was taken. */
async function write(name: string, bytes: Buffer, chunk: number, from = 0): Promise<{ digest: string; size: number }> {
  const writer = writers.open(join(directory, name), from);
  for (let at = from; at < bytes.length; at += chunk) {
    const piece = Buffer.from(bytes.subarray(at, at + chunk));
    const room = writer.write(piece);
    piece.fill(0);
    await room;
  }
  return await writer.finish();
}

const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const fileOf = (name: string): Buffer => readFileSync(join(directory, name));

describe('files of blobs', () => {
  it('get their own bytes, whoever writes beside them, and the chunks are the caller’s again at once', async () => {
    const blobs = [1, 700_001, 3_333_333, 9_000_000].map((size) => randomBytes(size));
    const written = await Promise.all(blobs.map((bytes, i) => write(`b${i}`, bytes, [1, 1000, 65_536, 1_200_000][i]!)));
    expect(written).toEqual(blobs.map((bytes) => ({ digest: digestOf(bytes), size: bytes.length })));
    for (const [i, bytes] of blobs.entries()) expect(fileOf(`b${i}`).equals(bytes)).toBe(true);
  });

  it('go on where they were left, and their beginning is hashed again', async () => {
    const bytes = randomBytes(2_500_000);
    await write('half', bytes.subarray(0, 1_300_000), 99_999);
    expect(await write('half', bytes, 99_999, 1_000_000)).toEqual({ digest: digestOf(bytes), size: bytes.length });
    expect(fileOf('half').equals(bytes)).toBe(true);
  });

  it('fail for their writer alone', async () => {
    const bytes = randomBytes(1_500_000);
    const [bad, good] = await Promise.allSettled([write('no/such', bytes, 65_536), write('good', bytes, 65_536)]);
    expect(bad).toMatchObject({ status: 'rejected', reason: { kind: 'internal', code: 'ENOENT' } });
    expect(good).toMatchObject({ status: 'fulfilled', value: { digest: digestOf(bytes) } });
  });

  it('stay as far as they are written when their writer gives up', async () => {
    const bytes = randomBytes(1_500_000);
    const writer = writers.open(join(directory, 'left'));
    await writer.write(bytes);
    await writer.abandon();
    expect(() => writer.write(bytes)).toThrow('abandoned');
    const left = fileOf('left');
    expect(left.equals(bytes.subarray(0, left.length))).toBe(true);
    expect(left.length).toBeGreaterThan(0);
  });
});
