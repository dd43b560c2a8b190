import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Fact } from '../../src/bus/fact.ts';
import { memoryStore } from '../../src/store/memory.ts';
import type { Store } from '../../src/store/port.ts';
import { sqliteStore } from '../../src/store/sqlite.ts';

const fact = (seq: number, more: Partial<Fact> = {}): Fact => ({
  seq,
  timeNano: BigInt(seq) * 1_000_000_000n + 1n,
  topic: 'event',
  type: 'container',
  action: 'start',
  id: `c${seq % 2}`,
  attributes: { name: `n${seq}` },
  ...more,
});

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'store-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const openSqlite = (): Store =>
  sqliteStore({
    path: join(directory, 'reactord.db'),
    onDamaged: () => {},
    onError: (error) => {
      throw error;
    },
  });

describe.each([
  ['in memory', () => memoryStore()],
  ['in SQLite', openSqlite],
])('the store %s', (_, open) => {
  it('reads what was written at once, and forgets what was deleted', async () => {
    const store = open();
    const things = store.collection<{ n: number }>('things');
    things.put('a', { n: 1 });
    things.put('b', { n: 2 });
    things.put('a', { n: 3 });
    things.delete('b');
    await store.durable();
    expect(things.get('a')).toEqual({ n: 3 });
    expect(things.all()).toEqual([{ id: 'a', record: { n: 3 } }]);
    store.close();
  });

  it('hands out copies, so that nobody changes a record behind its back', () => {
    const store = open();
    const things = store.collection<{ list: number[] }>('things');
    things.put('a', { list: [1] });
    things.get('a')!.list.push(2);
    expect(things.get('a')).toEqual({ list: [1] });
    store.close();
  });

  it('finds facts by position, time, topic and object, the newest `limit` in ascending order', () => {
    const store = open();
    for (let seq = 1; seq <= 6; seq++) store.journal.append(fact(seq, seq === 6 ? { topic: 'transition' } : {}));
    const seqs = (query: Parameters<typeof store.journal.read>[0]) =>
      store.journal.read(query).map((found) => found.seq);
    expect(seqs({})).toEqual([1, 2, 3, 4, 5, 6]);
    expect(seqs({ afterSeq: 4 })).toEqual([5, 6]);
    expect(seqs({ topics: ['event'], limit: 2 })).toEqual([4, 5]);
    expect(seqs({ sinceNano: 2_000_000_000n, untilNano: 4_000_000_001n })).toEqual([2, 3, 4]);
    expect(seqs({ id: 'c1' })).toEqual([1, 3, 5]);
    expect(store.journal.read({ limit: 1, topics: ['event'] })[0]).toEqual(fact(5));
    expect(store.journal.lastSeq).toBe(6);
    store.close();
  });

  it('prunes the journal by count and by age', () => {
    const store = open();
    for (let seq = 1; seq <= 6; seq++) store.journal.append(fact(seq));
    expect(store.journal.prune({ keep: 4, beforeNano: 4_000_000_000n })).toBe(3);
    expect(store.journal.read({}).map((found) => found.seq)).toEqual([4, 5, 6]);
    expect(store.journal.size).toBe(3);
    store.close();
  });
});

