/** What a new daemon must know to find a container again: one small file each, written before the shim is asked. */
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface TaskEntry {
  id: string;
  bundle: string;
  shim: string;
  /** Path of the OCI runtime. */
  runtime: string;
}

export class TaskRegistry {
  #directory: string;
  #entries = new Map<string, TaskEntry>();

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    for (const file of readdirSync(directory)) {
      try {
        const entry = JSON.parse(readFileSync(join(directory, file), 'utf8')) as TaskEntry;
        this.#entries.set(entry.id, entry);
      } catch {
        // Cut short by a crash, so its container was never asked for.
        rmSync(join(directory, file), { force: true });
      }
    }
  }

  get(id: string): TaskEntry | undefined {
    return this.#entries.get(id);
  }

  put(entry: TaskEntry): void {
    this.#entries.set(entry.id, entry);
    writeFileSync(join(this.#directory, `${entry.id}.json`), JSON.stringify(entry));
  }

  remove(id: string): void {
    if (this.#entries.delete(id)) rmSync(join(this.#directory, `${id}.json`), { force: true });
  }

  ids(): string[] {
    return [...this.#entries.keys()];
  }

  ofShim(shim: string): string[] {
    return [...this.#entries.values()].filter((entry) => entry.shim === shim).map((entry) => entry.id);
  }
}
