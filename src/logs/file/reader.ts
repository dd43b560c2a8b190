/**
 * Reads a log's files in batches of entries: the newest lines from the end, then forward, then along with the writer. While a reader
 * waits for its client nothing of a batch is held but what the client is to get: there may be thousands of them.
 */
import type { LogEntry, ReadOptions } from '../port.ts';
import { BLOCK, withBlock } from './blocks.ts';
import type { RotatingFile } from './rotating-file.ts';
import { type Source, openSource, openSources } from './source.ts';

/** How records lie in a file. */
export interface RecordFormat {
  /** Entries of the whole records in a block (which it may change), and how many bytes they took. */
  decode(block: Buffer): { entries: LogEntry[]; consumed: number };
  /** Where the last `count` records begin, and how many there are at most. */
  tail(source: Source, count: number): Promise<{ offset: number; found: number }>;
}

/** A record longer than this is no record of ours. */
const LARGEST = 16 << 20;

export interface FileLog {
  path: string;
  format: RecordFormat;
  /** The writer, while there is one. */
  live: RotatingFile | undefined;
}

/** What becomes of a batch that has anything wanted in it. Its lines lie in memory that is used again: it copies what it wants. */
export type Make<T> = (batch: LogEntry[]) => T;

export async function* readLog<T>(log: FileLog, options: ReadOptions, make: Make<T>): AsyncGenerator<T> {
  const { live } = log;
  // Who does not follow gets what there is now: lines that come meanwhile would make a tail longer than it was asked to be.
  const open = openSources(log.path, !options.follow);
  let generation = live?.generation ?? 0;
  const stops = (past: boolean): boolean => past || options.signal?.aborted === true;
  try {
    const start = await startOf(open, log.format, options.tail);
    for (let index = start.index; index < open.length - 1; index++) {
      const offset = index === start.index ? start.offset : 0;
      for await (const step of forward(open[index]!, log.format, { from: offset, options, make })) {
        if (step.made !== undefined) yield step.made;
        if (stops(step.past)) return;
      }
    }
    let offset = start.index === open.length - 1 ? start.offset : 0;
    for (let current = open.at(-1); current;) {
      // What is looked at before the read says whether the read's end is the file's end.
      const version = live?.version ?? 0;
      const last = !options.follow || !live || live.closed || live.generation !== generation;
      const before = offset;
      for await (const step of forward(current, log.format, { from: offset, options, make })) {
        offset = step.offset;
        if (step.made !== undefined) yield step.made;
        if (stops(step.past)) return;
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

interface Course<T> {
  from: number;
  options: ReadOptions;
  make: Make<T>;
}

interface Step<T> {
  /** Where the next record begins. */
  offset: number;
  /** Undefined when nothing of the block was wanted. */
  made: T | undefined;
  past: boolean;
}

async function* forward<T>(source: Source, format: RecordFormat, course: Course<T>): AsyncGenerator<Step<T>> {
  let offset = course.from;
  for (let size = BLOCK; ;) {
    const { read, consumed, made, past } = await take(source, format, { ...course, from: offset, size });
    if (!read) return;
    if (!consumed) {
      if (read < size || size > LARGEST) return;
      size *= 2;
      continue;
    }
    offset += consumed;
    yield { offset, made, past };
    if (read < size) return;
    size = BLOCK;
  }
}

/** On its own, so that block and entries are let go before anybody waits. */
const take = <T>(
  source: Source,
  format: RecordFormat,
  { from, size, options, make }: Course<T> & { size: number },
): Promise<{ read: number; consumed: number; made: T | undefined; past: boolean }> =>
  withBlock(size, async (memory) => {
    const block = await source.read(from, size, memory);
    const { entries, consumed } = format.decode(block);
    const { wanted, past } = sift(entries, options);
    return { read: block.length, consumed, made: wanted.length ? make(wanted) : undefined, past };
  });

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
  const last = batch.at(-1);
  return { wanted, past: untilNano !== undefined && last !== undefined && last.timeNano > untilNano };
}
