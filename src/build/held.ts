/**
 * Uploads that are not unpacked as they come: many builds take no file of their context, or find all steps in the cache, and thousands
 * of files are slow to make and to remove. A small one stays in memory, a larger one in one file; only the few files that every build
 * reads are taken out on the way.
 */
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { invalid } from '../errors.ts';
import { compressionOf, decompress } from '../tar/decompress.ts';
import { componentsOf } from '../tar/extract.ts';
import type { TarHeader } from '../tar/header.ts';
import { TarParser, type TarSink } from '../tar/parser.ts';
import type { Archive } from './files/packed.ts';

const SMALL = 256 << 10;
/** A larger one is unpacked as it comes: nobody has room for all of it twice. */
const LARGE = 512 << 20;
/** Written to the file together. */
const BATCH = 1 << 20;
const MAX_TEXT = 16 << 20;

export const tooLarge = (path: string): Error => invalid(`${path} is larger than ${MAX_TEXT} bytes`);
export const isTooLarge = (size: number): boolean => size > MAX_TEXT;

/** An upload that lies packed, or its bytes from the first on. */
export type Held =
  | { archive: Archive; small: boolean; text(path: string): string | undefined }
  | { archive?: undefined; stream: Readable };

/** Keeps `body`, if it is an archive of which the texts of `paths` can be told; else gives it back. `file` is where there is room for it. */
export async function hold(body: Readable, paths: readonly string[], file: string, signal: AbortSignal): Promise<Held> {
  const texts = new Texts(paths);
  const start = await startOf(body, signal);
  if (start.whole && compressionOf(start.whole) === 'none') {
    texts.write(start.whole);
    if (texts.end()) return { archive: start.whole, small: true, text: (path) => texts.get(path) };
    return { stream: Readable.from([start.whole], { objectMode: false }) };
  }
  const plain = await decompress(start.whole ? Readable.from([start.whole], { objectMode: false }) : start.stream);
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const rest = await spool(plain, file, texts, signal);
  if (!rest && texts.end()) return { archive: file, small: false, text: (path) => texts.get(path) };
  return { stream: Readable.from(inTurn(createReadStream(file), rest), { objectMode: false }) };
}

async function* inTurn(...sources: (Iterable<Buffer> | AsyncIterable<Buffer> | undefined)[]): AsyncGenerator<Buffer> {
  for (const source of sources) if (source) yield* source;
}

/** The whole of a stream when that is little, else the stream from its beginning. */
async function startOf(
  body: Readable,
  signal: AbortSignal,
): Promise<{ whole: Buffer; stream?: undefined } | { whole?: undefined; stream: Readable }> {
  const iterator = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const parts: Buffer[] = [];
  for (let size = 0; size <= SMALL;) {
    const next = await iterator.next();
    if (signal.aborted) throw signal.reason;
    if (next.done) return { whole: Buffer.concat(parts) };
    parts.push(next.value);
    size += next.value.length;
  }
  // Without `return`: a request that is destroyed takes its connection along, and nobody could tell the client what was wrong.
  const rest = { [Symbol.asyncIterator]: () => ({ next: () => iterator.next() }) };
  return { stream: Readable.from(inTurn(parts, rest), { objectMode: false }) };
}

/** Writes a stream to a file. Answers what is left of it when that becomes too much. */
async function spool(
  source: Readable,
  file: string,
  texts: Texts,
  signal: AbortSignal,
): Promise<AsyncIterable<Buffer> | undefined> {
  const iterator = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const handle = await open(file, 'wx', 0o600);
  let parts: Buffer[] = [];
  let waiting = 0;
  try {
    let size = 0;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      if (signal.aborted) throw signal.reason;
      texts.write(next.value);
      parts.push(next.value);
      waiting += next.value.length;
      size += next.value.length;
      if (waiting < BATCH) continue;
      await writeAll(handle, parts);
      parts = [];
      waiting = 0;
      if (size > LARGE) return { [Symbol.asyncIterator]: () => iterator };
    }
    await writeAll(handle, parts);
    return undefined;
  } catch (error) {
    source.destroy();
    throw error;
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, parts: readonly Buffer[]): Promise<void> {
  const bytes = Buffer.concat(parts);
  for (let at = 0; at < bytes.length;) at += (await handle.write(bytes, at)).bytesWritten;
}

/** Takes texts out of an archive that goes by. */
class Texts implements TarSink {
  #parser = new TarParser(this, { encoding: 'latin1' });
  /** By path; undefined where there is no file. */
  #texts: Map<string, Buffer[] | undefined>;
  /** What the paths go through. */
  #above: Set<string>;
  #parts: Buffer[] | undefined;
  /** Links on the way to one of them, and other things of which only a file system tells what they come to. */
  #isPlain = true;

  constructor(paths: readonly string[]) {
    const wanted = paths.map(componentsOf);
    this.#texts = new Map(wanted.map((parts) => [parts.join('/'), undefined]));
    this.#above = new Set(wanted.flatMap((parts) => parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join('/'))));
  }

  write(chunk: Buffer): void {
    this.#parser.write(chunk);
  }

  /** Whether the texts can be told. */
  end(): boolean {
    this.#parser.end();
    return this.#isPlain;
  }

  get(path: string): string | undefined {
    const parts = this.#texts.get(componentsOf(path).join('/'));
    return parts && Buffer.concat(parts).toString('utf8');
  }

  entry({ name, type, size, sparse }: TarHeader): void {
    const path = componentsOf(Buffer.from(name, 'latin1').toString('utf8')).join('/');
    this.#parts = undefined;
    if (this.#texts.has(path)) {
      if (type === 'file' && isTooLarge(size)) throw tooLarge(path);
      if (type === 'file' && !sparse) this.#parts = [];
      else if (type !== 'directory') this.#isPlain = false;
      this.#texts.set(path, this.#parts);
    } else if (type !== 'directory' && this.#above.has(path)) this.#isPlain = false;
    else for (const text of this.#texts.keys()) if (path.startsWith(`${text}/`)) this.#isPlain = false;
  }

  data(bytes: Buffer): void {
    this.#parts?.push(bytes);
  }

  done(): void {}
}
