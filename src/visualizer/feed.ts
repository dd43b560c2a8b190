/**
 * The live feed of facts for pages and monitors. What comes together goes out together, a few times a second; when more comes than a page can
 * show, facts are left out and the reader is told how many. Nothing runs here while nobody reads.
 */
import type { Bus } from '../bus/bus.ts';
import type { Fact } from '../bus/fact.ts';
import type { Clock } from '../lib/clock.ts';
import { factJson } from './view.ts';

const FLUSH_MS = 200;
/** Facts in one flush of a sampled feed. */
const BUDGET = 250;
/** Facts that wait at most; more are not kept for a reader that does not take them. */
const MOST_WAITING = 8192;

export interface FeedOptions {
  bus: Bus;
  clock: Clock;
  /** Every fact at once instead of a sample; what a slow reader loses is still told. */
  whole: boolean;
  gone: AbortSignal;
}

/**
 * At most `budget` facts, in order: effects go first, then all but the last fact of each object, then the oldest.
 */
export function sample(facts: Fact[], budget: number): Fact[] {
  if (facts.length <= budget) return facts;
  const moves = facts.filter(({ topic }) => topic !== 'effect');
  if (moves.length <= budget) return moves;
  const last = new Map(moves.map((fact) => [`${fact.topic} ${fact.type} ${fact.id}`, fact]));
  return [...last.values()].sort((a, b) => a.seq - b.seq).slice(-budget);
}

/** JSON lines: {connected}, then facts; {skipped: n} tells how many were left out so far. */
export async function* feedLines({ bus, clock, whole, gone }: FeedOptions): AsyncGenerator<string> {
  let waiting: Fact[] = [];
  let skipped = 0;
  let told = 0;
  let wake = (): void => {};
  const source = bus.facts$.subscribe({
    next: (fact) => {
      if (waiting.length >= MOST_WAITING) skipped++;
      else if (waiting.push(fact) === 1) wake();
    },
    error: () => {},
  });
  const sleep = (ms?: number): Promise<void> =>
    new Promise((resolve) => {
      const cancel = ms === undefined ? undefined : clock.after(ms, resolve);
      wake = () => {
        if (ms !== undefined && !gone.aborted) return;
        cancel?.();
        resolve();
      };
    });
  const leave = (): void => {
    source.unsubscribe();
    wake();
  };
  gone.addEventListener('abort', leave, { once: true });
  try {
    yield '{"connected":true}\n';
    let flushed = 0;
    while (!gone.aborted) {
      if (!waiting.length) await sleep();
      const early = flushed + FLUSH_MS - clock.now();
      if (!whole && early > 0 && !gone.aborted) await sleep(early);
      if (gone.aborted) return;
      const kept = whole ? waiting : sample(waiting, BUDGET);
      skipped += waiting.length - kept.length;
      waiting = [];
      flushed = clock.now();
      const news = skipped > told ? `{"skipped":${(told = skipped)}}\n` : '';
      yield news + kept.map((fact) => `${JSON.stringify(factJson(fact))}\n`).join('');
    }
  } finally {
    gone.removeEventListener('abort', leave);
    source.unsubscribe();
  }
}
