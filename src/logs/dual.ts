/** A log that goes elsewhere, with a copy that can be read back. */
import type { LogStream, LogWriter } from './port.ts';

export class DualWriter implements LogWriter {
  #main: LogWriter;
  #copy: LogWriter;
  #onError: (error: unknown) => void;

  constructor(main: LogWriter, copy: LogWriter, onError: (error: unknown) => void) {
    this.#main = main;
    this.#copy = copy;
    this.#onError = onError;
  }

  write(stream: LogStream, chunk: Uint8Array): Promise<void> | undefined {
    try {
      void this.#copy.write(stream, chunk);
    } catch (error) {
      this.#onError(error);
    }
    return this.#main.write(stream, chunk);
  }

  async close(): Promise<void> {
    await Promise.all([this.#copy.close(), this.#main.close()]);
  }
}
