/**
 * A file that grows by whole records and is put aside when it is full: `x`, then `x.1` (the newest of the old) to
 * `x.<n-1>`, compressed when wanted. Writes are synchronous: a page-cache write of one chunk takes less than a trip
 * through the thread pool, and what is read of a pipe is on its way to disk before anything can kill us.
 *
 * Readers follow by generation: the current file has the number `generation`, `x.k` the number `generation - k`.
 */
import {
  type WriteStream,
  closeSync,
  createReadStream,
  createWriteStream,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { FileOptions } from '../options.ts';

export interface RotatingFileOptions extends FileOptions {
  path: string;
  /** Makes the end of the file whole again after a crash; gets the descriptor, opened for reading and appending. */
  repair: (fd: number, size: number) => void;
  onError: (error: unknown) => void;
}

const MODE = 0o640;
const COMPRESSING = '.compressing';

export class RotatingFile {
  #options: RotatingFileOptions;
  #fd: number;
  #size: number;
  #waiters = new Set<() => void>();
  #compressions = new Set<Promise<void>>();
  generation = 0;
  /** Counts changes: writes, rotations, the close. */
  version = 0;
  closed = false;

  constructor(options: RotatingFileOptions) {
    this.#options = options;
    const directory = dirname(options.path);
    mkdirSync(directory, { recursive: true, mode: 0o710 });
    // Left by a crash; what was being compressed is still there as it was.
    for (const name of readdirSync(directory))
      if (name.endsWith(COMPRESSING)) rmSync(join(directory, name), { force: true });
    this.#fd = openSync(options.path, 'a+', MODE);
    try {
      options.repair(this.#fd, fstatSync(this.#fd).size);
      this.#size = fstatSync(this.#fd).size;
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  get path(): string {
    return this.#options.path;
  }

  /** Appends records. `endAfter(at)` gives the end of the record that reaches to `at` or beyond. */
  append(records: Buffer, endAfter: (at: number) => number): void {
    if (this.closed) return;
    const { maxSize } = this.#options;
    let rest = 0;
    while (maxSize > 0 && this.#size + records.length - rest > maxSize) {
      const room = maxSize - this.#size;
      const end = room > 0 ? endAfter(rest + room) : rest;
      this.#write(records.subarray(rest, end));
      rest = end;
      if (rest < records.length) this.#rotate();
      else break;
    }
    if (rest < records.length) this.#write(records.subarray(rest));
    this.#changed();
  }

  #write(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const written = writeSync(this.#fd, bytes, at);
      at += written;
      this.#size += written;
    }
  }

  #rotate(): void {
    const { path, maxFiles, compress } = this.#options;
    const old = (index: number): string => `${path}.${index}`;
    for (const suffix of ['', '.gz']) {
      rmSync(`${old(maxFiles - 1)}${suffix}`, { force: true });
      for (let index = maxFiles - 2; index >= 1; index--) {
        if (existsSync(`${old(index)}${suffix}`)) renameSync(`${old(index)}${suffix}`, `${old(index + 1)}${suffix}`);
      }
    }
    if (maxFiles > 1) renameSync(path, old(1));
    else rmSync(path, { force: true });
    closeSync(this.#fd);
    this.#fd = openSync(path, 'a+', MODE);
    this.#size = 0;
    const generation = this.generation++;
    if (compress && maxFiles > 1) {
      const work = this.#compress(generation)
        .catch(this.#options.onError)
        .finally(() => this.#compressions.delete(work));
      this.#compressions.add(work);
    }
  }

  /** By the time this ends the file may have moved on, or gone. */
  async #compress(generation: number): Promise<void> {
    const { path, maxFiles } = this.#options;
    const temporary = `${path}.${generation}${COMPRESSING}`;
    const source = openSync(`${path}.1`, 'r');
    const target: WriteStream = createWriteStream(temporary, { mode: MODE });
    try {
      await pipeline(createReadStream('', { fd: source }), createGzip({ level: 1, chunkSize: 65_536 }), target);
      const index = this.generation - generation;
      if (index >= maxFiles || !existsSync(`${path}.${index}`)) return rmSync(temporary, { force: true });
      renameSync(temporary, `${path}.${index}.gz`);
      rmSync(`${path}.${index}`, { force: true });
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  }

  #changed(): void {
    this.version++;
    if (!this.#waiters.size) return;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const wake of waiters) wake();
  }

  /** Settles when something changed since `version`, or the signal fired. */
  changedSince(version: number, signal?: AbortSignal): Promise<void> {
    if (this.version !== version || signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiters.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiters.add(wake);
      signal?.addEventListener('abort', wake, { once: true });
    });
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    closeSync(this.#fd);
    this.#changed();
    await Promise.all(this.#compressions);
  }
}
