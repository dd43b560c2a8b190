/**
 * Deletes host links of containers that are gone, beside everything else: the kernel takes its time over each, and nobody
 * needs to wait for it. Those that come together go in one batch. Their addresses are free only afterwards.
 */
export class Teardown {
  #links: string[] = [];
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #remove: (links: readonly string[]) => Promise<void>;

  constructor(remove: (links: readonly string[]) => Promise<void>) {
    this.#remove = remove;
  }

  /** Resolves when the links are gone. Never rejects: whatever stays is swept at the next boot. */
  delete(links: readonly string[]): Promise<void> {
    if (links.length === 0) return Promise.resolve();
    this.#links.push(...links);
    if (!this.#running) return this.#start();
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      return this.#start();
    });
    return this.#next;
  }

  #start(): Promise<void> {
    const run = Promise.resolve()
      .then(() => this.#remove(this.#links.splice(0)))
      .catch(() => {})
      .finally(() => {
        if (this.#running === run) this.#running = undefined;
      });
    this.#running = run;
    return run;
  }

  /** True when something was still to be waited for. */
  async settled(): Promise<boolean> {
    let waited = false;
    for (let current = this.#next ?? this.#running; current; current = this.#next ?? this.#running) {
      waited = true;
      await current;
    }
    return waited;
  }
}
