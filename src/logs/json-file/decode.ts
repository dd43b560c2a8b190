/** Entries out of json-file lines. Lines as we write them are cut, not parsed; whatever differs is parsed. */
import type { RecordFormat } from '../file/reader.ts';
import type { Source } from '../file/source.ts';
import type { LogEntry, LogStream } from '../port.ts';
import { parseNano } from '../time.ts';

const NEWLINE = 10;
const PREFIX = '{"log":"';
const STREAM = '","stream":"';
/** After the six letters of `stdout` or `stderr`. */
const TIME = '","time":"';

class CutEntry implements LogEntry {
  readonly stream: LogStream;
  readonly line: Buffer;
  #time: string;

  constructor(stream: LogStream, line: Buffer, time: string) {
    this.stream = stream;
    this.line = line;
    this.#time = time;
  }

  /** Most readers never ask. */
  get timeNano(): bigint {
    return parseNano(this.#time);
  }
}

/** `text` is the block in latin1, so that its indices are the block's. Undefined when the line is not of the plain form. */
function cut(block: Buffer, text: string, at: number, end: number): LogEntry | undefined {
  if (!text.startsWith(PREFIX, at)) return undefined;
  const from = at + PREFIX.length;
  // A quote within the log is escaped, so the first of these is its end.
  const to = text.indexOf(STREAM, from);
  if (to < 0 || to > end) return undefined;
  const stream = to + STREAM.length;
  if (!text.startsWith(TIME, stream + 6)) return undefined;
  const time = stream + 6 + TIME.length;
  if (text.charCodeAt(end - 1) !== 0x7d || text.charCodeAt(end - 2) !== 0x22) return undefined;
  let last = to;
  const backslash = text.indexOf('\\', from);
  if (backslash >= 0 && backslash < to) {
    if (backslash !== to - 2 || text.charCodeAt(to - 1) !== 0x6e) return undefined;
    // The line's one escape is the newline at its end: it becomes one in place.
    block[backslash] = NEWLINE;
    last = to - 1;
  }
  const name = text.charCodeAt(stream + 3) === 0x6f ? 'stdout' : 'stderr';
  return new CutEntry(name, block.subarray(from, last), text.slice(time, end - 2));
}

function parse(line: string): LogEntry | undefined {
  try {
    const { log, stream, time, attrs } = JSON.parse(line) as Record<string, unknown>;
    if (typeof log !== 'string' || typeof time !== 'string') return undefined;
    return {
      stream: stream === 'stderr' ? 'stderr' : 'stdout',
      line: Buffer.from(log),
      timeNano: parseNano(time),
      attributes: attrs as Record<string, string> | undefined,
    };
  } catch {
    // Cut short by a crash.
    return undefined;
  }
}

export function decodeLines(block: Buffer): { entries: LogEntry[]; consumed: number } {
  const entries: LogEntry[] = [];
  const text = block.toString('latin1');
  let at = 0;
  for (let end = text.indexOf('\n'); end >= 0; at = end + 1, end = text.indexOf('\n', at)) {
    const entry = cut(block, text, at, end) ?? parse(block.toString('utf8', at, end));
    if (entry) entries.push(entry);
  }
  return { entries, consumed: at };
}

const BLOCK = 64 << 10;

/** Counts newlines from the end of the file. */
async function tail(source: Source, count: number): Promise<{ offset: number; found: number }> {
  let end = await source.size();
  if (count <= 0) return { offset: end, found: 0 };
  let found = 0;
  // The newline that ends the last line begins no further one.
  let first = true;
  while (end > 0) {
    const start = Math.max(0, end - BLOCK);
    const block = await source.read(start, end - start);
    let from = block.length - 1;
    if (first && block[from] === NEWLINE) from--;
    first = false;
    for (
      let at = from < 0 ? -1 : block.lastIndexOf(NEWLINE, from);
      at >= 0;
      at = at ? block.lastIndexOf(NEWLINE, at - 1) : -1
    ) {
      if (++found === count) return { offset: start + at + 1, found };
    }
    if (start === 0) return { offset: 0, found: found + 1 };
    end = start;
  }
  return { offset: 0, found };
}

export const jsonFormat: RecordFormat = { decode: decodeLines, tail };
