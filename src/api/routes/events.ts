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

async function* eventLines({ bus, store, clock }: EventParts, wanted: Wanted): AsyncGenerator<string> {
  const { after, since, until } = wanted;
  const line = (fact: Fact): string => (after === undefined ? sharedLine(fact) : eventLine(fact, true));
  const past = (query: { afterSeq?: number; sinceNano?: bigint }): Fact[] =>
    store.journal.read({ ...query, untilNano: until, topics: ['event'] }).filter(wanted.matches);
  // Subscribed before the journal is read: nothing falls between the two, and what is in both is told by its seq.
  const live = bus.subscribe({ name: 'events', filter: wanted.matches });
  const cancelEnd = endAt(clock, until, live.close);
  wanted.gone.addEventListener('abort', live.close, { once: true });
  if (wanted.gone.aborted) live.close();
  try {
    let position = after ?? bus.lastSeq;
    if (after !== undefined || since !== undefined || until !== undefined)
      for (const fact of past({ afterSeq: after, sinceNano: since })) {
        yield line(fact);
        position = Math.max(position, fact.seq);
      }
    let dropped = 0;
    for await (const fact of live) {
      if (live.dropped > dropped) {
        // What waits and what was dropped is all in the journal; only what that no longer keeps is gone for good.
        const owed = 1 + live.waiting + live.dropped - dropped;
        dropped = live.dropped;
        const missed = past({ afterSeq: position });
        if (missed.length < owed) yield line(dropFact(bus, clock, owed - missed.length));
        for (const one of missed) yield line(one);
        position = Math.max(position, missed.at(-1)?.seq ?? 0);
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
