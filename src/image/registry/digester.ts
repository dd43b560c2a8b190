/**
 * Digests of files while they are written, in one worker thread: started when there is work, gone when there was none
 * for a while. The event loop never hashes layers.
 */
import { Worker } from 'node:worker_threads';
import { internal } from '../../errors.ts';
import { workerFile } from '../../lib/worker-file.ts';
import type { DigestAnswer, DigestOrder } from './digest-worker.ts';

export interface Following {
  /** So many bytes from the start of the file are written. */
  written(bytes: number): void;
  /** The digest of the file's first `bytes` bytes. Ends the following. */
  finish(bytes: number): Promise<string>;
  abandon(): void;
}

interface Waiting {
  resolve(digest: string): void;
  reject(error: Error): void;
}

const IDLE_MS = 10_000;
/** Orders are sent no oftener than for so many bytes. */
const STRIDE = 1 << 20;

export class Digester {
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #jobs = new Map<number, Waiting | undefined>();
  #lastId = 0;

  /** The file must exist before the first `written` or `finish`. */
  follow(path: string): Following {
    const id = ++this.#lastId;
    let told = 0;
    const send = (order: Omit<DigestOrder, 'id' | 'path'>): void => this.#start().postMessage({ id, path, ...order });
    this.#jobs.set(id, undefined);
    clearTimeout(this.#idle);
    return {
      written: (bytes) => {
        if (bytes - told < STRIDE || !this.#jobs.has(id)) return;
        told = bytes;
        send({ upTo: bytes, final: false });
      },
      finish: (bytes) =>
        new Promise((resolve, reject) => {
          if (!this.#jobs.has(id)) return reject(internal('the digest worker failed'));
          this.#jobs.set(id, { resolve, reject });
          send({ upTo: bytes, final: true });
        }),
      abandon: () => {
        if (!this.#jobs.has(id)) return;
        this.#worker?.postMessage({ id, path, upTo: 0, final: false, abandon: true } satisfies DigestOrder);
        this.#end(id);
      },
    };
  }

  #start(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(workerFile('image/registry/digest-worker.ts'), { name: 'digest' });
    worker.unref();
    worker.on('message', (answer: DigestAnswer) => {
      const waiting = this.#jobs.get(answer.id);
      this.#end(answer.id);
      if (answer.digest) waiting?.resolve(answer.digest);
      else waiting?.reject(internal(`digest: ${answer.error}`));
    });
    const failed = (error?: Error): void => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      for (const waiting of this.#jobs.values())
        waiting?.reject(internal('the digest worker failed', { cause: error }));
      this.#jobs.clear();
    };
    worker.on('error', failed);
    worker.on('exit', () => failed());
    this.#worker = worker;
    return worker;
  }

  #end(id: number): void {
    this.#jobs.delete(id);
    if (this.#jobs.size > 0) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => void this.close(), IDLE_MS);
    this.#idle.unref();
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }
}
