/**
 * Files of blobs written and hashed in one worker thread, which is started when there is work and goes when there was none
 * for a while. The event loop only gathers what comes into pieces of some size: a copy costs less than handing over each
 * of a socket's. Their memory goes to the worker and comes back.
 */
import { Worker } from 'node:worker_threads';
import { internal } from '../../errors.ts';
import { release } from '../../lib/memory.ts';
import { workerFile } from '../../lib/worker-file.ts';
import { diskFull, isDiskFull } from './space.ts';
import type { WriteAnswer, WriteOrder } from './write-worker.ts';

export interface Written {
  digest: string;
  /** Bytes of the whole file. */
  size: number;
}

const IDLE_MS = 10_000;
/** What may be under way to the worker for one file. */
const WINDOW = 4 << 20;
const PIECE = 512 << 10;
/** Pieces that came back and are kept for those who write next. */
const MOST_SPARE = 8;

type Send = (order: WriteOrder, transfer?: ArrayBuffer[]) => void;

/** Memory of pieces, from hand to hand. */
class Pieces {
  #spare: ArrayBuffer[] = [];

  take(): Buffer {
    const memory = this.#spare.pop();
    return memory ? Buffer.from(memory) : Buffer.allocUnsafeSlow(PIECE);
  }

  giveBack(memory: ArrayBuffer): void {
    if (this.#spare.length < MOST_SPARE) this.#spare.push(memory);
    else release(memory);
  }

  clear(): void {
    this.#spare.splice(0).forEach(release);
  }
}

/** One file. Calls come one after another; after an error each of them fails with it. */
export class BlobWriter {
  #send: Send;
  #id: number;
  #pieces: Pieces;
  #ended: () => void;
  #staged: Buffer | undefined;
  #filled = 0;
  #underWay = 0;
  #error: Error | undefined;
  #isDone = false;
  #wake: () => void = () => {};
  #result = Promise.withResolvers<Written>();

  constructor(id: number, send: Send, pieces: Pieces, ended: () => void) {
    this.#id = id;
    this.#send = send;
    this.#pieces = pieces;
    this.#ended = ended;
    this.#result.promise.catch(() => {});
  }

  /**
   * What there is to wait for before more is written, if anything. The chunk is the caller's again at once. Throws, or
   * rejects, when the writing failed.
   */
  write(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#error) throw this.#error;
    this.#copy(chunk);
    return this.#underWay < WINDOW ? undefined : this.#room();
  }

  async #room(): Promise<void> {
    while (this.#underWay >= WINDOW && !this.#error) await new Promise<void>((resolve) => (this.#wake = resolve));
    if (this.#error) throw this.#error;
  }

  async finish(): Promise<Written> {
    if (this.#error) throw this.#error;
    this.#flush();
    this.#send({ id: this.#id, kind: 'finish' });
    return await this.#result.promise;
  }

  /** The file stays as far as it is written. Resolves when nobody writes to it any more. */
  async abandon(): Promise<void> {
    if (this.#error || this.#isDone) return;
    this.#error = internal('the writing was abandoned');
    this.#staged = undefined;
    this.#send({ id: this.#id, kind: 'abandon' });
    await this.#result.promise.catch(() => {});
  }

  answered(answer: WriteAnswer): void {
    if ('taken' in answer) {
      this.#underWay -= answer.taken;
      this.#pieces.giveBack(answer.memory);
      this.#wake();
    } else if ('digest' in answer) {
      this.#isDone = true;
      this.#result.resolve({ digest: answer.digest, size: answer.size });
      this.#ended();
    } else if ('abandoned' in answer) this.fail(this.#error!);
    else {
      const { code, error } = answer;
      this.fail(isDiskFull({ code }) || code === 'disk-full' ? diskFull() : internal(error, { code }));
    }
  }

  fail(error: Error): void {
    this.#error = error;
    this.#result.reject(error);
    this.#staged = undefined;
    this.#wake();
    this.#ended();
  }

  #copy(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.byteLength;) {
      this.#staged ??= this.#pieces.take();
      const part = chunk.subarray(at, at + PIECE - this.#filled);
      this.#staged.set(part, this.#filled);
      this.#filled += part.byteLength;
      at += part.byteLength;
      if (this.#filled === PIECE) this.#flush();
    }
  }

  #flush(): void {
    const staged = this.#staged;
    if (!staged) return;
    const piece = staged.subarray(0, this.#filled);
    this.#staged = undefined;
    this.#filled = 0;
    this.#underWay += piece.byteLength;
    this.#send({ id: this.#id, kind: 'data', piece }, [piece.buffer as ArrayBuffer]);
  }
}

export class BlobWriters {
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #writers = new Map<number, BlobWriter>();
  #pieces = new Pieces();
  #lastId = 0;

  /** Goes on after the first `from` bytes of the file, which need not exist for 0. */
  open(path: string, from = 0): BlobWriter {
    const id = ++this.#lastId;
    clearTimeout(this.#idle);
    const worker = this.#start();
    const send: Send = (order, transfer = []) => worker.postMessage(order, transfer);
    const writer = new BlobWriter(id, send, this.#pieces, () => this.#ended(id));
    this.#writers.set(id, writer);
    send({ id, kind: 'open', path, from });
    return writer;
  }

  #start(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(workerFile('image/content/write-worker.ts'), {
      name: 'blobs',
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    worker.unref();
    worker.on('message', (answer: WriteAnswer) => this.#writers.get(answer.id)?.answered(answer));
    const failed = (error?: unknown): void => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      for (const writer of this.#writers.values())
        writer.fail(internal('the thread that writes blobs failed', { cause: error }));
    };
    worker.on('error', failed);
    worker.on('exit', () => failed());
    this.#worker = worker;
    return worker;
  }

  #ended(id: number): void {
    this.#writers.delete(id);
    if (this.#writers.size > 0) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => void this.close(), IDLE_MS);
    this.#idle.unref();
  }

  async close(): Promise<void> {
    clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = undefined;
    for (const writer of this.#writers.values()) writer.fail(internal('the daemon stops'));
    this.#pieces.clear();
    await worker?.terminate();
  }
}
