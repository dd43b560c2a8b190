/** Feeds the lines of a container to something outside, one message a line. */
import { type Clock, nowNano } from '../../lib/clock.ts';
import { LineSplitter, partsOf } from '../line-splitter.ts';
import type { LogStream, LogWriter } from '../port.ts';

export interface Message {
  stream: LogStream;
  /** Without its "\n". */
  line: Buffer;
  /** A part of a longer line, with more to come. */
  partial: boolean;
  timeNano: bigint;
}

/** A protocol over a connection. */
export interface MessageSink {
  /** The promise, if any, says when the next message finds room. */
  send(message: Message): Promise<void> | undefined;
  close(): Promise<void>;
}

export class MessageWriter implements LogWriter {
  #sink: MessageSink;
  #clock: Clock;
  #splitters = { stdout: new LineSplitter(), stderr: new LineSplitter() };

  constructor(sink: MessageSink, clock: Clock) {
    this.#sink = sink;
    this.#clock = clock;
  }

  write(stream: LogStream, chunk: Uint8Array): Promise<void> | undefined {
    const { lines, parts } = this.#splitters[stream].push(chunk);
    return this.#send(stream, [...partsOf(lines), ...parts]);
  }

  #send(stream: LogStream, parts: Buffer[]): Promise<void> | undefined {
    let wait: Promise<void> | undefined;
    for (const part of parts) {
      const partial = part.at(-1) !== 10;
      const line = partial ? part : part.subarray(0, -1);
      wait = this.#sink.send({ stream, line, partial, timeNano: nowNano(this.#clock) }) ?? wait;
    }
    return wait;
  }

  async close(): Promise<void> {
    for (const stream of ['stdout', 'stderr'] as const) {
      const rest = this.#splitters[stream].end();
      if (rest.length) await this.#send(stream, [rest]);
    }
    await this.#sink.close();
  }
}
