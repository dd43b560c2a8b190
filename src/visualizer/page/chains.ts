/// <reference lib="dom" />
/** Causal chains from the facts that the page holds; where one goes on beyond them, it is read from the daemon. */
import { type Chain, chainTo, type Past, toldChain } from '../why.ts';
import { timeOf, type WireFact } from '../wire.ts';
import type { Model } from './model.ts';

/** Chains kept that were read. */
const KEPT = 500;

export class Chains {
  #model: Model;
  #read: <T>(path: string) => Promise<T>;
  /** By the seq of their end. */
  #known = new Map<number, Chain>();
  #reading = new Set<number>();

  constructor(model: Model, read: <T>(path: string) => Promise<T>) {
    this.#model = model;
    this.#read = read;
  }

  open(chains: Record<number, Chain>): void {
    this.#known = new Map(Object.entries(chains).map(([seq, chain]) => [Number(seq), chain]));
  }

  /** Those that go on beyond the page's facts, read from the daemon. */
  async export(ends: readonly WireFact[]): Promise<Record<number, Chain>> {
    const beyond = ends.slice(0, KEPT).filter((end) => chainTo(end, this.#past).isBroken);
    await Promise.all(beyond.map((end) => this.#fetch(end)));
    return Object.fromEntries(this.#known);
  }

  /** Up to the moment that is looked at: the answer to a request may come later. */
  to(end: WireFact): Chain {
    const chain = this.#known.get(end.seq) ?? this.#own(end);
    const now = this.#model.now();
    return { ...chain, facts: chain.facts.filter((fact) => timeOf(fact) <= now) };
  }

  #own(end: WireFact): Chain {
    const chain = chainTo(end, this.#past);
    if (chain.isBroken && !this.#model.offline) void this.#fetch(end).then(() => this.#model.changed());
    return toldChain(chain, this.#model.facts.slice(this.#indexOf(chain.facts[0]!.seq)));
  }

  #past: Past = {
    fact: (seq) => {
      const fact = this.#model.facts[this.#indexOf(seq)];
      return fact?.seq === seq ? fact : undefined;
    },
    moveBefore: ({ type, id, seq }) =>
      this.#model.factsOf({ kind: type, id }).findLast((fact) => fact.topic === 'transition' && fact.seq < seq),
  };

  /** Where the first fact from this position on is. */
  #indexOf(seq: number): number {
    const { facts } = this.#model;
    let [low, high] = [0, facts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (facts[middle]!.seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async #fetch({ type, id, seq }: WireFact): Promise<void> {
    if (this.#reading.has(seq) || this.#known.has(seq)) return;
    this.#reading.add(seq);
    try {
      const path = `/reactord/actors/${type}/${encodeURIComponent(id)}/why?at=${seq}`;
      this.#known.set(seq, await this.#read<Chain>(path));
      if (this.#known.size > KEPT) this.#known.delete(this.#known.keys().next().value!);
    } catch {
      // What is known here is shown.
    }
    this.#reading.delete(seq);
  }
}
