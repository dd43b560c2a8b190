/** Cuts a stream's bytes into lines, and lines that are longer than 16 KiB into parts. Pure. */

/** Longest part of a line, as in dockerd's logs. */
export const MAX_PART = 16 << 10;

const NEWLINE = 10;
const NOTHING = Buffer.alloc(0);

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Where to cut a long line: at most MAX_PART, and not within a UTF-8 sequence (bytes that are no text are cut anywhere). */
export function cutAt(line: Buffer): number {
  if (line.length <= MAX_PART) return line.length;
  let at = MAX_PART;
  while (at > MAX_PART - 4 && (line[at]! & 0xc0) === 0x80) at--;
  return (line[at]! & 0xc0) === 0x80 ? MAX_PART : at;
}

/** True when no line of these is longer than a part may be. */
export function allShort(lines: Buffer): boolean {
  for (let at = 0; at < lines.length;) {
    if (lines.length - at <= MAX_PART) return true;
    const newline = lines.lastIndexOf(NEWLINE, at + MAX_PART);
    if (newline < at) return false;
    at = newline + 1;
  }
  return true;
}

/** The parts of whole lines, each with its "\n" unless it was cut. */
export function partsOf(lines: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0; at < lines.length;) {
    const newline = lines.indexOf(NEWLINE, at);
    const end = newline < 0 ? lines.length : newline + 1;
    while (end - at > MAX_PART + 1) {
      const cut = cutAt(lines.subarray(at, end));
      parts.push(lines.subarray(at, at + cut));
      at += cut;
    }
    parts.push(lines.subarray(at, end));
    at = end;
  }
  return parts;
}

export interface Split {
  /** Whole lines, one after the other. */
  lines: Buffer;
  /** Parts of a line that has not ended yet and is too long to wait for. */
  parts: Buffer[];
}

/** Holds one stream's unfinished line. */
export class LineSplitter {
  #rest: Buffer = NOTHING;

  push(chunk: Uint8Array): Split {
    const bytes = this.#rest.length ? Buffer.concat([this.#rest, chunk]) : asBuffer(chunk);
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    let rest = bytes.subarray(end);
    const parts: Buffer[] = [];
    while (rest.length > MAX_PART) {
      const cut = cutAt(rest);
      parts.push(rest.subarray(0, cut));
      rest = rest.subarray(cut);
    }
    // A copy, for the chunk it lies in is much larger.
    this.#rest = rest.length ? Buffer.from(rest) : NOTHING;
    return { lines: bytes.subarray(0, end), parts };
  }

  /** The unfinished line at the stream's end. */
  end(): Buffer {
    const rest = this.#rest;
    this.#rest = NOTHING;
    return rest;
  }
}
