/** A queue of progress lines between a transfer and the answer that streams them. */
import type { ProgressLine } from './view.ts';

/** A client that reads slowly loses figures, never statuses. */
const MOST_WAITING = 256;

export class Lines implements AsyncIterable<ProgressLine> {
  #waiting: ProgressLine[] = [];
  #wake: () => void = () => {};
  #ended = false;
  #error: unknown;
  #onLeave: () => void;

  /** `onLeave` is called when the reader goes before the end. */
  constructor(onLeave: () => void) {
    this.#onLeave = onLeave;
  }

  push(line: ProgressLine): void {
    if (this.#ended || (line.progress !== undefined && this.#waiting.length >= MOST_WAITING)) return;
    this.#waiting.push(line);
    this.#wake();
  }

  end(error?: unknown): void {
    this.#ended = true;
    this.#error = error;
    this.#wake();
  }

  async #ready(): Promise<void> {
    while (this.#waiting.length === 0 && !this.#ended) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** Resolves when there is something to read; throws when it failed before. */
  async first(): Promise<void> {
    await this.#ready();
    if (this.#waiting.length === 0 && this.#error !== undefined) throw this.#error;
  }

  [Symbol.asyncIterator](): AsyncIterator<ProgressLine> {
    return {
      next: async () => {
        await this.#ready();
        const line = this.#waiting.shift();
        if (line) return { done: false, value: line };
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      },
      return: async () => {
        if (!this.#ended) {
          this.end();
          this.#onLeave();
        }
        return { done: true, value: undefined };
      },
    };
  }
}
