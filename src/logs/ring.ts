/** Non-blocking mode: what the log does not take at once waits in memory, and what finds no room there is lost. */
import type { LogStream, LogWriter } from './port.ts';

export class RingWriter implements LogWriter {
  #inner: LogWriter;
  #limit: number;
  #queue: { stream: LogStream; chunk: Uint8Array }[] = [];
  #bytes = 0;
  #draining: Promise<void> | undefined;
  #onError: (error: unknown) => void;
  /** Chunks that were lost. */
  dropped = 0;

  constructor(inner: LogWriter, limit: number, onError: (error: unknown) => void) {
    this.#inner = inner;
    this.#limit = limit;
    this.#onError = onError;
  }

  write(stream: LogStream, chunk: Uint8Array): undefined {
    // One chunk always finds room, however large it is.
    if (this.#bytes && this.#bytes + chunk.length > this.#limit) {
      this.dropped++;
      return;
    }
    this.#queue.push({ stream, chunk });
    this.#bytes += chunk.length;
    this.#draining ??= this.#drain().finally(() => (this.#draining = undefined));
  }

  async #drain(): Promise<void> {
    for (let next = this.#queue[0]; next; next = this.#queue[0]) {
      try {
        await this.#inner.write(next.stream, next.chunk);
      } catch (error) {
        this.#onError(error);
      }
      this.#queue.shift();
      this.#bytes -= next.chunk.length;
    }
  }

  async close(): Promise<void> {
    await this.#draining;
    await this.#inner.close();
  }
}
