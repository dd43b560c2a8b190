/**
 * GET /events. What was is read from the journal, which outlives the daemon; what comes is taken from the bus by a bounded
 * subscriber. One that fell behind catches up from the journal, so a slow client loses nothing that is still kept there.
 */
import type { Bus } from '../../bus/bus.ts';
import type { Fact } from '../../bus/fact.ts';
import { type Clock, nowNano } from '../../lib/clock.ts';
import type { Store } from '../../store/port.ts';
import { EVENT_FILTERS, eventLine, eventMatches } from '../event-message.ts';
import { type Api, filtersOf, integer, timestamp } from '../kit.ts';
import { streamAnswer } from '../stream.ts';

interface EventParts {
  bus: Bus;
  store: Store;
  clock: Clock;
}

interface Wanted {
  matches: (fact: Fact) => boolean;
  /** Position to resume after; ours. */
  after: number | undefined;
  since: bigint | undefined;
  until: bigint | undefined;
  gone: AbortSignal;
}

export function eventRoutes(api: Api, parts: EventParts): void {
  /** `after=<seq>` is ours: every event after that position, each line with its own `seq`. */
  api.get('/events', (c) => {
    const filters = filtersOf(c, EVENT_FILTERS);
    const wanted: Wanted = {
      matches: (fact) => fact.topic === 'event' && eventMatches(fact, filters),
      after: integer(c, 'after'),
      since: timestamp(c, 'since'),
      until: timestamp(c, 'until'),
      gone: c.get('gone'),
    };
    return streamAnswer(c, eventLines(parts, wanted), 'application/json');
  });
}

/** Several hundred subscribers read the same facts: each is written once for all of them. */
const written = new WeakMap<Fact, string>();

function sharedLine(fact: Fact): string {
  const known = written.get(fact);
  if (known !== undefined) return known;
  const line = eventLine(fact);
  written.set(fact, line);
  return line;
}

/** Facts read from the journal at once: what a client that stalls in the middle of them holds. */
const PAGE = 32;

/** What was, oldest first, a page at a time; nothing of a page is kept while the caller waits but what it was given. */
function* pagesOf<T>(
  { store }: EventParts,
  { matches, until }: Wanted,
  from: { afterSeq?: number; sinceNano?: bigint },
  make: (facts: Fact[]) => T,
): Generator<{ made: T; last: number }> {
  const read = (afterSeq: number | undefined): { made: T; last: number | undefined } => {
    const query = { ...from, afterSeq, untilNano: until, topics: ['event'], page: PAGE };
    const facts = store.journal.read(query);
    return { made: make(facts.filter(matches)), last: facts.at(-1)?.seq };
  };
  for (let after = from.afterSeq; ;) {
    const { made, last } = read(after);
    if (last === undefined) return;
    yield { made, last };
    after = last;
  }
}

async function* eventLines(parts: EventParts, wanted: Wanted): AsyncGenerator<string> {
  const { bus, clock, store } = parts;
  const { after, since, until } = wanted;
  const line = (fact: Fact): string => (after === undefined ? sharedLine(fact) : eventLine(fact, true));
  const lines = (facts: Fact[]): string => facts.map(line).join('');
  // Subscribed before the journal is read: nothing falls between the two, and what is in both is told by its seq.
  const live = bus.subscribe({ name: 'events', filter: wanted.matches });
  const cancelEnd = endAt(clock, until, live.close);
  wanted.gone.addEventListener('abort', live.close, { once: true });
  if (wanted.gone.aborted) live.close();
  try {
    let position = after ?? bus.lastSeq;
    const kept = store.journal.lastSeq - store.journal.size;
    if (after !== undefined && after < kept) yield line(lostFact(bus, clock, { after, through: kept }));
    if (after !== undefined || since !== undefined || until !== undefined)
      for (const { made, last } of pagesOf(parts, wanted, { afterSeq: after, sinceNano: since }, lines)) {
        if (made) yield made;
        position = Math.max(position, last);
      }
    let dropped = 0;
    for await (const fact of live) {
      if (live.dropped > dropped) {
        // What waits and what was dropped is all in the journal; only what that no longer keeps is gone for good.
        let owed = 1 + live.waiting + live.dropped - dropped;
        dropped = live.dropped;
        const from = { afterSeq: position };
        for (const { made } of pagesOf(parts, wanted, from, (facts) => facts.length)) owed -= made;
        if (owed > 0) yield line(dropFact(bus, clock, owed));
        for (const { made, last } of pagesOf(parts, wanted, from, lines)) {
          if (made) yield made;
          position = last;
        }
      }
      if (fact.seq <= position) continue;
      if (until !== undefined && fact.timeNano > until) return;
      position = fact.seq;
      yield line(fact);
    }
  } finally {
    wanted.gone.removeEventListener('abort', live.close);
    cancelEnd();
    live.close();
  }
}

/** Closes at `until`: at once when that is past. */
function endAt(clock: Clock, until: bigint | undefined, close: () => void): () => void {
  if (until === undefined) return () => {};
  const ms = Number(until / 1_000_000n) - clock.now();
  if (ms > 0) return clock.after(ms, close);
  close();
  return () => {};
}

/** Tells a client that what came after its position is gone, through another one: how many of that were events is not known any more. */
const lostFact = (bus: Bus, clock: Clock, lost: { after: number; through: number }): Fact => ({
  ...dropFact(bus, clock, 0),
  attributes: { after: String(lost.after), through: String(lost.through) },
});

/** Tells a client that events are gone for good: it was slower than the journal keeps them. */
const dropFact = (bus: Bus, clock: Clock, count: number): Fact => ({
  topic: 'event',
  type: 'daemon',
  action: 'events_dropped',
  id: '',
  attributes: { count: String(count) },
  seq: bus.lastSeq,
  timeNano: nowNano(clock),
});
