/** Reads a tar stream entry by entry with back pressure, for archives that are handled in the daemon itself. */
import { release } from '../lib/memory.ts';
import type { NameEncoding, TarHeader } from './header.ts';
import { TarParser } from './parser.ts';

type Piece =
  { kind: 'entry'; header: TarHeader } | { kind: 'data'; bytes: Buffer; position: number } | { kind: 'done' };

export interface ReadOptions {
  encoding?: NameEncoding;
  /** Nobody else has the source's chunks, and nobody keeps a file's pieces: their memory is freed when the next one is asked for. */
  own?: boolean;
}

/** Pieces in order. Everything one chunk of the source holds is taken before the next chunk is asked for. */
async function* pieces(
  source: AsyncIterable<Uint8Array>,
  { encoding = 'utf8', own = false }: ReadOptions,
): AsyncGenerator<Piece, void> {
  let queue: Piece[] = [];
  const parser = new TarParser(
    {
      entry: (header) => queue.push({ kind: 'entry', header }),
      data: (bytes, position) => queue.push({ kind: 'data', bytes, position }),
      done: () => queue.push({ kind: 'done' }),
    },
    { encoding },
  );
  for await (const chunk of source) {
    parser.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    const ready = queue;
    queue = [];
    yield* ready;
    if (own) release(chunk);
  }
  parser.end();
  yield* queue;
}

/**
 * Calls `onEntry` for each entry in turn. `content` gives the file's bytes (empty for all but files; holes of sparse files
 * as zeros); what is left of it unread is skipped. Trailing bytes after the archive are read and dropped.
 */
export async function readTar(
  source: AsyncIterable<Uint8Array>,
  onEntry: (header: TarHeader, content: AsyncIterable<Uint8Array>) => Promise<void>,
  options: ReadOptions = {},
): Promise<void> {
  const stream = pieces(source, options);
  try {
    for (let next = await stream.next(); !next.done; next = await stream.next()) {
      if (next.value.kind !== 'entry') continue;
      const content = contentOf(stream, next.value.header);
      await onEntry(next.value.header, content);
      for await (const _ of content);
    }
  } finally {
    await stream.return();
  }
}

const ZEROS = Buffer.alloc(64 << 10);

function* zeros(count: number): Generator<Buffer> {
  for (let left = count; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, Math.min(left, ZEROS.length));
}

function contentOf(stream: AsyncGenerator<Piece, void>, header: TarHeader): AsyncIterable<Uint8Array> {
  let position = 0;
  let ended = false;
  async function* take(): AsyncGenerator<Uint8Array> {
    while (!ended) {
      const next = await stream.next();
      ended = next.done === true || next.value.kind === 'done';
      if (next.done || next.value.kind !== 'data') continue;
      if (next.value.position > position) yield* zeros(next.value.position - position);
      position = next.value.position + next.value.bytes.length;
      yield next.value.bytes;
    }
    if (position < header.size) yield* zeros(header.size - position);
    position = header.size;
  }
  return { [Symbol.asyncIterator]: take };
}
