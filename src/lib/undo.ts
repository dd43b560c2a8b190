/**
 * Undo steps of a multi-step creation. Push one after each effect; `unwind` runs them in reverse when a later step
 * fails, `release` forgets them when all succeeded. A failing step is reported and does not stop the others.
 */
export class UndoStack {
  #steps: { name: string; undo: () => unknown }[] = [];

  push(name: string, undo: () => unknown): void {
    this.#steps.push({ name, undo });
  }

  release(): void {
    this.#steps = [];
  }

  async unwind(onError: (name: string, error: unknown) => void): Promise<void> {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step.undo();
      } catch (error) {
        onError(step.name, error);
      }
    }
  }
}
