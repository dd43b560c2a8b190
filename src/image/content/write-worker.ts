/** Worker thread: writes blobs to their files and hashes them on the way. A piece's memory goes back when it is written. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { setPriority } from 'node:os';
import { dirname } from 'node:path';
import { parentPort } from 'node:worker_threads';
import { BEHIND_THE_LOOP } from '../../lib/worker-file.ts';
import { spaceGuard } from './space.ts';

export type WriteOrder = { id: number } &
  /** The first `from` bytes of the file are kept, and hashed again. */
  (
    | { kind: 'open'; path: string; from: number }
    | { kind: 'data'; piece: Uint8Array }
    | { kind: 'finish' }
    | { kind: 'abandon' }
  );

export type WriteAnswer = { id: number } & (
  | { taken: number; memory: ArrayBuffer }
  | { digest: string; size: number }
  | { abandoned: true }
  | { error: string; code: string | undefined }
);

interface Job {
  fd: number;
  hash: Hash;
  at: number;
  written: (bytes: number) => void;
}

const jobs = new Map<number, Job>();
const port = parentPort!;
const READ_BYTES = 1 << 20;

function open(id: number, path: string, from: number): void {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  const job: Job = { fd, hash: createHash('sha256'), at: 0, written: spaceGuard(dirname(path)) };
  jobs.set(id, job);
  ftruncateSync(fd, from);
  const buffer = from ? Buffer.allocUnsafeSlow(Math.min(READ_BYTES, from)) : undefined;
  while (job.at < from) {
    const read = readSync(fd, buffer!, 0, Math.min(buffer!.length, from - job.at), job.at);
    if (read === 0) throw new Error('the file is shorter than what was written to it');
    job.hash.update(buffer!.subarray(0, read));
    job.at += read;
  }
}

function take(job: Job, piece: Uint8Array): void {
  const size = piece.byteLength;
  job.hash.update(piece);
  job.written(size);
  for (let done = 0; done < size;) done += writeSync(job.fd, piece, done, size - done, job.at + done);
  job.at += size;
}

function end(id: number): void {
  const job = jobs.get(id);
  jobs.delete(id);
  if (job) closeSync(job.fd);
}

function answer(message: WriteAnswer, transfer: ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
}

setPriority(BEHIND_THE_LOOP);
port.on('message', (order: WriteOrder) => {
  const { id } = order;
  try {
    if (order.kind === 'open') return open(id, order.path, order.from);
    const job = jobs.get(id);
    if (order.kind === 'abandon') {
      end(id);
      return answer({ id, abandoned: true });
    }
    // It has failed before, which was told.
    if (!job) return;
    if (order.kind === 'data') {
      take(job, order.piece);
      const memory = order.piece.buffer as ArrayBuffer;
      return answer({ id, taken: order.piece.byteLength, memory }, [memory]);
    }
    end(id);
    answer({ id, digest: `sha256:${job.hash.digest('hex')}`, size: job.at });
  } catch (error) {
    end(id);
    const { message, code } = error as NodeJS.ErrnoException;
    answer({ id, error: message, code });
  }
});
