/// <reference lib="dom" />
/** What the page knows: actors and facts, live from the daemon or from an exported file, and the moment that is looked at. */
import { flapping, isLate } from '../explain.ts';
import { actorAt, applyFact, usualDurations } from '../past.ts';
import type { ActorView, Chart } from '../view.ts';
import { type Chain, chainTo, type Past, toldChain } from '../why.ts';
import { timeOf, type WireFact } from '../wire.ts';

export type PageActor = ActorView & { project: string };
export type PageChart = Chart & { active: string[] };

export interface Snapshot {
  exportedAt: number;
  actors: PageActor[];
  facts: WireFact[];
  charts: Record<string, PageChart>;
  /** Chains that go further back than `facts`, by the seq of their end. */
  chains: Record<number, Chain>;
}

/** Facts the page keeps; older ones are read again from the journal on demand. */
const KEPT = 20_000;
/** Chains kept that were read. */
const CHAINS = 500;
/** Redraws at most this often; under load less, so that drawing never takes more than a quarter of the time. */
const REDRAW_MS = 150;
/** The whole list of actors is read again at most this often. */
const LIST_MS = 2000;

type FeedLine = WireFact & { skipped?: number; connected?: boolean };

export class Model {
  actors = new Map<string, PageActor>();
  facts: WireFact[] = [];
  charts = new Map<string, PageChart>();
  chosen: string | undefined;
  /** Milliseconds since the epoch; undefined is now. */
  moment: number | undefined;
  /** Facts the feed left out, because more came than can be shown. */
  skipped = 0;
  offline = false;
  connected = false;
  #onChange: () => void;
  #scheduled = false;
  #drawMs = 0;
  /** The facts of each actor, by its key. */
  #byActor = new Map<string, WireFact[]>();
  /** Chains that had to be read, by the seq of their end. */
  #chains = new Map<number, Chain>();
  #reading = new Set<number>();
  #listing = false;
  #stale = false;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  changed(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(
      () => {
        this.#scheduled = false;
        const began = performance.now();
        this.#onChange();
        this.#drawMs = performance.now() - began;
      },
      Math.max(REDRAW_MS, this.#drawMs * 3),
    );
  }

  now(): number {
    return this.moment ?? (this.offline ? (this.#lastTime() ?? Date.now()) : Date.now());
  }

  #lastTime(): number | undefined {
    const last = this.facts.at(-1);
    return last && timeOf(last);
  }

  async load(): Promise<void> {
    const [actors, facts] = await Promise.all([
      read<PageActor[]>('/reactord/actors'),
      read<WireFact[]>('/reactord/facts?limit=5000'),
    ]);
    this.actors = new Map(actors.map((actor) => [keyOf(actor), actor]));
    this.#keep(facts);
    this.changed();
  }

  #keep(facts: WireFact[]): void {
    this.facts = facts;
    this.#byActor = Map.groupBy(facts, (fact) => `${fact.type}/${fact.id}`);
  }

  open(snapshot: Snapshot): void {
    this.offline = true;
    this.connected = false;
    this.actors = new Map(snapshot.actors.map((actor) => [keyOf(actor), actor]));
    this.#keep(snapshot.facts);
    this.charts = new Map(Object.entries(snapshot.charts));
    this.#chains = new Map(Object.entries(snapshot.chains ?? {}).map(([seq, chain]) => [Number(seq), chain]));
    this.chosen = undefined;
    this.changed();
  }

  /** Everything needed to look at this later, without a daemon. */
  async export(): Promise<Snapshot> {
    // One chart a kind is enough: all actors of a kind run the same machine.
    const kinds = new Map([...this.actors.values()].map((actor) => [actor.kind, actor]));
    for (const actor of kinds.values()) await this.chart(actor);
    await Promise.all([...this.actors.values()].slice(0, CHAINS).map((actor) => this.#wholeChain(actor)));
    return {
      exportedAt: Date.now(),
      actors: [...this.actors.values()],
      facts: this.facts,
      charts: Object.fromEntries(this.charts),
      chains: Object.fromEntries(this.#chains),
    };
  }

  async chart(actor: PageActor): Promise<PageChart | undefined> {
    const known = this.charts.get(actor.kind);
    if (known || this.offline) return known;
    try {
      const chart = await read<PageChart>(`/reactord/actors/${actor.kind}/${actor.id}/chart`);
      this.charts.set(actor.kind, chart);
      return chart;
    } catch {
      return undefined;
    }
  }

  /** Reads the feed until it ends, again and again. */
  async follow(): Promise<void> {
    for (;;) {
      try {
        await this.#feed();
      } catch {
        // Told by `connected`; tried again below.
      }
      this.connected = false;
      this.changed();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      if (this.offline) return;
      await this.load().catch(() => {});
    }
  }

  async #feed(): Promise<void> {
    const answer = await fetch('/api/reactord/feed');
    if (!answer.ok || !answer.body) throw new Error(`the feed answered ${answer.status}`);
    this.connected = true;
    this.changed();
    let rest = '';
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
      rest = lines.pop()!;
      for (const line of lines) if (line) this.#take(JSON.parse(line) as FeedLine);
    }
  }

  #take(fact: FeedLine): void {
    if (this.offline || fact.connected) return;
    if (fact.skipped) {
      this.skipped = fact.skipped;
      // What was left out may have moved anything.
      void this.#list();
    } else this.#add(fact);
    this.changed();
  }

  #add(fact: WireFact): void {
    this.facts.push(fact);
    if (this.facts.length > KEPT) this.#keep(this.facts.slice(KEPT / 4));
    else {
      const own = this.#byActor.get(`${fact.type}/${fact.id}`);
      if (own) own.push(fact);
      else this.#byActor.set(`${fact.type}/${fact.id}`, [fact]);
    }
    const key = `${fact.type}/${fact.id}`;
    const actor = this.actors.get(key);
    if (actor) applyFact(actor, fact);
    // Timers and what is accepted are not in facts; they are read of the one that is looked at.
    if (actor && key === this.chosen && fact.topic === 'transition') void this.#readOne(key);
    const ends = /^(removed|done|failed|cancelled)/.test(String(fact.data?.to ?? ''));
    if ((!actor && fact.topic === 'transition') || ends || fact.action === 'rename') void this.#list();
  }

  /** Reads all actors again: soon, but not often. */
  async #list(): Promise<void> {
    this.#stale = true;
    if (this.#listing) return;
    this.#listing = true;
    while (this.#stale) {
      await pause(REDRAW_MS);
      this.#stale = false;
      try {
        const actors = await read<PageActor[]>('/reactord/actors');
        if (!this.offline) this.actors = new Map(actors.map((actor) => [keyOf(actor), actor]));
      } catch {
        // The feed notices when the daemon is gone.
      }
      this.changed();
      await pause(LIST_MS);
    }
    this.#listing = false;
  }

  /** Reads what facts do not tell of one actor: its timers, and what it accepts. */
  async #readOne(key: string): Promise<void> {
    const actor = await read<PageActor>(`/reactord/actors/${key}`).catch(() => undefined);
    if (actor && !this.offline && this.actors.has(key)) this.actors.set(key, actor);
    this.changed();
  }

  choose(key: string): void {
    this.chosen = key;
    if (!this.offline) void this.#readOne(key);
  }

  /** An actor at the moment looked at. */
  at(actor: PageActor): PageActor {
    return this.moment === undefined ? actor : actorAt(actor, this.factsOf(actor), this.moment);
  }

  /** What led to the actor's last transition at the moment looked at. */
  chain(actor: PageActor): Chain {
    const end = this.#lastMove(actor);
    if (!end) return { facts: [], isCut: false, isBroken: false };
    const known = this.#chains.get(end.seq);
    if (known) return known;
    const chain = chainTo(end, this.#past);
    // The feed left something out, or it began before what is kept here: the daemon has it all.
    if (chain.isBroken && !this.offline) void this.#readChain(keyOf(actor), end.seq).then(() => this.changed());
    return toldChain(chain, this.facts.slice(this.#indexOf(chain.facts[0]!.seq)));
  }

  async #wholeChain(actor: PageActor): Promise<void> {
    const end = this.#lastMove(actor);
    if (end && chainTo(end, this.#past).isBroken) await this.#readChain(keyOf(actor), end.seq);
  }

  #lastMove(actor: PageActor): WireFact | undefined {
    const now = this.now();
    return this.factsOf(actor).findLast((fact) => fact.topic === 'transition' && timeOf(fact) <= now);
  }

  #past: Past = {
    fact: (seq) => {
      const fact = this.facts[this.#indexOf(seq)];
      return fact?.seq === seq ? fact : undefined;
    },
    moveBefore: ({ type, id, seq }) =>
      this.factsOf({ kind: type, id }).findLast((fact) => fact.topic === 'transition' && fact.seq < seq),
  };

  /** Where the first fact from this position on is. */
  #indexOf(seq: number): number {
    let [low, high] = [0, this.facts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.facts[middle]!.seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async #readChain(key: string, seq: number): Promise<void> {
    if (this.#reading.has(seq) || this.#chains.has(seq)) return;
    this.#reading.add(seq);
    try {
      this.#chains.set(seq, await read<Chain>(`/reactord/actors/${key}/why?at=${seq}`));
      if (this.#chains.size > CHAINS) this.#chains.delete(this.#chains.keys().next().value!);
    } catch {
      // What is known here is shown.
    }
    this.#reading.delete(seq);
  }

  factsOf(actor: { kind: string; id: string }): WireFact[] {
    return this.#byActor.get(keyOf(actor)) ?? [];
  }

  until(): WireFact[] {
    return this.moment === undefined ? this.facts : this.facts.filter((fact) => timeOf(fact) <= this.moment!);
  }
}

export { timeOf };
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
export const nameOf = (actor: PageActor): string => actor.name || actor.id.slice(0, 12);
export const keyOf = (actor: { kind: string; id: string }): string => `${actor.kind}/${actor.id}`;

async function read<T>(path: string): Promise<T> {
  const answer = await fetch(`/api${path}`);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return (await answer.json()) as T;
}

/** Colour class of a state's name. */
export function tone(state: string): 'good' | 'busy' | 'bad' | 'idle' {
  if (/unhealthy|dead|failed|oom/.test(state)) return 'bad';
  if (/^(running|active|serving|done)/.test(state)) return 'good';
  if (/starting|stopping|restarting|restoring|creating|removing|layers|manifest|resolving|solving/.test(state))
    return 'busy';
  return 'idle';
}

export interface Flag {
  word: 'flapping' | 'stuck';
  text: string;
}

/** What wants attention, found by itself. */
export function flagsOf(model: Model, actor: PageActor): Flag[] {
  const facts = model.factsOf(actor);
  const now = model.now();
  const flags: Flag[] = [];
  if (flapping(facts, now))
    flags.push({ word: 'flapping', text: 'Flapping: it restarted at least three times in the last minute.' });
  const { effects } = model.at(actor);
  const usual = effects.length ? usualDurations(facts) : undefined;
  const late = effects.find((effect) => isLate(effect, now, usual?.get(effect.name)));
  if (late) flags.push({ word: 'stuck', text: `Stuck: ${late.name} runs much longer than it should.` });
  return flags;
}
