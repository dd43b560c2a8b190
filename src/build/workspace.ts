/** A directory for work that is under way, made for the first who asks: a build that finds everything in the cache needs none. */
import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';

export class Workspace {
  /** Where it is, or will be. */
  readonly place: string;
  #isMade = false;

  constructor(place: string) {
    this.place = place;
  }

  get directory(): string {
    if (!this.#isMade) mkdirSync(this.place, { recursive: true, mode: 0o700 });
    this.#isMade = true;
    return this.place;
  }

  async remove(): Promise<void> {
    if (this.#isMade) await rm(this.place, { recursive: true, force: true });
  }
}
