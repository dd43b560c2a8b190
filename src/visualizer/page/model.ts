/// <reference lib="dom" />
/** What the page knows: actors and facts, live from the daemon or from an exported file, and the moment that is looked at. */
import type { WireFact } from '../explain.ts';
import type { ActorView, Chart } from '../view.ts';

export type PageActor = ActorView & { project: string };
export type PageChart = Chart & { active: string[] };

export interface Snapshot {
  exportedAt: number;
  actors: PageActor[];
  facts: WireFact[];
  charts: Record<string, PageChart>;
}

/** Facts the page keeps; older ones are read again from the journal on demand. */
const KEPT = 20_000;
/** Redraws at most this often under load. */
const REDRAW_MS = 120;

export class Model {
  actors = new Map<string, PageActor>();
  facts: WireFact[] = [];
  charts = new Map<string, PageChart>();
  chosen: string | undefined;
  /** Milliseconds since the epoch; undefined is now. */
  moment: number | undefined;
  /** Facts the feed lost because this page was slow. */
  dropped = 0;
  offline = false;
  connected = false;
  #onChange: () => void;
  #scheduled = false;
  #stale = new Set<string>();

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  changed(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(() => {
      this.#scheduled = false;
      this.#onChange();
    }, REDRAW_MS);
  }

  now(): number {
    return this.moment ?? (this.offline ? (this.#lastTime() ?? Date.now()) : Date.now());
  }

  #lastTime(): number | undefined {
    const last = this.facts.at(-1);
    return last && Number(BigInt(last.timeNano) / 1_000_000n);
  }

  async load(): Promise<void> {
    const [actors, facts] = await Promise.all([
      read<PageActor[]>('/reactord/actors'),
      read<WireFact[]>('/reactord/facts?limit=5000'),
    ]);
    this.actors = new Map(actors.map((actor) => [keyOf(actor), actor]));
    this.facts = facts;
    this.changed();
  }

  open(snapshot: Snapshot): void {
    this.offline = true;
    this.connected = false;
    this.actors = new Map(snapshot.actors.map((actor) => [keyOf(actor), actor]));
    this.facts = snapshot.facts;
    this.charts = new Map(Object.entries(snapshot.charts));
    this.chosen = undefined;
    this.changed();
  }

  /** Everything needed to look at this later, without a daemon. */
  async export(): Promise<Snapshot> {
    // One chart a kind is enough: all actors of a kind run the same machine.
    const kinds = new Map([...this.actors.values()].map((actor) => [actor.kind, actor]));
    for (const actor of kinds.values()) await this.chart(actor);
    return {
      exportedAt: Date.now(),
      actors: [...this.actors.values()],
      facts: this.facts,
      charts: Object.fromEntries(this.charts),
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
      for (const line of lines)
        if (line) this.#take(JSON.parse(line) as WireFact & { dropped?: number; connected?: boolean });
    }
  }

  #take(fact: WireFact & { dropped?: number; connected?: boolean }): void {
    if (this.offline || fact.connected) return;
    if (fact.dropped) this.dropped = fact.dropped;
    else {
      this.facts.push(fact);
      if (this.facts.length > KEPT) this.facts.splice(0, KEPT / 4);
      if (fact.topic === 'transition' || fact.topic === 'effect') this.#refresh(`${fact.type}/${fact.id}`);
      if (fact.topic === 'event') this.#refresh(`${fact.type}/${fact.id}`);
    }
    this.changed();
  }

  /** Reads actors that moved again, all of a moment at once. */
  #refresh(key: string): void {
    this.#stale.add(key);
    if (this.#stale.size > 1) return;
    setTimeout(() => void this.#readStale(), REDRAW_MS);
  }

  async #readStale(): Promise<void> {
    const keys = [...this.#stale];
    this.#stale.clear();
    try {
      if (keys.length > 5) {
        const actors = await read<PageActor[]>('/reactord/actors');
        this.actors = new Map(actors.map((actor) => [keyOf(actor), actor]));
      } else await Promise.all(keys.map((key) => this.#readOne(key)));
    } catch {
      // The feed notices when the daemon is gone.
    }
    this.changed();
  }

  async #readOne(key: string): Promise<void> {
    try {
      this.actors.set(key, await read<PageActor>(`/reactord/actors/${key}`));
    } catch {
      this.actors.delete(key);
    }
  }

  /** The state of an actor at the moment looked at. */
  stateOf(actor: PageActor): string {
    if (this.moment === undefined) return actor.state;
    const before = this.factsOf(actor).findLast((fact) => fact.topic === 'transition' && timeOf(fact) <= this.moment!);
    return String(before?.data?.to ?? '');
  }

  factsOf(actor: { kind: string; id: string }): WireFact[] {
    return this.facts.filter((fact) => fact.id === actor.id && fact.type === actor.kind);
  }

  until(): WireFact[] {
    return this.moment === undefined ? this.facts : this.facts.filter((fact) => timeOf(fact) <= this.moment!);
  }
}

export const timeOf = (fact: WireFact): number => Number(BigInt(fact.timeNano) / 1_000_000n);
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
