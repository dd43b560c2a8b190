/** Tags and digests of images, in memory and in the store, found from either side. References are canonical. */
import type { Collection, Store } from '../../store/port.ts';
import type { ReferenceRecord } from './record.ts';

/** One kind of reference. */
export class Names {
  #stored: Collection<ReferenceRecord>;
  #ids = new Map<string, string>();
  /** Made anew after a change: many reads share one pass. */
  #byId: Map<string, string[]> | undefined;

  constructor(store: Store, collection: string) {
    this.#stored = store.collection(collection);
    for (const { id: reference, record } of this.#stored.all()) this.#ids.set(reference, record.id);
  }

  get(reference: string): string | undefined {
    return this.#ids.get(reference);
  }

  /** Sorted. */
  of(id: string): readonly string[] {
    this.#byId ??= grouped(this.#ids);
    return this.#byId.get(id) ?? [];
  }

  /** Returns the id that had the name before. */
  set(reference: string, id: string): string | undefined {
    const before = this.#ids.get(reference);
    if (before === id) return before;
    this.#ids.set(reference, id);
    this.#stored.put(reference, { id });
    this.#byId = undefined;
    return before;
  }

  delete(reference: string): void {
    if (!this.#ids.delete(reference)) return;
    this.#stored.delete(reference);
    this.#byId = undefined;
  }

  /** Drops the names of images that are not there. */
  keepOnly(exists: (id: string) => boolean): void {
    for (const [reference, id] of this.#ids) if (!exists(id)) this.delete(reference);
  }
}

/** Keys by their value, sorted. */
export function grouped(pairs: Iterable<readonly [string, string]>): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const [key, value] of pairs) {
    const group = groups.get(value);
    if (group) group.push(key);
    else groups.set(value, [key]);
  }
  for (const group of groups.values()) group.sort();
  return groups;
}
