/**
 * Runs in a worker thread: one layer blob → uncompressed → its diff id → extracted. The event loop of the daemon sees
 * only progress numbers and the result. Failures come back as data, because an error loses its class between threads.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { setPriority } from 'node:os';
import { isMainThread, type MessagePort } from 'node:worker_threads';
import { DaemonError, type ErrorKind } from '../../errors.ts';
import { BEHIND_THE_LOOP } from '../../lib/worker-file.ts';
import { diskFull, isDiskFull, spaceGuard } from '../content/space.ts';
import { decompress } from '../../tar/decompress.ts';
import { LayerExtractor } from '../../tar/extract.ts';
import { TarParser } from '../../tar/parser.ts';

export interface UnpackTask {
  blob: string;
  /** An empty directory. */
  target: string;
  /** Gets the number of compressed bytes read, now and then. */
  progress?: MessagePort;
}

export type UnpackResult =
  | { ok: true; diffId: string; bytes: number; entries: number }
  | { ok: false; kind: ErrorKind; code?: string; message: string };

const PROGRESS_EVERY_MS = 100;
/** Smaller buffers may be shared with others. */
const LARGE = 1 << 20;

async function extract(task: UnpackTask): Promise<UnpackResult> {
  const file = createReadStream(task.blob, { highWaterMark: 1 << 20 });
  const hash = createHash('sha256');
  const extractor = new LayerExtractor(task.target);
  const parser = new TarParser(extractor, { encoding: 'latin1' });
  const written = spaceGuard(task.target);
  let told = performance.now();
  try {
    for await (const chunk of (await decompress(file)) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      written(chunk.length);
      parser.write(chunk);
      giveBack(chunk);
      if (performance.now() - told < PROGRESS_EVERY_MS) continue;
      told = performance.now();
      task.progress?.postMessage(file.bytesRead);
    }
    parser.end();
    const { bytes, entries } = extractor.finish();
    return { ok: true, diffId: `sha256:${hash.digest('hex')}`, bytes, entries };
  } finally {
    extractor.close();
    file.destroy();
    task.progress?.close();
  }
}

/**
 * Frees a piece's memory now, not when the collector comes by: this thread makes little other garbage. The last piece of a
 * buffer is the end of it; whoever made it has gone on to another one.
 */
function giveBack({ buffer, byteOffset, length }: Buffer): void {
  const own = buffer as ArrayBuffer;
  if (own.byteLength >= LARGE && byteOffset + length === own.byteLength) own.transfer(0);
}

/** What came from the archive's bytes is the archive's fault; what the kernel refused is the world's. */
function failure(error: unknown): UnpackResult {
  if (isDiskFull(error)) return failure(diskFull());
  if (error instanceof DaemonError) return { ok: false, kind: error.kind, code: error.code, message: error.message };
  const { code, message } = error as NodeJS.ErrnoException;
  const broken = code === 'ENAMETOOLONG' || /^(Z_|ZSTD_)/.test(code ?? '');
  return { ok: false, kind: broken ? 'invalid' : 'internal', code: broken ? 'bad-archive' : code, message };
}

if (!isMainThread) setPriority(BEHIND_THE_LOOP);

export default async function unpack(task: UnpackTask): Promise<UnpackResult> {
  try {
    return await extract(task);
  } catch (error) {
    return failure(error);
  }
}
