/** Worker thread: sha256 of files that are still growing. Reads behind the writer, from the page cache. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

/** `upTo`: bytes of the file that are written. `final`: there will be no more; answered with the digest. */
export interface DigestOrder {
  id: number;
  path: string;
  upTo: number;
  final: boolean;
  abandon?: boolean;
}

export interface DigestAnswer {
  id: number;
  digest?: string;
  error?: string;
}

interface Job {
  fd: number;
  hash: Hash;
  at: number;
}

const jobs = new Map<number, Job>();
const buffer = Buffer.allocUnsafe(1 << 20);

function advance(job: Job, upTo: number): void {
  while (job.at < upTo) {
    const read = readSync(job.fd, buffer, 0, Math.min(buffer.length, upTo - job.at), job.at);
    if (read === 0) throw new Error('the file is shorter than what was written to it');
    job.hash.update(buffer.subarray(0, read));
    job.at += read;
  }
}

function end(id: number): void {
  const job = jobs.get(id);
  jobs.delete(id);
  if (job) closeSync(job.fd);
}

const port = parentPort!;
port.on('message', ({ id, path, upTo, final, abandon }: DigestOrder) => {
  if (abandon) return end(id);
  try {
    const job = jobs.get(id) ?? { fd: openSync(path, 'r'), hash: createHash('sha256'), at: 0 };
    jobs.set(id, job);
    advance(job, upTo);
    if (!final) return;
    port.postMessage({ id, digest: `sha256:${job.hash.digest('hex')}` } satisfies DigestAnswer);
    end(id);
  } catch (error) {
    end(id);
    port.postMessage({ id, error: error instanceof Error ? error.message : String(error) } satisfies DigestAnswer);
  }
});
