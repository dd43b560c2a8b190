import type { Fact } from '../bus/fact.ts';

/** Durable records by collection and id, each a JSON-able object. Reads see what was written in this process at once. */
export interface Collection<T extends object> {
  get(id: string): T | undefined;
  all(): { id: string; record: T }[];
  /** Enqueues the write; it becomes durable with the next group commit (see Store.durable). */
  put(id: string, record: T): void;
  delete(id: string): void;
}

export interface JournalQuery {
  /** Only facts after this position. */
  afterSeq?: number;
  /** Only facts before this position. */
  beforeSeq?: number;
  /** Only the fact at this position. */
  seq?: number;
  sinceNano?: bigint;
  untilNano?: bigint;
  topics?: readonly string[];
  /** Only facts of this object. */
  id?: string;
  /** The newest `limit` facts that match, in ascending order. */
  limit?: number;
  /** The oldest so many instead: a page of all that match, the next of which comes after its last. */
  page?: number;
}

export interface Journal {
  append(fact: Fact): void;
  read(query: JournalQuery): Fact[];
  readonly lastSeq: number;
  /** Rows kept now. */
  readonly size: number;
  /** Deletes what is older than `beforeNano` and all but the newest `keep` rows. Returns the number deleted. */
  prune(limits: { keep: number; beforeNano: bigint }): number;
}

/**
 * Records and journal in one transaction: what is written between two commits becomes durable together or not at all.
 * Errors: a failed commit rejects every waiting `durable` with kind `internal` (code `store`), and is tried again with
 * the next one; nothing is dropped.
 */
export interface Store {
  collection<T extends object>(name: string): Collection<T>;
  readonly journal: Journal;
  /** Records of an earlier life are lost: what no record names may still be somebody's, so nothing is swept away for that. */
  readonly incomplete: boolean;
  /** Resolves when everything written so far is on disk. */
  durable(): Promise<void>;
  close(): void;
}
