/// <reference lib="dom" />
/** What the page knows: actors and facts, live from the daemon or from an exported file, and the moment that is looked at. */
import { actorAt, applyFact } from '../past.ts';
import type { ActorView, Chart } from '../view.ts';
import type { Chain } from '../why.ts';
import { timeOf, type WireFact } from '../wire.ts';
import { Chains } from './chains.ts';
import { linesOf, pause, read } from './net.ts';

/** `unread`: it moved since its timers and what it accepts were read. */
export type PageActor = ActorView & { project: string; unread?: boolean };
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
const NAMES = 5000;
/** Redraws at most this often; under load less, so that drawing and painting take no more than a tenth of the time. */
const REDRAW_MS = 150;
const REST_TIMES = 9;
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
  /** A change came while the last one was drawn. */
  #again = false;
  #nextDraw = 0;
  /** The facts of each actor, by its key. */
  #byActor = new Map<string, WireFact[]>();
  /** Names of actors, also of those that are gone. */
  #names = new Map<string, string>();
  #chains = new Chains(this, read);
  #listing = false;
  #stale = false;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  changed(): void {
    if (document.hidden) return;
    if (this.#scheduled) {
      this.#again = true;
      return;
    }
    this.#scheduled = true;
    setTimeout(() => void this.#draw(), Math.max(20, this.#nextDraw - performance.now()));
  }

  async #draw(): Promise<void> {
    const began = performance.now();
    this.#onChange();
    // The frame that shows it belongs to its cost.
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    const ended = performance.now();
    this.#nextDraw = ended + Math.max(REDRAW_MS, (ended - began) * REST_TIMES);
    this.#scheduled = false;
    if (this.#again) this.changed();
    this.#again = false;
  }

  /** The moment looked at; of an exported file its end. */
  now(): number {
    if (this.moment !== undefined) return this.moment;
    const last = this.offline && this.facts.at(-1);
    return last ? timeOf(last) : Date.now();
  }

  async load(): Promise<void> {
    const [actors, facts] = await Promise.all([
      read<PageActor[]>('/reactord/actors'),
      read<WireFact[]>('/reactord/facts?limit=5000'),
    ]);
    this.#hold(actors);
    this.#keep(facts);
    this.changed();
  }

  #hold(actors: PageActor[]): void {
    this.actors = new Map(actors.map((actor) => [keyOf(actor), actor]));
    for (const [key, actor] of this.actors) if (actor.name) this.#names.set(key, actor.name);
    while (this.#names.size > NAMES) this.#names.delete(this.#names.keys().next().value!);
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
    this.#chains.open(snapshot.chains ?? {});
    this.chosen = undefined;
    this.changed();
  }

  /** Everything needed to look at this later, without a daemon. */
  async export(): Promise<Snapshot> {
    // One chart a kind is enough: all actors of a kind run the same machine.
    // The oldest: it will not be gone before it is read, as the exec of a health check.
    const byAge = [...this.actors.values()].sort((a, b) => b.since - a.since);
    const kinds = new Map(byAge.map((actor) => [actor.kind, actor]));
    for (const actor of kinds.values()) await this.chart(actor);
    const ends = [...this.actors.values()].flatMap((actor) => this.#lastMove(actor) ?? []);
    const chains = await this.#chains.export(ends);
    return {
      exportedAt: Date.now(),
      actors: [...this.actors.values()],
      facts: this.facts,
      charts: Object.fromEntries(this.charts),
      chains,
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
    for await (const line of linesOf(answer.body)) this.#take(JSON.parse(line) as FeedLine);
  }

  #take(fact: FeedLine): void {
    if (this.offline) return;
    if (fact.connected) {
      void this.#catchUp();
      return;
    }
    if (fact.skipped) {
      this.skipped = fact.skipped;
      // What was left out may have moved anything.
      void this.#list();
    } else this.#add(fact);
    this.changed();
  }

  /** What happened between the reading of the journal and the beginning of the feed. */
  async #catchUp(): Promise<void> {
    const last = this.facts.at(-1)?.seq ?? 0;
    const missed = await read<WireFact[]>(`/reactord/facts?after=${last}&limit=5000`).catch(() => []);
    if (this.offline || !missed.length) return;
    const bySeq = new Map([...this.facts, ...missed].map((fact) => [fact.seq, fact]));
    this.#keep([...bySeq.values()].sort((a, b) => a.seq - b.seq));
    void this.#list();
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
    if (actor && fact.topic === 'transition') actor.unread = true;
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
        if (!this.offline) this.#hold(actors);
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
    return end ? this.#chains.to(end) : { facts: [], isCut: false, isBroken: false };
  }

  #lastMove(actor: PageActor): WireFact | undefined {
    const now = this.now();
    return this.factsOf(actor).findLast((fact) => fact.topic === 'transition' && timeOf(fact) <= now);
  }

  factsOf(actor: { kind: string; id: string }): WireFact[] {
    return this.#byActor.get(keyOf(actor)) ?? [];
  }

  /** Also of one that is gone, if it was seen. */
  nameOf(key: string): string | undefined {
    const actor = this.actors.get(key);
    return actor ? nameOf(actor) : this.#names.get(key);
  }

  until(): WireFact[] {
    return this.moment === undefined ? this.facts : this.facts.filter((fact) => timeOf(fact) <= this.moment!);
  }
}

export { timeOf };
export const nameOf = (actor: PageActor): string => actor.name || actor.id.slice(0, 12);
export const keyOf = (actor: { kind: string; id: string }): string => `${actor.kind}/${actor.id}`;
