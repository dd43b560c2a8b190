/**
 * Records of the `local` format, as dockerd writes them: length u32 BE, protobuf LogEntry {source = 1, time_nano = 2,
 * line = 3, partial = 4}, length again, so that a file can be read from either end. Pure.
 */
import type { RecordFormat } from '../file/reader.ts';
import type { Source } from '../file/source.ts';
import type { LogEntry, LogStream } from '../port.ts';

const NEWLINE = 10;
/** Length before and after. */
const FRAME = 8;
const LARGEST = 4 << 20;

const TAG = { source: 0x0a, time: 0x10, line: 0x1a, partial: 0x20 } as const;

const varintSize = (value: number): number => (value < 0x80 ? 1 : value < 0x4000 ? 2 : 3);

function putVarint(target: Buffer, at: number, value: number): number {
  let rest = value;
  while (rest >= 0x80) {
    target[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[at++] = rest;
  return at;
}

/** What all records of one chunk have in common: source and time. */
export function recordHead(stream: LogStream, timeNano: bigint): Buffer {
  const bytes = [TAG.source, 6, ...Buffer.from(stream), TAG.time];
  let rest = BigInt.asUintN(64, timeNano);
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

export interface EncodedRecords {
  bytes: Buffer;
  /** End of each record. */
  ends: number[];
}

export function encodeRecords(parts: Buffer[], head: Buffer): EncodedRecords {
  const whole = parts.map((part) => part.at(-1) === NEWLINE);
  const lengths = parts.map((part, index) => {
    const line = part.length - (whole[index] ? 1 : 0);
    return head.length + (line ? 1 + varintSize(line) + line : 0) + (whole[index] ? 0 : 2);
  });
  const bytes = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + length + FRAME, 0));
  const ends: number[] = [];
  let at = 0;
  for (const [index, part] of parts.entries()) {
    const length = lengths[index]!;
    const line = part.length - (whole[index] ? 1 : 0);
    at = bytes.writeUInt32BE(length, at);
    at += head.copy(bytes, at);
    if (line) {
      bytes[at++] = TAG.line;
      at = putVarint(bytes, at, line);
      at += part.copy(bytes, at, 0, line);
    }
    if (!whole[index]) {
      bytes[at++] = TAG.partial;
      bytes[at++] = 1;
    }
    at = bytes.writeUInt32BE(length, at);
    ends.push(at);
  }
  return { bytes, ends };
}

function readVarint(bytes: Buffer, at: number): { value: bigint; next: number } {
  let value = 0n;
  for (let shift = 0n; ; shift += 7n) {
    const byte = bytes[at++];
    if (byte === undefined || shift > 63n) throw new RangeError('the number is cut short');
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return { value, next: at };
  }
}

/** One record at [from, to) of the block. The newline of a whole line is put in place of the length that follows it. */
function decodeRecord(block: Buffer, from: number, to: number): LogEntry {
  let stream: LogStream = 'stdout';
  let timeNano = 0n;
  let line: [number, number] = [from, from];
  let partial = false;
  for (let at = from; at < to;) {
    const tag = block[at]!;
    const { value, next } = readVarint(block, at + 1);
    at = next;
    if ((tag & 7) === 2) {
      const end = at + Number(value);
      if (end > to) throw new RangeError('the field is cut short');
      if (tag === TAG.source && block.toString('latin1', at, end) === 'stderr') stream = 'stderr';
      if (tag === TAG.line) line = [at, end];
      at = end;
    } else if (tag === TAG.time) timeNano = BigInt.asIntN(64, value);
    else if (tag === TAG.partial) partial = value !== 0n;
    else if ((tag & 7) !== 0) throw new RangeError('the field is not known');
  }
  if (partial) return { stream, timeNano, line: block.subarray(...line) };
  if (line[1] !== to) return { stream, timeNano, line: Buffer.concat([block.subarray(...line), Buffer.from('\n')]) };
  block[to] = NEWLINE;
  return { stream, timeNano, line: block.subarray(line[0], to + 1) };
}

/** Length of the record at `at`, if it is whole; undefined when more bytes are needed, 0 when it is damaged. */
function lengthAt(block: Buffer, at: number): number | undefined {
  if (block.length - at < 4) return undefined;
  const length = block.readUInt32BE(at);
  if (!length || length > LARGEST) return 0;
  if (block.length - at < length + FRAME) return undefined;
  return block.readUInt32BE(at + 4 + length) === length ? length : 0;
}

export function decodeRecords(block: Buffer): { entries: LogEntry[]; consumed: number } {
  const entries: LogEntry[] = [];
  let at = 0;
  for (let length = lengthAt(block, at); length; length = lengthAt(block, at)) {
    try {
      entries.push(decodeRecord(block, at + 4, at + 4 + length));
    } catch {
      // The frame is whole, so the next record is found all the same.
    }
    at += length + FRAME;
  }
  return { entries, consumed: at };
}

/** Bytes of whole records from the beginning; where a crash left less, the file is cut. */
export function wholeRecords(file: Buffer): number {
  let at = 0;
  for (let length = lengthAt(file, at); length; length = lengthAt(file, at)) at += length + FRAME;
  return at;
}

async function tail(source: Source, count: number): Promise<{ offset: number; found: number }> {
  let end = await source.size();
  let found = 0;
  const WINDOW = 64 << 10;
  while (end >= FRAME && found < count) {
    const start = Math.max(0, end - WINDOW);
    const block = await source.read(start, end - start);
    let at = block.length;
    while (at >= FRAME && found < count) {
      const length = block.readUInt32BE(at - 4) + FRAME;
      if (length > at) break;
      at -= length;
      found++;
    }
    // No record in a whole window: the file is damaged, and is read from here on.
    if (at === block.length) return { offset: start, found };
    end = start + at;
  }
  return { offset: end, found };
}

export const localFormat: RecordFormat = { decode: decodeRecords, tail };
