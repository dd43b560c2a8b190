/**
 * Runs in a worker thread: one layer blob → uncompressed → its diff id → extracted. The event loop of the daemon sees
 * only progress numbers and the result. Failures come back as data, because an error loses its class between threads.
 */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, openSync, readSync } from 'node:fs';
import { setPriority } from 'node:os';
import { isMainThread, type MessagePort } from 'node:worker_threads';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { DaemonError, type ErrorKind } from '../../errors.ts';
import { BEHIND_THE_LOOP } from '../../lib/worker-file.ts';
import { diskFull, isDiskFull, spaceGuard } from '../content/space.ts';
import { compressionOf, decompress } from '../../tar/decompress.ts';
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
const READ_BYTES = 512 << 10;

/** A file's bytes in pieces, each in the same memory: it holds until the next one is asked for. */
function* piecesOf(fd: number): Generator<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  for (let read = -1; read !== 0;) {
    read = readSync(fd, buffer, 0, buffer.length, null);
    if (read) yield buffer.subarray(0, read);
  }
}

type Decoder = ReturnType<typeof createGunzip>;

/**
 * A decoder lets go of what it was given when it calls back; a pipe would read ahead into ever new memory. One that was
 * destroyed meanwhile is fed no more: by then the file may be closed.
 */
async function feed(decoder: Decoder, pieces: Iterable<Buffer>, onRead: (bytes: number) => void): Promise<void> {
  for (const piece of pieces) {
    await new Promise<void>((resolve, reject) => decoder.write(piece, (error) => (error ? reject(error) : resolve())));
    if (decoder.destroyed) return;
    onRead(piece.length);
  }
  decoder.end();
}

/** The uncompressed bytes of a blob; each piece holds until the next one is asked for. `onRead`: compressed bytes. */
async function* uncompressed(path: string, onRead: (bytes: number) => void): AsyncGenerator<Buffer> {
  const fd = openSync(path, 'r');
  try {
    const head = Buffer.alloc(8);
    readSync(fd, head, 0, head.length, 0);
    const kind = compressionOf(head);
    if (kind === 'none') {
      for (const piece of piecesOf(fd)) {
        yield piece;
        onRead(piece.length);
      }
    } else if (kind === 'gzip' || kind === 'zstd') {
      const decoder = (kind === 'gzip' ? createGunzip : createZstdDecompress)({ chunkSize: READ_BYTES }) as Decoder;
      const fed = feed(decoder, piecesOf(fd), onRead);
      // It fails with the decoder, which tells below.
      fed.catch(() => {});
      for await (const piece of decoder as AsyncIterable<Buffer>) {
        yield piece;
        giveBack(piece);
      }
    } else yield* (await decompress(createReadStream(path))) as AsyncIterable<Buffer>;
  } finally {
    closeSync(fd);
  }
}

async function extract(task: UnpackTask): Promise<UnpackResult> {
  const hash = createHash('sha256');
  const extractor = new LayerExtractor(task.target);
  const parser = new TarParser(extractor, { encoding: 'latin1' });
  const written = spaceGuard(task.target);
  let told = performance.now();
  let bytesRead = 0;
  try {
    for await (const piece of uncompressed(task.blob, (bytes) => (bytesRead += bytes))) {
      hash.update(piece);
      written(piece.length);
      parser.write(piece);
      if (performance.now() - told < PROGRESS_EVERY_MS) continue;
      told = performance.now();
      task.progress?.postMessage(bytesRead);
    }
    parser.end();
    const { bytes, entries } = extractor.finish();
    return { ok: true, diffId: `sha256:${hash.digest('hex')}`, bytes, entries };
  } finally {
    extractor.close();
    task.progress?.close();
  }
}

/**
 * Frees a piece's memory now, not when the collector comes by: this thread makes little other garbage. The last piece of a
 * buffer is the end of it; the decoder has gone on to another one.
 */
function giveBack({ buffer, byteOffset, length }: Buffer): void {
  const own = buffer as ArrayBuffer;
  if (own.byteLength === READ_BYTES && byteOffset + length === own.byteLength) own.transfer(0);
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
