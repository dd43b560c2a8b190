/** Records and journal in SQLite (WAL), written by a group commit. */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Fact, Topic } from '../bus/fact.ts';
import { internal } from '../errors.ts';
import { GroupCommit, type GroupCommitOptions } from './group-commit.ts';
import type { Collection, Journal, JournalQuery, Store } from './port.ts';

/** Raised with each change of the tables; an older file is migrated, a newer one refused. */
const SCHEMA_VERSION = 1;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS records (
  collection TEXT NOT NULL, id TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (collection, id)
) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS journal (
  seq INTEGER PRIMARY KEY, time_nano INTEGER NOT NULL, topic TEXT NOT NULL, type TEXT NOT NULL, action TEXT NOT NULL,
  id TEXT NOT NULL, attributes TEXT NOT NULL, data TEXT, cause INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS journal_time ON journal (time_nano);
CREATE INDEX IF NOT EXISTS journal_object ON journal (id, seq);
`;

interface JournalRow {
  seq: number;
  time_nano: bigint;
  topic: string;
  type: string;
  action: string;
  id: string;
  attributes: string;
  data: string | null;
  cause: number | null;
}

const factOf = (row: JournalRow): Fact => ({
  seq: Number(row.seq),
  timeNano: BigInt(row.time_nano),
  topic: row.topic as Topic,
  type: row.type,
  action: row.action,
  id: row.id,
  attributes: JSON.parse(row.attributes) as Record<string, string>,
  ...(row.data === null ? {} : { data: JSON.parse(row.data) as Record<string, unknown> }),
  ...(row.cause === null ? {} : { cause: Number(row.cause) }),
});

function openDatabase(path: string): DatabaseSync {
  // Records hold what clients gave to containers; SQLite gives its other files the mode of this one.
  closeSync(openSync(path, 'a', 0o600));
  const database = new DatabaseSync(path);
  database.exec(
    'PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000; PRAGMA cache_size=-2000; PRAGMA temp_store=MEMORY;',
  );
  const version = Number((database.prepare('PRAGMA user_version').get() as { user_version: number }).user_version);
  if (version > SCHEMA_VERSION) {
    database.close();
    throw internal(`${path} was written by a newer reactord (schema ${version}, this one knows ${SCHEMA_VERSION})`);
  }
  const check = database.prepare('PRAGMA quick_check(1)').get() as { quick_check: string };
  if (check.quick_check !== 'ok') {
    database.close();
    throw internal(`${path} is damaged: ${check.quick_check}`, { code: 'corrupt' });
  }
  database.exec(`${SCHEMA} PRAGMA user_version=${SCHEMA_VERSION};`);
  return database;
}

const aside = (path: string): string => `${path}.damaged-`;

/** As long as a file that was set aside lies there, it may be repaired and put back. */
const isIncomplete = (path: string): boolean =>
  readdirSync(dirname(path)).some((name) => name.startsWith(basename(aside(path))));

/** Opens the file; one that is no database any more is set aside (`.damaged-<time>`) and a new one begun. */
function openOrSetAside(path: string, onDamaged: (movedTo: string, error: unknown) => void): DatabaseSync {
  try {
    return openDatabase(path);
  } catch (error) {
    const damaged =
      (error as { code?: string }).code === 'corrupt' || /not a database|malformed/.test((error as Error).message);
    if (!damaged) throw error;
    const moved = `${aside(path)}${Date.now()}`;
    renameSync(path, moved);
    // The log belongs to it: whoever repairs the file needs both.
    if (existsSync(`${path}-wal`)) renameSync(`${path}-wal`, `${moved}-wal`);
    rmSync(`${path}-shm`, { force: true });
    onDamaged(moved, error);
    return openDatabase(path);
  }
}

export interface SqliteOptions extends GroupCommitOptions {
  onDamaged: (movedTo: string, error: unknown) => void;
}

export function sqliteStore(options: SqliteOptions): Store {
  mkdirSync(dirname(options.path), { recursive: true, mode: 0o710 });
  const commits = new GroupCommit(openOrSetAside(options.path, options.onDamaged), options);
  const journal = sqliteJournal(commits);
  return {
    collection: (name) => sqliteCollection(commits, name),
    journal,
    incomplete: isIncomplete(options.path),
    durable: () => commits.durable(),
    close: () => commits.close(),
  };
}

/** Records live in memory as JSON text too: reads never touch the disk. */
function sqliteCollection<T extends object>(commits: GroupCommit, name: string): Collection<T> {
  const put = commits.database.prepare(
    'INSERT INTO records (collection, id, json) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET json = excluded.json',
  );
  const remove = commits.database.prepare('DELETE FROM records WHERE collection = ? AND id = ?');
  commits.flush();
  const found = commits.database.prepare('SELECT id, json FROM records WHERE collection = ?').all(name);
  const rows = new Map((found as { id: string; json: string }[]).map((row) => [row.id, row.json]));
  const parse = (text: string): T => JSON.parse(text) as T;
  return {
    get: (id) => (rows.has(id) ? parse(rows.get(id)!) : undefined),
    all: () => [...rows].map(([id, text]) => ({ id, record: parse(text) })),
    put(id, record) {
      const text = JSON.stringify(record);
      if (rows.get(id) === text) return;
      rows.set(id, text);
      commits.write(() => put.run(name, id, text));
    },
    delete(id) {
      if (rows.delete(id)) commits.write(() => remove.run(name, id));
    },
  };
}

function sqliteJournal(commits: GroupCommit): Journal {
  const { database } = commits;
  const insert = database.prepare(
    'INSERT INTO journal (seq, time_nano, topic, type, action, id, attributes, data, cause) VALUES (?,?,?,?,?,?,?,?,?)',
  );
  const last = database.prepare('SELECT max(seq) AS seq FROM journal').get() as { seq: number | null };
  let lastSeq = Number(last.seq ?? 0);
  let size = Number((database.prepare('SELECT count(*) AS n FROM journal').get() as { n: number }).n);
  const statements = new Map<string, StatementSync>();
  const prepare = (sql: string): StatementSync => {
    const known = statements.get(sql);
    if (known) return known;
    const statement = database.prepare(sql);
    statement.setReadBigInts(true);
    statements.set(sql, statement);
    return statement;
  };
  return {
    append(fact) {
      lastSeq = fact.seq;
      size++;
      const insertion = (): unknown =>
        insert.run(
          fact.seq,
          fact.timeNano,
          fact.topic,
          fact.type,
          fact.action,
          fact.id,
          JSON.stringify(fact.attributes),
          fact.data ? JSON.stringify(fact.data) : null,
          fact.cause ?? null,
        );
      // Clients replay events; the rest explains what the records say anyway, and is not worth an fsync of its own.
      if (fact.topic === 'event') commits.write(insertion);
      else commits.writeSoon(insertion);
    },
    read(query) {
      commits.flush();
      const { sql, values } = selectOf(query);
      const facts = (prepare(sql).all(...values) as unknown as JournalRow[]).map(factOf);
      return query.page === undefined ? facts.reverse() : facts;
    },
    get lastSeq() {
      return lastSeq;
    },
    get size() {
      return size;
    },
    prune({ keep, beforeNano }) {
      commits.flush();
      const { changes } = database
        .prepare('DELETE FROM journal WHERE seq <= ? OR time_nano < ?')
        .run(lastSeq - keep, beforeNano);
      size -= Number(changes);
      return Number(changes);
    },
  };
}

/** The query for the newest rows that match, newest first, or for a page of the oldest. */
function selectOf(query: JournalQuery): { sql: string; values: (string | number | bigint)[] } {
  const where: string[] = [];
  const values: (string | number | bigint)[] = [];
  const add = (clause: string, value: string | number | bigint | undefined): void => {
    if (value === undefined) return;
    where.push(clause);
    values.push(value);
  };
  add('seq > ?', query.afterSeq);
  add('seq < ?', query.beforeSeq);
  add('seq = ?', query.seq);
  add('time_nano >= ?', query.sinceNano);
  add('time_nano <= ?', query.untilNano);
  add('id = ?', query.id);
  if (query.topics) {
    where.push(`topic IN (${query.topics.map(() => '?').join(', ')})`);
    values.push(...query.topics);
  }
  const sql = `SELECT * FROM journal ${where.length ? `WHERE ${where.join(' AND ')}` : ''} ORDER BY seq ${query.page === undefined ? 'DESC' : 'ASC'} LIMIT ?`;
  values.push(query.page ?? query.limit ?? -1);
  return { sql, values };
}
