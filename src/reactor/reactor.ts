/**
 * The root reactor: a plain Map of root actors (never spawnChild: it copies the children map at every spawn), whose steps
 * are traced. Each transition and each effect becomes a fact on the bus that names its cause; an actor that fails is
 * reported, published, and rebuilt by its room.
 */
import type { Logger } from 'pino';
import { type Actor, type AnyActorLogic, type AnyActorRef, createActor, type InputFrom } from 'xstate';
import type { Bus } from '../bus/bus.ts';
import type { Cause } from '../bus/cause.ts';
import { deadlineExceeded } from '../errors.ts';
import { type Clock, xstateClock } from '../lib/clock.ts';
import { awaits, giveUp, type Reply } from './ask.ts';
import { stateText } from './state-text.ts';
import { Tracing } from './trace.ts';

export interface SpawnOptions<L extends AnyActorLogic> {
  input: InputFrom<L>;
  /** Called once when the actor ended in an error; the room rebuilds it from its record. */
  onFailure?: (error: unknown) => void;
  /** Who waits for it to be made. */
  reply?: Pick<Reply, 'reject'>;
}

export interface Effect {
  /** The invoke's src, or its id. */
  name: string;
  startedAt: number;
  /** Milliseconds it may take; undefined for one that is open-ended. */
  limit: number | undefined;
  /** Its beginning. */
  cause: Cause;
  /** Stops the watch over its limit. */
  ended(): void;
}

export interface Entry {
  kind: string;
  id: string;
  actor: AnyActorRef;
  state: string;
  /** Milliseconds since the epoch of the last transition. */
  since: number;
  /** Effects running now, by the child actor's session id. */
  effects: Map<string, Effect>;
  transitions: number;
  lastEvent: string;
  /** What the last transition led to goes back to it. */
  entered: Cause | undefined;
  /** Somebody else stops it. */
  isWatched: boolean;
}

/** Limits are the sums of deadlines: only when an effect takes so many times as long is it sure that none of them will tell. */
const PATIENCE = 2;

const textOf = (snapshot: any): string =>
  snapshot?.value === undefined ? String(snapshot?.status ?? '') : stateText(snapshot.value);

