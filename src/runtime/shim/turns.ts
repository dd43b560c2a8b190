/** Work that goes one at a time, in the order it came, but for what is urgent. */
export class Turns {
  #running = false;
  #waiting: (() => void)[] = [];

  async run<T>(work: () => Promise<T>, urgent = false): Promise<T> {
    if (this.#running)
      await new Promise<void>(
        (resolve) => void (urgent ? this.#waiting.unshift(resolve) : this.#waiting.push(resolve)),
      );
    this.#running = true;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      // The turn passes from one to the next: nobody who comes in between takes it.
      if (next) next();
      else this.#running = false;
    }
  }
}
