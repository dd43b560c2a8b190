/** A queue one side writes and the other reads as an async iterable; ends by `end` or when the reader leaves. */
export class Queue<T> implements AsyncIterable<T> {
  #items: T[] = [];
  #ended = false;
  #wake: (() => void) | undefined;
  #onReturn: () => void;

  constructor(onReturn: () => void = () => {}) {
    this.#onReturn = onReturn;
  }

  push(item: T): void {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  get length(): number {
    return this.#items.length;
  }

  /** Resolves when there is an item or the end. */
  async ready(): Promise<void> {
    while (!this.#items.length && !this.#ended) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return {
      next: async () => {
        await this.ready();
        const [item] = this.#items.splice(0, 1);
        return item === undefined ? { done: true, value: undefined } : { done: false, value: item };
      },
      return: async () => {
        this.end();
        this.#items = [];
        this.#onReturn();
        return { done: true, value: undefined };
      },
    };
  }
}