export class Reactor {
  #entries = new Map<string, Entry>();
  #bus: Bus;
  #clock: Clock;
  #log: Logger;
  /** By the actor's system: effects have that of their root. */
  #traced = new WeakMap<object, Entry>();
  #spawning: Entry | undefined;
  #tracing = new Tracing({
    stepped: (root, next, event, cause) => this.#stepped(this.#entryOf(root), next, event, cause),
    entered: (root) => this.#entryOf(root).entered,
    began: (effect, name, limit, cause) => this.#began(this.#entryOf(effect), effect, { name, limit, cause }),
    ended: (effect, snapshot) => this.#ended(this.#entryOf(effect), effect, snapshot),
  });

  constructor(deps: { bus: Bus; clock: Clock; log: Logger }) {
    this.#bus = deps.bus;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /** Starts an actor under `kind/id`. One that stands there already is stopped and replaced. */
  spawn<L extends AnyActorLogic>(kind: string, id: string, logic: L, options: SpawnOptions<L>): Actor<L> {
    const key = `${kind}/${id}`;
    const before = this.#entries.get(key);
    if (before) this.#stop(before);
    const entry: Entry = {
      kind,
      id,
      actor: undefined as unknown as AnyActorRef,
      state: '',
      since: this.#clock.now(),
      effects: new Map(),
      transitions: 0,
      lastEvent: '',
      entered: undefined,
      isWatched: false,
    };
    this.#spawning = entry;
    const actor = createActor(
      this.#tracing.root(logic) as AnyActorLogic,
      { id: key, input: options.input, clock: xstateClock(this.#clock) } as never,
    ) as unknown as Actor<L>;
    this.#spawning = undefined;
    entry.actor = actor;
    this.#entries.set(key, entry);
    const { reply } = options;
    if (reply) awaits(actor, (error) => reply.reject(error));
    actor.subscribe({
      error: (error) => {
        this.#log.error({ err: error, actor: key, state: entry.state }, 'an actor failed');
        this.#bus.publish({
          topic: 'reactor',
          type: kind,
          action: 'failed',
          id,
          data: { state: entry.state, error: error instanceof Error ? error.message : String(error) },
        });
        // What is thrown here would end the daemon.
        try {
          options.onFailure?.(error);
        } catch (thrown) {
          this.#log.error({ err: thrown, actor: key }, 'an actor that failed could not be followed up');
        }
      },
    });
    actor.start();
    return actor;
  }

  /** Shows the statechart of the daemon itself, which somebody else starts and stops. */
  watch(kind: string, id: string, actor: AnyActorRef): void {
    const entry: Entry = {
      ...{ kind, id, actor, state: '', since: this.#clock.now(), effects: new Map(), transitions: 0 },
      ...{ lastEvent: '', entered: undefined, isWatched: true },
    };
    this.#entries.set(`${kind}/${id}`, entry);
    const look = (): void => {
      const snapshot = actor.getSnapshot() as { status: string; children?: Record<string, AnyActorRef> };
      if (snapshot.status !== 'active') return;
      const cause = this.#stepped(entry, snapshot, 'lifecycle', undefined) ?? { seq: 0, request: undefined };
      const effects = Object.values(snapshot.children ?? {}).map((child) => [
        child.sessionId,
        {
          name: String((child as { src?: unknown }).src),
          startedAt: entry.since,
          limit: undefined,
          cause,
          ended: () => {},
        },
      ]);
      entry.effects = new Map(effects as [string, Effect][]);
    };
    look();
    actor.subscribe({ next: look, error: () => {} });
  }

  get<R extends AnyActorRef = AnyActorRef>(kind: string, id: string): R | undefined {
    return this.#entries.get(`${kind}/${id}`)?.actor as R | undefined;
  }

  entry(kind: string, id: string): Entry | undefined {
    return this.#entries.get(`${kind}/${id}`);
  }

  *entries(kind?: string): IterableIterator<Entry> {
    for (const entry of this.#entries.values()) if (!kind || entry.kind === kind) yield entry;
  }

  /** Stops and forgets an actor. */
  remove(kind: string, id: string): void {
    const key = `${kind}/${id}`;
    const entry = this.#entries.get(key);
    if (!entry || entry.isWatched) return;
    this.#entries.delete(key);
    this.#stop(entry);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Stops every actor; nothing is transitioned by that. */
  stop(): void {
    for (const entry of this.#entries.values()) if (!entry.isWatched) this.#stop(entry);
    this.#entries.clear();
  }

  #stop(entry: Entry): void {
    entry.actor.stop?.();
    for (const effect of entry.effects.values()) effect.ended();
  }

  /** The first step is taken while the actor is made. */
  #entryOf({ system }: { system: object }): Entry {
    const known = this.#traced.get(system);
    if (known) return known;
    const entry = this.#spawning!;
    this.#traced.set(system, entry);
    return entry;
  }

  #stepped(entry: Entry, snapshot: unknown, event: string, cause: Cause | undefined): Cause | undefined {
    const to = textOf(snapshot);
    if (to === entry.state) return cause;
    const from = entry.state;
    const now = this.#clock.now();
    const dwell = now - entry.since;
    entry.state = to;
    entry.since = now;
    entry.transitions++;
    entry.lastEvent = event;
    const request = cause?.request;
    const { seq } = this.#bus.publish({
      topic: 'transition',
      type: entry.kind,
      action: event,
      id: entry.id,
      data: { from, to, dwell, ...(request === undefined ? {} : { request }) },
      cause: cause?.seq,
    });
    entry.entered = { seq, request };
    return entry.entered;
  }

  #began(
    entry: Entry,
    child: AnyActorRef,
    { name, limit, cause }: { name: string; limit: number | undefined; cause: Cause | undefined },
  ): Cause {
    const bounded = limit !== undefined && Number.isFinite(limit) ? limit : undefined;
    const { seq } = this.#bus.publish({
      topic: 'effect',
      type: entry.kind,
      action: 'begin',
      id: entry.id,
      data: { effect: name, ...(bounded === undefined ? {} : { limit: bounded }) },
      cause: cause?.seq,
    });
    const began = { seq, request: cause?.request };
    const ended = bounded === undefined ? () => {} : this.#watchOver(entry, name, bounded * PATIENCE);
    entry.effects.set(child.sessionId, { name, startedAt: this.#clock.now(), limit: bounded, cause: began, ended });
    return began;
  }

  /** Whoever comes when it is overdue already waits no longer either. Returns how the watch ends. */
  #watchOver(entry: Entry, effect: string, ms: number): () => void {
    const next = (): (() => void) =>
      this.#clock.after(ms, () => {
        cancel = next();
        this.#overdue(entry, effect, ms);
      });
    let cancel = next();
    return () => cancel();
  }

  /** A bug of ours, or a kernel that hangs: it is told, and nobody waits for it. */
  #overdue({ kind, id, actor, state }: Entry, effect: string, ms: number): void {
    this.#log.error({ actor: `${kind}/${id}`, state, effect, ms }, 'an effect takes longer than it may');
    const waited = `it waited ${Math.round(ms / 1000)} s for ${effect}, which goes on`;
    giveUp(actor, deadlineExceeded(`${kind} ${id} is still ${state}: ${waited}`));
  }

  #ended(entry: Entry, child: AnyActorRef, { status, error }: { status: string; error?: unknown }): Cause | undefined {
    const effect = entry.effects.get(child.sessionId);
    if (!effect) return undefined;
    entry.effects.delete(child.sessionId);
    effect.ended();
    // One that is stopped did not end by itself: its state was left.
    const cause = status === 'stopped' ? (entry.entered ?? effect.cause) : effect.cause;
    const { seq } = this.#bus.publish({
      topic: 'effect',
      type: entry.kind,
      action: status === 'error' ? 'fail' : status === 'done' ? 'end' : 'stop',
      id: entry.id,
      data: {
        effect: effect.name,
        ms: this.#clock.now() - effect.startedAt,
        ...(error ? { error: error instanceof Error ? error.message : String(error) } : {}),
      },
      cause: cause.seq,
    });
    return { seq, request: effect.cause.request };
  }
}
