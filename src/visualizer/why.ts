/**
 * Why an actor is where it is: from API request over event, transition and effect to the last fact, each found by the cause that the one after
 * it names. Pure; over the journal, or over what a page holds of it.
 */
import type { WireFact } from './wire.ts';

export interface Past {
  fact(seq: number): WireFact | undefined;
  /** The same actor's transition before this fact. */
  moveBefore(fact: WireFact): WireFact | undefined;
}

export interface Chain {
  /** In order. */
  facts: WireFact[];
  /** It goes on between its first fact and the others. */
  isCut: boolean;
  /** A fact that it leads over is not in this past. */
  isBroken: boolean;
}

/** Steps that are followed back; a loop that goes on for days has its beginning and its end. */
const LONGEST = 500;

/** What led to a fact; `undefined` is nothing, `null` something that this past does not have. */
function ledTo(fact: WireFact, past: Past): WireFact | undefined | null {
  if (fact.cause === undefined)
    // Found again by a new life of the daemon: what its last life knew led to that.
    return fact.topic === 'transition' && fact.data?.from === '' ? past.moveBefore(fact) : undefined;
  const cause = past.fact(fact.cause);
  if (!cause) return null;
  // News of an effect that goes on (a process ended, a probe failed) came where the actor was by then.
  const isNews = fact.topic === 'transition' && cause.topic === 'effect' && cause.action === 'begin';
  const before = isNews ? past.moveBefore(fact) : undefined;
  return before && before.seq > cause.seq ? before : cause;
}

export function chainTo(end: WireFact, past: Past): Chain {
  const facts: WireFact[] = [];
  let at: WireFact | undefined | null = end;
  while (at && facts.length < LONGEST) {
    facts.push(at);
    at = ledTo(at, past);
  }
  facts.reverse();
  const isCut = at !== undefined;
  const root = isCut && typeof end.data?.request === 'number' ? past.fact(end.data.request) : undefined;
  const isBroken = at === null || (isCut && !root);
  return { facts: root ? [root, ...facts] : facts, isCut, isBroken };
}

/**
 * A chain with what its facts made known: events of the actor, the answers to its commands. Left out are beginnings of effects whose end is there,
 * and what effects that go on tell meanwhile.
 */
export function toldChain(chain: Chain, told: Iterable<WireFact>): Chain {
  const inIt = new Map(chain.facts.map((fact) => [fact.seq, fact]));
  const ended = new Set(
    chain.facts.filter(({ topic, action }) => topic === 'effect' && action !== 'begin').map(({ cause }) => cause),
  );
  const facts = new Map(chain.facts.filter(({ seq }) => !ended.has(seq)).map((fact) => [fact.seq, fact]));
  for (const fact of told)
    if (inIt.get(fact.cause ?? 0)?.topic.match(/transition|command/) && /event|command/.test(fact.topic))
      facts.set(fact.seq, fact);
  return { ...chain, facts: [...facts.values()].sort((a, b) => a.seq - b.seq) };
}

const TAIL = 16;

/** A long chain as its beginning and its end; `left` says how many facts between them are not shown, '' for none. */
export function chainEnds({ facts, isCut }: Chain): { head: WireFact[]; left: string; tail: WireFact[] } {
  if (facts.length <= TAIL + 2 && !isCut) return { head: [], left: '', tail: facts };
  const [head, tail] = [facts.slice(0, 1), facts.slice(1).slice(-TAIL)];
  const left = facts.length - head.length - tail.length;
  return { head, left: isCut ? `more than ${left} more` : `${left} more`, tail };
}
