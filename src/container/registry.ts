/** All containers by id and name: the one place where a reference becomes a record, and where changes are told. */
import { conflict, invalid, notFound } from '../errors.ts';
import { isFullId } from '../lib/ids.ts';
import type { ContainerRecord } from './record.ts';

export type Listener = (record: ContainerRecord | undefined) => void;

export class Registry {
  #records = new Map<string, ContainerRecord>();
  #names = new Map<string, string>();
  #listeners = new Map<string, Set<Listener>>();
  #onError: (error: unknown) => void;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  get size(): number {
    return this.#records.size;
  }

  get(id: string): ContainerRecord | undefined {
    return this.#records.get(id);
  }

  values(): Iterable<ContainerRecord> {
    return this.#records.values();
  }

  /** By full id, name, or unique id prefix. Throws invalid when several ids begin so. */
  find(reference: string): ContainerRecord | undefined {
    const exact = isFullId(reference) ? this.#records.get(reference) : undefined;
    if (exact) return exact;
    const id = this.#names.get(reference.replace(/^\//, ''));
    if (id !== undefined) return this.#records.get(id);
    return /^[0-9a-f]+$/.test(reference) ? this.#byPrefix(reference) : undefined;
  }

  #byPrefix(prefix: string): ContainerRecord | undefined {
    let found: ContainerRecord | undefined;
    for (const [id, record] of this.#records) {
      if (!id.startsWith(prefix)) continue;
      if (found) throw invalid(`multiple IDs found with provided prefix: ${prefix}`);
      found = record;
    }
    return found;
  }

  resolve(reference: string): ContainerRecord {
    const record = this.find(reference);
    if (!record) throw notFound(`No such container: ${reference}`);
    return record;
  }

  /** It is there, or is being made: its name is reserved. */
  knows(id: string): boolean {
    if (this.#records.has(id)) return true;
    for (const holder of this.#names.values()) if (holder === id) return true;
    return false;
  }

  isTaken = (name: string): boolean => this.#names.has(name);

  /** A name is taken before its container is made, in one turn of the loop. */
  reserve(name: string, id: string): void {
    const holder = this.#names.get(name);
    if (holder !== undefined && holder !== id)
      throw conflict(
        `Conflict. The container name "/${name}" is already in use by container "${holder}". ` +
          'You have to remove (or rename) that container to be able to reuse that name.',
        { code: 'name-in-use' },
      );
    this.#names.set(name, id);
  }

  release(name: string, id: string): void {
    if (this.#names.get(name) === id) this.#names.delete(name);
  }

  /** The newest record of a container. Its names follow it. */
  put(record: ContainerRecord): void {
    const before = this.#records.get(record.id);
    if (before && before.name !== record.name) this.release(before.name, record.id);
    this.#names.set(record.name, record.id);
    this.#records.set(record.id, record);
    if (before?.phase !== record.phase) this.#tell(record.id, record);
  }

  delete(record: ContainerRecord): void {
    this.#records.delete(record.id);
    this.release(record.name, record.id);
    this.#tell(record.id, undefined);
    this.#listeners.delete(record.id);
  }

  watch(id: string, listener: Listener): () => void {
    let listeners = this.#listeners.get(id);
    if (!listeners) this.#listeners.set(id, (listeners = new Set()));
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
      if (!listeners.size && this.#listeners.get(id) === listeners) this.#listeners.delete(id);
    };
  }

  #tell(id: string, record: ContainerRecord | undefined): void {
    for (const listener of [...(this.#listeners.get(id) ?? [])]) {
      try {
        listener(record);
      } catch (error) {
        this.#onError(error);
      }
    }
  }
}
