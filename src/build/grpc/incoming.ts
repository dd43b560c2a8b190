/** The messages of one side of a call, as they come, for one reader. */
import type { Readable } from 'node:stream';
import { invalid } from '../../errors.ts';
import { FrameReader } from './frame.ts';

/** Bytes of whole messages that may wait for the reader before the other side has to. */
const ENOUGH = 1 << 20;

/**
 * Listens from the start: the other side may be through before anybody asks for its first message, and a stream that nobody reads is
 * thrown away with its data when it is reset. Who stops reading leaves the stream open: an answer may still be on its way.
 */
export class Incoming implements AsyncIterableIterator<Uint8Array> {
  #stream: Readable;
  #frames = new FrameReader();
  #messages: Uint8Array[] = [];
  #head = 0;
  #bytes = 0;
  #end: { error?: Error } | undefined;
  #wake: (() => void) | undefined;

  /** `broken` is the error of a stream that closed before its end. */
  constructor(stream: Readable, broken: () => Error) {
    this.#stream = stream;
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    stream.once('end', () =>
      this.#finish(this.#frames.rest ? { error: invalid('the stream ended in the middle of a message') } : {}),
    );
    stream.once('close', () => {
      if (!this.#end) this.#finish({ error: broken() });
    });
  }

  #take(chunk: Buffer): void {
    if (this.#end) return;
    try {
      for (const message of this.#frames.push(chunk)) {
        this.#messages.push(message);
        this.#bytes += message.length;
      }
    } catch (error) {
      return this.#finish({ error: error as Error });
    }
    if (this.#bytes > ENOUGH) this.#stream.pause();
    this.#wake?.();
  }

  #finish(end: { error?: Error }): void {
    this.#end ??= end;
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    while (this.#head === this.#messages.length) {
      if (this.#end?.error) throw this.#end.error;
      if (this.#end) return { done: true, value: undefined };
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const value = this.#messages[this.#head++]!;
    this.#bytes -= value.length;
    if (this.#head === this.#messages.length) {
      this.#messages = [];
      this.#head = 0;
    }
    if (this.#bytes <= ENOUGH && this.#stream.isPaused()) this.#stream.resume();
    return { done: false, value };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
