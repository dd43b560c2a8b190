/** Small uploads, looked through in memory: many builds take no file of their context, or find all steps in the cache. */
import { Readable } from 'node:stream';
import { compressionOf } from '../tar/decompress.ts';
import { componentsOf } from '../tar/extract.ts';
import type { TarHeader } from '../tar/header.ts';
import { TarParser, type TarSink } from '../tar/parser.ts';

const SMALL = 256 << 10;

/** The whole of a stream when that is little, else the stream from its beginning. */
export async function startOf(
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
  const all = async function* (): AsyncGenerator<Buffer> {
    yield* parts;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
  };
  return { stream: Readable.from(all(), { objectMode: false }) };
}

class Held implements TarSink {
  readonly files = new Map<string, Buffer[]>();
  /** There is more than files and directories, or one thing in place of another: only a file system tells what that comes to. */
  isPlain = true;
  #directories = new Set<string>();
  #parts: Buffer[] = [];

  entry({ name, type, sparse }: TarHeader): void {
    const parts = componentsOf(Buffer.from(name, 'latin1').toString('utf8'));
    const path = parts.join('/');
    for (let i = 1; i < parts.length; i++) this.#directories.add(parts.slice(0, i).join('/'));
    this.#parts = [];
    if (type === 'directory') this.#directories.add(path);
    else this.files.set(path, this.#parts);
    if ((type !== 'file' && type !== 'directory') || sparse) this.isPlain = false;
  }

  data(bytes: Buffer): void {
    this.#parts.push(bytes);
  }

  done(): void {}

  get isConsistent(): boolean {
    return this.isPlain && [...this.files.keys()].every((path) => !this.#directories.has(path));
  }
}

/** Texts of the files in an archive by their paths; undefined when it has to be unpacked to know. Errors: invalid for a bad archive. */
export function holdFiles(archive: Buffer): { get(path: string): string | undefined } | undefined {
  if (compressionOf(archive) !== 'none') return undefined;
  const held = new Held();
  const parser = new TarParser(held, { encoding: 'latin1' });
  parser.write(archive);
  parser.end();
  if (!held.isConsistent) return undefined;
  return {
    get(path) {
      const parts = held.files.get(componentsOf(path).join('/'));
      return parts && Buffer.concat(parts).toString('utf8');
    },
  };
}
