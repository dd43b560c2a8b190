/** A queue one side writes and the other reads as an async iterable; ends by `end` or when the reader leaves. */
export class Queue<T> implements AsyncIterable<T> {
  #items: T[] = [];
  #head = 0;
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
    return this.#items.length - this.#head;
  }

  /** Resolves when there is an item or the end. */
  async ready(): Promise<void> {
    while (!this.length && !this.#ended) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** The array is cut now and then only: shifting it for each item would be quadratic. */
  #take(): T {
    const item = this.#items[this.#head++]!;
    if (this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  #takeAll(): T[] {
    const items = this.#items.slice(this.#head);
    this.#items = [];
    this.#head = 0;
    return items;
  }

  #read<R>(take: () => Promise<R>): AsyncIterator<R> {
    return {
      next: async () => {
        await this.ready();
        return this.length ? { done: false, value: await take() } : { done: true, value: undefined };
      },
      return: async () => {
        this.end();
        this.#takeAll();
        this.#onReturn();
        return { done: true, value: undefined };
      },
    };
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return this.#read(async () => this.#take());
  }

  /** The items as they come, but all that one turn of the event loop brings together. */
  batches(): AsyncIterable<T[]> {
    const take = async (): Promise<T[]> => {
      // When all that follows from promises is done, and before anything else comes in.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      return this.#takeAll();
    };
    return { [Symbol.asyncIterator]: () => this.#read(take) };
  }
}
