/** Writes a container's output in the `local` format. */
import { ftruncateSync, readSync } from 'node:fs';
import { type Clock, nowNano } from '../../lib/clock.ts';
import { RotatingFile } from '../file/rotating-file.ts';
import { LineSplitter, partsOf } from '../line-splitter.ts';
import type { FileOptions } from '../options.ts';
import type { LogStream, LogWriter } from '../port.ts';
import { encodeRecords, recordHead, wholeRecords } from './codec.ts';

export interface LocalWriterOptions extends FileOptions {
  path: string;
  clock: Clock;
  onError: (error: unknown) => void;
}

/** Cuts off a record that a crash left half written. */
function cutLastRecord(fd: number, size: number): void {
  if (!size) return;
  const file = Buffer.alloc(size);
  readSync(fd, file, 0, size, 0);
  const whole = wholeRecords(file);
  if (whole < size) ftruncateSync(fd, whole);
}

export class LocalWriter implements LogWriter {
  readonly file: RotatingFile;
  #clock: Clock;
  #splitters = { stdout: new LineSplitter(), stderr: new LineSplitter() };

  constructor(options: LocalWriterOptions) {
    this.#clock = options.clock;
    this.file = new RotatingFile({ ...options, repair: cutLastRecord });
  }

  write(stream: LogStream, chunk: Uint8Array): undefined {
    const { lines, parts } = this.#splitters[stream].push(chunk);
    this.#append(stream, [...partsOf(lines), ...parts]);
  }

  #append(stream: LogStream, parts: Buffer[]): void {
    if (!parts.length) return;
    const { bytes, ends } = encodeRecords(parts, recordHead(stream, nowNano(this.#clock)));
    this.file.append(bytes, (at) => ends.find((end) => end >= at) ?? bytes.length);
  }

  async close(): Promise<void> {
    if (this.file.closed) return;
    for (const stream of ['stdout', 'stderr'] as const) {
      const rest = this.#splitters[stream].end();
      if (rest.length) this.#append(stream, [rest]);
    }
    await this.file.close();
  }
}