describe('the SQLite store', () => {
  it('keeps records and journal over a restart', async () => {
    const first = openSqlite();
    first.collection('things').put('a', { n: 1 });
    first.journal.append(fact(7));
    await first.durable();
    first.close();
    const second = openSqlite();
    expect(second.collection('things').get('a')).toEqual({ n: 1 });
    expect(second.journal.lastSeq).toBe(7);
    second.close();
  });

  /** A store whose syncs end when the test says so. */
  const heldSyncs = () => {
    const syncs: PromiseWithResolvers<void>[] = [];
    const errors: unknown[] = [];
    const path = join(directory, 'reactord.db');
    const sync = (): Promise<void> => {
      syncs.push(Promise.withResolvers<void>());
      return syncs.at(-1)!.promise;
    };
    const store = sqliteStore({ path, onDamaged: () => {}, onError: (error) => errors.push(error), sync });
    return { store, syncs, errors };
  };
  const settled = async (promise: Promise<unknown>): Promise<boolean> => {
    let done = false;
    promise.then(
      () => (done = true),
      () => (done = true),
    );
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
    return done;
  };

  it('calls durable only what a sync covered that began after its commit', async () => {
    const { store, syncs } = heldSyncs();
    const things = store.collection('things');
    things.put('a', { n: 1 });
    const first = store.durable();
    expect(await settled(first)).toBe(false);
    things.put('b', { n: 2 });
    const second = store.durable();
    expect([await settled(second), syncs.length]).toEqual([false, 1]);
    syncs[0]!.resolve();
    await first;
    expect([await settled(second), syncs.length]).toEqual([false, 2]);
    const third = store.durable();
    syncs[1]!.resolve();
    await Promise.all([second, third]);
    expect(await settled(store.durable())).toBe(true);
    store.close();
  });

  it('tells everybody of a sync that failed, and does not call its commits durable until another succeeds', async () => {
    const { store, syncs, errors } = heldSyncs();
    store.collection('things').put('a', { n: 1 });
    const early = store.durable();
    expect(await settled(early)).toBe(false);
    const late = store.durable();
    syncs[0]!.reject(new Error('EIO: i/o error, fdatasync'));
    await expect(early).rejects.toThrow('EIO');
    await expect(late).rejects.toThrow('EIO');
    expect(errors).toHaveLength(1);
    const again = store.durable();
    expect([await settled(again), syncs.length]).toEqual([false, 2]);
    syncs[1]!.resolve();
    await again;
    store.close();
  });

  it('lets nobody wait for a disk that does not answer, and takes its answer when it comes', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    try {
      const { store, syncs } = heldSyncs();
      store.collection('things').put('a', { n: 1 });
      const early = store.durable();
      expect(await settled(early)).toBe(false);
      vi.advanceTimersByTime(60_000);
      await expect(early).rejects.toThrow("the disk has not written the daemon's records within 60 s");
      const late = store.durable();
      syncs[0]!.resolve();
      await late;
      store.close();
    } finally {
      vi.useRealTimers();
    }
  });

  it('does not trust its log after a sync that failed: what it was to hold goes into the database itself', async () => {
    const { store, syncs } = heldSyncs();
    store.collection('things').put('a', { n: 1 });
    const early = store.durable();
    expect(await settled(early)).toBe(false);
    syncs[0]!.reject(new Error('EIO: i/o error, fdatasync'));
    await expect(early).rejects.toThrow('EIO');
    const again = store.durable();
    expect(await settled(again)).toBe(false);
    const elsewhere = join(directory, 'without-log.db');
    copyFileSync(join(directory, 'reactord.db'), elsewhere);
    const found = new DatabaseSync(elsewhere).prepare("SELECT json FROM records WHERE id = 'a'").get();
    expect(found).toEqual({ json: '{"n":1}' });
    syncs[1]!.resolve();
    await again;
    store.close();
  });

  it('a commit that finds nothing left to do holds nobody up, now or later', async () => {
    const { store, syncs } = heldSyncs();
    store.collection('things').put('a', { n: 1 });
    const first = store.durable();
    // Reading commits what waits; the commit that was due finds all of it synced already.
    store.journal.read({});
    const second = store.durable();
    syncs[0]!.resolve();
    await second;
    await first;
    store.collection('things').put('b', { n: 2 });
    const third = store.durable();
    expect([await settled(third), syncs.length]).toEqual([false, 2]);
    syncs[1]!.resolve();
    await third;
    store.close();
  });

  it('sets a damaged file aside instead of dying of it', () => {
    const path = join(directory, 'reactord.db');
    writeFileSync(path, 'this is no database, and long enough to be looked at by SQLite as one'.repeat(50));
    const moved: string[] = [];
    const store = sqliteStore({ path, onDamaged: (to) => moved.push(to), onError: () => {} });
    expect(store.collection('things').all()).toEqual([]);
    store.close();
    expect(moved).toHaveLength(1);
    expect(existsSync(moved[0]!)).toBe(true);
    expect(readdirSync(directory).some((name) => name.includes('damaged'))).toBe(true);
  });
});
