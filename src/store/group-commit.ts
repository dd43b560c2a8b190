/**
 * Writes go into a transaction that is committed once at the end of the tick, so what one turn of the event loop wrote becomes
 * durable together. The log is then synced beside the loop, not within the commit as with synchronous=FULL, which would hold up
 * everybody: one sync at a time covers all commits before it, and `durable` waits for one that began after its commit.
 */
import { closeSync, fdatasync, fdatasyncSync, openSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { deadlineExceeded, internal } from '../errors.ts';

export interface GroupCommitOptions {
  /** Of the database. */
  path: string;
  onError: (error: unknown) => void;
  /** fdatasync(2), beside the event loop. */
  sync?: (fd: number) => Promise<void>;
}

/** Longest wait between two attempts at a commit that fails, as on a full disk. */
const RETRY_MS = 1000;
/** Longest wait of what no one waits for: transitions and effects go along with the next record. */
const LAZY_MS = 20;
/** A disk that takes longer is told to who waits for it; the sync goes on. */
const SYNC_MS = 60_000;

interface Waiter {
  resolve: () => void;
  reject: (error: unknown) => void;
}

export class GroupCommit {
  readonly database: DatabaseSync;
  #path: string;
  #onError: (error: unknown) => void;
  #sync: (fd: number) => Promise<void>;
  #pending: (() => void)[] = [];
  /** For the next commit. */
  #waiters: Waiter[] = [];
  /** Committed; for the next sync. */
  #committed: Waiter[] = [];
  /** For the sync under way. */
  #current: Waiter[] = [];
  #unsynced = false;
  #syncing = false;
  /** The log may lack what a sync that failed was to write. */
  #doubtful = false;
  #log: number | undefined;
  #scheduled = false;
  #retry: NodeJS.Timeout | undefined;
  #later: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(database: DatabaseSync, { path, onError, sync }: GroupCommitOptions) {
    this.database = database;
    this.#path = path;
    this.#onError = onError;
    this.#sync = sync ?? promisify(fdatasync);
  }

  write(work: () => void): void {
    if (this.#closed) return;
    this.#pending.push(work);
    this.#schedule();
  }

  /** Like `write`, but no commit of its own as long as another comes soon. */
  writeSoon(work: () => void): void {
    if (this.#closed) return;
    this.#pending.push(work);
    if (this.#scheduled || this.#later) return;
    this.#later = setTimeout(() => this.#commit(), LAZY_MS);
    this.#later.unref();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#commit());
  }

  #commit(): void {
    this.#scheduled = false;
    if (this.#closed) return;
    clearTimeout(this.#retry);
    clearTimeout(this.#later);
    this.#later = undefined;
    const waiters = this.#waiters;
    this.#waiters = [];
    try {
      this.flush();
      this.#whenSynced(waiters);
    } catch (error) {
      this.#fail(waiters, error);
    }
  }

  /** All that these wait for is committed. */
  #whenSynced(waiters: readonly Waiter[]): void {
    if (this.#unsynced) {
      this.#committed.push(...waiters);
      if (!this.#syncing) void this.#syncAll();
    } else if (this.#syncing) {
      // It began after their commit.
      this.#current.push(...waiters);
    } else {
      for (const waiter of waiters) waiter.resolve();
    }
  }

  /** Never rejects. */
  async #syncAll(): Promise<void> {
    this.#syncing = true;
    const watch = setInterval(() => this.#refuse(), SYNC_MS);
    watch.unref();
    while (this.#unsynced && !this.#closed) {
      this.#current = this.#committed;
      this.#committed = [];
      this.#unsynced = false;
      try {
        if (this.#doubtful) this.#checkpoint();
        // Nobody but us has this file; it stays the same as long as the database is open.
        this.#log ??= openSync(`${this.#path}-wal`, 'r');
        await this.#sync(this.#log);
        for (const waiter of this.#current) waiter.resolve();
      } catch (error) {
        this.#unsynced = true;
        this.#doubtful = true;
        this.#fail(this.#current, error);
        break;
      }
    }
    clearInterval(watch);
    this.#syncing = false;
    if (this.#closed) this.#closeLog();
  }

  #refuse(): void {
    const message = `the disk has not written the daemon's records within ${SYNC_MS / 1000} s`;
    for (const waiter of [...this.#current, ...this.#committed]) waiter.reject(deadlineExceeded(message));
  }

  /** After a sync that failed the kernel takes its pages for written, and the next one succeeds without them: all goes into the database itself. */
  #checkpoint(): void {
    this.database.exec('PRAGMA wal_checkpoint(FULL)');
    this.#doubtful = false;
  }

  #closeLog(): void {
    if (this.#log !== undefined) closeSync(this.#log);
    this.#log = undefined;
  }

  #fail(waiters: readonly Waiter[], error: unknown): void {
    this.#onError(error);
    const message = `cannot write the daemon's records: ${(error as Error).message}`;
    const failure = internal(message, { code: 'store', cause: error });
    for (const waiter of waiters) waiter.reject(failure);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#schedule(), RETRY_MS);
    this.#retry.unref();
  }

  /** Commits what waits, now. What failed stays in line. */
  flush(): void {
    const work = this.#pending;
    if (!work.length) return;
    this.database.exec('BEGIN IMMEDIATE');
    try {
      for (const write of work) write();
      this.database.exec('COMMIT');
      this.#pending = [];
      this.#unsynced = true;
    } catch (error) {
      if (this.database.isTransaction) this.database.exec('ROLLBACK');
      throw error;
    }
  }

  durable(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#pending.length) {
      return new Promise((resolve, reject) => {
        this.#waiters.push({ resolve, reject });
        this.#schedule();
      });
    }
    return new Promise((resolve, reject) => this.#whenSynced([{ resolve, reject }]));
  }

  close(): void {
    if (this.#closed) return;
    clearTimeout(this.#retry);
    clearTimeout(this.#later);
    try {
      this.flush();
      if (this.#log !== undefined) fdatasyncSync(this.#log);
    } catch (error) {
      this.#onError(error);
    }
    this.#closed = true;
    for (const waiter of [...this.#waiters, ...this.#committed]) waiter.resolve();
    this.database.close();
    if (!this.#syncing) this.#closeLog();
  }
}
