/**
 * The root reactor: a plain Map of root actors (never spawnChild: it copies the children map at every spawn), watched
 * through XState's inspection. Each transition and each effect becomes a fact on the bus; an actor that fails is
 * reported, published, and rebuilt by its room.
 */
import type { Logger } from 'pino';
import {
  type Actor,
  type AnyActorLogic,
  type AnyActorRef,
  createActor,
  type InputFrom,
  type InspectionEvent,
} from 'xstate';
import type { Bus } from '../bus/bus.ts';
import { type Clock, xstateClock } from '../lib/clock.ts';
import { stateText } from './state-text.ts';

export interface SpawnOptions<L extends AnyActorLogic> {
  input: InputFrom<L>;
  /** Called once when the actor ended in an error; the room rebuilds it from its record. */
  onFailure?: (error: unknown) => void;
}

export interface Effect {
  /** The invoke's src, or its id. */
  name: string;
  startedAt: number;
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
}

const textOf = (snapshot: any): string =>
  snapshot?.value === undefined ? String(snapshot?.status ?? '') : stateText(snapshot.value);

export class Reactor {
  #entries = new Map<string, Entry>();
  #bus: Bus;
  #clock: Clock;
  #log: Logger;

  constructor(deps: { bus: Bus; clock: Clock; log: Logger }) {
    this.#bus = deps.bus;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /** Starts an actor under `kind/id`. One that stands there already is stopped and replaced. */
  spawn<L extends AnyActorLogic>(kind: string, id: string, logic: L, options: SpawnOptions<L>): Actor<L> {
    const key = `${kind}/${id}`;
    this.#entries.get(key)?.actor.stop?.();
    const entry: Entry = {
      kind,
      id,
      actor: undefined as unknown as AnyActorRef,
      state: '',
      since: this.#clock.now(),
      effects: new Map(),
      transitions: 0,
      lastEvent: '',
    };
    const actor = createActor(
      logic as AnyActorLogic,
      {
        id: key,
        input: options.input,
        clock: xstateClock(this.#clock),
        inspect: (inspection: InspectionEvent) => this.#inspect(entry, inspection),
      } as never,
    ) as unknown as Actor<L>;
    entry.actor = actor;
    this.#entries.set(key, entry);
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
    if (!entry) return;
    this.#entries.delete(key);
    entry.actor.stop?.();
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Stops every actor; nothing is transitioned by that. */
  stop(): void {
    for (const entry of this.#entries.values()) entry.actor.stop?.();
    this.#entries.clear();
  }

  #inspect(entry: Entry, inspection: InspectionEvent): void {
    try {
      if (inspection.type === '@xstate.actor') {
        // Effects of the first state are made with the root itself, before `entry.actor` is set.
        const made = inspection.actorRef as AnyActorRef;
        if (made.sessionId !== inspection.rootId) this.#effectBegan(entry, made);
        return;
      }
      if (inspection.type !== '@xstate.snapshot') return;
      if (inspection.actorRef === entry.actor) this.#moved(entry, inspection.snapshot, inspection.event.type);
      else this.#effectMoved(entry, inspection.actorRef as AnyActorRef, inspection.snapshot);
    } catch (error) {
      this.#log.error({ err: error, actor: `${entry.kind}/${entry.id}` }, 'inspection failed');
    }
  }

  #moved(entry: Entry, snapshot: unknown, event: string): void {
    const to = textOf(snapshot);
    if (to === entry.state) return;
    const from = entry.state;
    const now = this.#clock.now();
    const dwell = now - entry.since;
    entry.state = to;
    entry.since = now;
    entry.transitions++;
    entry.lastEvent = event;
    this.#bus.publish({
      topic: 'transition',
      type: entry.kind,
      action: event,
      id: entry.id,
      data: { from, to, dwell },
    });
  }

  #effectBegan(entry: Entry, child: AnyActorRef): void {
    const src = (child as { src?: unknown }).src;
    const name = typeof src === 'string' ? src : child.id;
    entry.effects.set(child.sessionId, { name, startedAt: this.#clock.now() });
    this.#bus.publish({ topic: 'effect', type: entry.kind, action: 'begin', id: entry.id, data: { effect: name } });
  }

  #effectMoved(entry: Entry, child: AnyActorRef, snapshot: unknown): void {
    const status = (snapshot as { status?: string }).status;
    if (status === 'active' || status === undefined) return;
    const effect = entry.effects.get(child.sessionId);
    if (!effect) return;
    entry.effects.delete(child.sessionId);
    const error = (snapshot as { error?: unknown }).error;
    this.#bus.publish({
      topic: 'effect',
      type: entry.kind,
      action: status === 'error' ? 'fail' : status === 'done' ? 'end' : 'stop',
      id: entry.id,
      data: {
        effect: effect.name,
        ms: this.#clock.now() - effect.startedAt,
        ...(error ? { error: error instanceof Error ? error.message : String(error) } : {}),
      },
    });
  }
}
