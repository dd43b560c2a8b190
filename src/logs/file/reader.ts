/** Reads a log's files in batches of entries: the newest lines from the end, then forward, then along with the writer. */
import type { LogEntry, ReadOptions } from '../port.ts';
import type { RotatingFile } from './rotating-file.ts';
import { type Source, openSource, openSources } from './source.ts';

/** How records lie in a file. */
export interface RecordFormat {
  /** Entries of the whole records in a block (which it may change), and how many bytes they took. */
  decode(block: Buffer): { entries: LogEntry[]; consumed: number };
  /** Where the last `count` records begin, and how many there are at most. */
  tail(source: Source, count: number): Promise<{ offset: number; found: number }>;
}

const BLOCK = 256 << 10;
/** A record longer than this is no record of ours. */
const LARGEST = 16 << 20;

export interface FileLog {
  path: string;
  format: RecordFormat;
  /** The writer, while there is one. */
  live: RotatingFile | undefined;
}

export async function* readLog(log: FileLog, options: ReadOptions): AsyncGenerator<LogEntry[]> {
  const { live } = log;
  const open = openSources(log.path);
  let generation = live?.generation ?? 0;
  try {
    const start = await startOf(open, log.format, options.tail);
    for (let index = start.index; index < open.length - 1; index++) {
      const offset = index === start.index ? start.offset : 0;
      for await (const batch of forward(open[index]!, log.format, offset)) {
        const { wanted, past } = sift(batch, options);
        if (wanted.length) yield wanted;
        if (past || options.signal?.aborted) return;
      }
    }
    let offset = start.index === open.length - 1 ? start.offset : 0;
    for (let current = open.at(-1); current;) {
      // What is looked at before the read says whether the read's end is the file's end.
      const version = live?.version ?? 0;
      const last = !options.follow || !live || live.closed || live.generation !== generation;
      const before = offset;
      for await (const batch of forward(current, log.format, offset, (end) => (offset = end))) {
        const { wanted, past } = sift(batch, options);
        if (wanted.length) yield wanted;
        if (past || options.signal?.aborted) return;
      }
      if (options.signal?.aborted) return;
      if (!last) {
        if (offset === before) await live.changedSince(version, options.signal);
        continue;
      }
      if (!options.follow || !live || live.generation === generation) return;
      const next = nextSource(log.path, live, ++generation);
      current.close();
      open.pop();
      current = next?.source;
      generation = next?.generation ?? generation;
      if (current) open.push(current);
      offset = 0;
    }
  } finally {
    for (const source of open) source.close();
  }
}

/** The file of this generation, or the oldest that is left when the writer was faster. */
function nextSource(
  path: string,
  live: RotatingFile,
  generation: number,
): { source: Source; generation: number } | undefined {
  for (let wanted = generation; wanted <= live.generation; wanted++) {
    const source = openSource(path, live.generation - wanted);
    if (source) return { source, generation: wanted };
  }
  return undefined;
}

async function startOf(
  sources: Source[],
  format: RecordFormat,
  tail: number,
): Promise<{ index: number; offset: number }> {
  if (tail < 0) return { index: 0, offset: 0 };
  let wanted = tail;
  for (let index = sources.length - 1; index >= 0; index--) {
    const { offset, found } = await format.tail(sources[index]!, wanted);
    wanted -= found;
    if (wanted <= 0 || index === 0) return { index, offset };
  }
  return { index: 0, offset: 0 };
}

async function* forward(
  source: Source,
  format: RecordFormat,
  from: number,
  progress?: (offset: number) => void,
): AsyncGenerator<LogEntry[]> {
  let offset = from;
  for (let size = BLOCK; ;) {
    const block = await source.read(offset, size);
    if (!block.length) return;
    const { entries, consumed } = format.decode(block);
    if (!consumed) {
      if (block.length < size || size > LARGEST) return;
      size *= 2;
      continue;
    }
    offset += consumed;
    size = BLOCK;
    progress?.(offset);
    if (entries.length) yield entries;
    if (block.length < size) return;
  }
}

/** Only what was asked for. `past` when what follows is later than `until`. */
function sift(batch: LogEntry[], options: ReadOptions): { wanted: LogEntry[]; past: boolean } {
  const { stdout, stderr, sinceNano, untilNano } = options;
  if (stdout && stderr && sinceNano === undefined && untilNano === undefined) return { wanted: batch, past: false };
  const wanted = batch.filter(
    (entry) =>
      options[entry.stream] &&
      (sinceNano === undefined || entry.timeNano >= sinceNano) &&
      (untilNano === undefined || entry.timeNano <= untilNano),
  );
  return { wanted, past: untilNano !== undefined && batch.at(-1)!.timeNano > untilNano };
}
