/** The store port in memory: for tests, and for what need not outlive the process. */
import type { Fact } from '../bus/fact.ts';
import type { Collection, Journal, JournalQuery, Store } from './port.ts';

export function matchesQuery(fact: Fact, query: JournalQuery): boolean {
  if (query.afterSeq !== undefined && fact.seq <= query.afterSeq) return false;
  if (query.beforeSeq !== undefined && fact.seq >= query.beforeSeq) return false;
  if (query.seq !== undefined && fact.seq !== query.seq) return false;
  if (query.sinceNano !== undefined && fact.timeNano < query.sinceNano) return false;
  if (query.untilNano !== undefined && fact.timeNano > query.untilNano) return false;
  if (query.topics && !query.topics.includes(fact.topic)) return false;
  return query.id === undefined || query.id === fact.id;
}

export function memoryStore(): Store {
  const collections = new Map<string, Map<string, string>>();
  let facts: Fact[] = [];
  let lastSeq = 0;
  const journal: Journal = {
    append(fact) {
      facts.push(fact);
      lastSeq = fact.seq;
    },
    read(query) {
      const found = facts.filter((fact) => matchesQuery(fact, query));
      if (query.page !== undefined) return found.slice(0, query.page);
      return query.limit === undefined ? found : found.slice(-query.limit);
    },
    get lastSeq() {
      return lastSeq;
    },
    get size() {
      return facts.length;
    },
    prune({ keep, beforeNano }) {
      const before = facts.length;
      facts = facts.slice(-keep).filter((fact) => fact.timeNano >= beforeNano);
      return before - facts.length;
    },
  };
  return {
    collection<T extends object>(name: string): Collection<T> {
      const rows = collections.get(name) ?? new Map<string, string>();
      collections.set(name, rows);
      const parse = (text: string): T => JSON.parse(text) as T;
      return {
        get: (id) => (rows.has(id) ? parse(rows.get(id)!) : undefined),
        all: () => [...rows].map(([id, text]) => ({ id, record: parse(text) })),
        put: (id, record) => void rows.set(id, JSON.stringify(record)),
        delete: (id) => void rows.delete(id),
      };
    },
    journal,
    incomplete: false,
    durable: () => Promise.resolve(),
    close: () => {},
  };
}
