import { config, type Observable, Subject } from 'rxjs';
import { type Clock, nowNano } from '../lib/clock.ts';
import { currentCause } from './cause.ts';
import type { Fact, FactInput } from './fact.ts';

export interface SubscriberOptions {
  name: string;
  /** Facts waiting at most while the subscriber is not ready; more are dropped and counted. 1024 unless told. */
  capacity?: number;
  filter?: (fact: Fact) => boolean;
}

export interface Subscription {
  /** Facts in order. Ends on `close`. */
  [Symbol.asyncIterator](): AsyncIterator<Fact>;
  /** Facts this subscriber lost because it was slow. */
  readonly dropped: number;
  /** Facts that wait to be taken. */
  readonly waiting: number;
  close(): void;
}

export interface BusStats {
  published: number;
  subscribers: number;
  dropped: number;
  /** Facts waiting in all bounded subscribers. */
  depth: number;
}

/**
 * The one event bus. FIFO and never re-entrant: a fact published while one is being delivered waits its turn, so every
 * subscriber sees the same order. A subscriber that throws is reported and stays out of the others' way.
 */
export class Bus {
  #subject = new Subject<Fact>();
  #queue: Fact[] = [];
  #delivering = false;
  #seq: number;
  #stats = { published: 0, dropped: 0 };
  #bounded = new Set<{ depth(): number }>();
  #clock: Clock;

  constructor(options: { clock: Clock; lastSeq?: number; onError: (error: unknown) => void }) {
    this.#clock = options.clock;
    this.#seq = options.lastSeq ?? 0;
    // RxJS's own hook: it unhooks a subscriber that throws without an error handler, and tells here instead of ending the process.
    config.onUnhandledError = options.onError;
  }

  publish(input: FactInput): Fact {
    const fact: Fact = {
      ...input,
      attributes: input.attributes ?? {},
      seq: ++this.#seq,
      timeNano: nowNano(this.#clock),
      cause: input.cause ?? currentCause()?.seq,
    };
    this.#stats.published++;
    this.#queue.push(fact);
    if (!this.#delivering) this.#drain();
    return fact;
  }

  #drain(): void {
    this.#delivering = true;
    try {
      for (let fact = this.#queue.shift(); fact; fact = this.#queue.shift()) this.#subject.next(fact);
    } finally {
      this.#delivering = false;
    }
  }

  /** Facts as they are delivered. For synchronous views that never block; a slow consumer uses `subscribe`. */
  get facts$(): Observable<Fact> {
    return this.#subject.asObservable();
  }

  get lastSeq(): number {
    return this.#seq;
  }

  subscribe(options: SubscriberOptions): Subscription {
    const capacity = options.capacity ?? 1024;
    const waiting: Fact[] = [];
    let wake: (() => void) | undefined;
    let closed = false;
    let dropped = 0;
    const entry = { depth: () => waiting.length };
    this.#bounded.add(entry);
    const source = this.facts$.subscribe((fact) => {
      if (options.filter && !options.filter(fact)) return;
      if (waiting.length >= capacity) {
        dropped++;
        this.#stats.dropped++;
        return;
      }
      waiting.push(fact);
      wake?.();
    });
    const close = (): void => {
      closed = true;
      source.unsubscribe();
      this.#bounded.delete(entry);
      wake?.();
    };
    const next = async (): Promise<IteratorResult<Fact>> => {
      while (!waiting.length && !closed) await new Promise<void>((resolve) => (wake = resolve));
      const fact = waiting.shift();
      return fact ? { done: false, value: fact } : { done: true, value: undefined };
    };
    return {
      get dropped() {
        return dropped;
      },
      get waiting() {
        return waiting.length;
      },
      close,
      [Symbol.asyncIterator]: () => ({
        next,
        return: async () => {
          close();
          return { done: true, value: undefined };
        },
      }),
    };
  }

  get stats(): BusStats {
    let depth = 0;
    for (const entry of this.#bounded) depth += entry.depth();
    return { ...this.#stats, subscribers: this.#bounded.size, depth };
  }
}
