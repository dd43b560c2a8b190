/** Writes a container's output as json-file: one encoding and one write a chunk. */
import { readSync, writeSync } from 'node:fs';
import { type Clock, nowNano } from '../../lib/clock.ts';
import { RotatingFile } from '../file/rotating-file.ts';
import { LineSplitter, allShort, partsOf } from '../line-splitter.ts';
import type { FileOptions } from '../options.ts';
import type { LogStream, LogWriter } from '../port.ts';
import { formatGo } from '../time.ts';
import { encodeLines, encodePart } from './encode.ts';

export interface JsonWriterOptions extends FileOptions {
  path: string;
  clock: Clock;
  attributes: Record<string, string>;
  onError: (error: unknown) => void;
}

/** A line that a crash cut short gets its end, so that the next one is not lost with it. */
function endLastLine(fd: number, size: number): void {
  if (!size) return;
  const last = Buffer.alloc(1);
  readSync(fd, last, 0, 1, size - 1);
  if (last[0] !== 10) writeSync(fd, '\n');
}

export class JsonFileWriter implements LogWriter {
  readonly file: RotatingFile;
  #clock: Clock;
  #attributes: string;
  #splitters = { stdout: new LineSplitter(), stderr: new LineSplitter() };

  constructor(options: JsonWriterOptions) {
    this.#clock = options.clock;
    this.#attributes = Object.keys(options.attributes).length ? JSON.stringify(options.attributes) : '';
    this.file = new RotatingFile({ ...options, repair: endLastLine });
  }

  write(stream: LogStream, chunk: Uint8Array): undefined {
    const { lines, parts } = this.#splitters[stream].push(chunk);
    if (!lines.length && !parts.length) return;
    const time = formatGo(nowNano(this.#clock));
    const whole = lines.length ? this.#encode(lines, stream, time) : undefined;
    this.#append(whole, parts, stream, time);
  }

  #encode(lines: Buffer, stream: LogStream, time: string): Buffer {
    if (allShort(lines)) return encodeLines(lines, stream, this.#attributes, time);
    return Buffer.concat(partsOf(lines).map((part) => encodePart(part, stream, this.#attributes, time)));
  }

  #append(whole: Buffer | undefined, parts: Buffer[], stream: LogStream, time: string): void {
    const encoded = parts.map((part) => encodePart(part, stream, this.#attributes, time));
    const records = whole && !encoded.length ? whole : Buffer.concat(whole ? [whole, ...encoded] : encoded);
    this.file.append(records, (at) => records.indexOf(10, Math.max(at - 1, 0)) + 1);
  }

  async close(): Promise<void> {
    if (this.file.closed) return;
    for (const stream of ['stdout', 'stderr'] as const) {
      const rest = this.#splitters[stream].end();
      if (rest.length) this.#append(undefined, [rest], stream, formatGo(nowNano(this.#clock)));
    }
    await this.file.close();
  }
}
