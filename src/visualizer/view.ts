/**
 * Actors as the visualizer shows them: state, since when, running effects, timers, what would be accepted. Pure reads of
 * snapshots; contexts are never shown, since they hold what clients gave (environment, registry passwords).
 */
import type { AnyActorRef, AnyStateMachine, AnyStateNode } from 'xstate';
import type { Fact } from '../bus/fact.ts';
import type { Entry } from '../reactor/reactor.ts';
import { redacted } from './redact.ts';

export interface ActorView {
  kind: string;
  id: string;
  /** What people call it; the room tells (container name, image reference …). */
  name: string;
  state: string;
  /** Milliseconds since the epoch. */
  since: number;
  lastEvent: string;
  transitions: number;
  /** `limit` is how many milliseconds it may take; without one it is open-ended. */
  effects: { name: string; startedAt: number; limit?: number }[];
  timers: { event: string; dueAt: number }[];
  /** Commands that the present states have transitions for, with their guard where one always asks: `REMOVE [isForced]`. */
  accepts: string[];
  /** News that would move it: what effects and the runtime tell. */
  news: string[];
}

interface ScheduledEvent {
  event: { type: string };
  delay: number;
  startedAt: number;
  source: AnyActorRef;
}

/** Delayed transitions that wait in the actor's system. */
export function timersOf(actor: AnyActorRef): ActorView['timers'] {
  const system = (actor as { system?: { getSnapshot(): unknown } }).system;
  const scheduled = (system?.getSnapshot() as { _scheduledEvents?: Record<string, ScheduledEvent> })?._scheduledEvents;
  return Object.values(scheduled ?? {})
    .filter((entry) => Number.isFinite(entry.delay))
    .map((entry) => ({ event: entry.event.type, dueAt: entry.startedAt + entry.delay }));
}

/** What the runtime and effects tell an actor; everything else that has a name is a command. */
const NEWS = new Set(['EXIT', 'OOM', 'HEALTH', 'REVISE', 'STAGE_DONE', 'STAGE_FAILED']);

export const isNews = (event: string): boolean => NEWS.has(/^\w*/.exec(event)![0]);

/** Events by name that the current states have transitions for; those of timers and invoked effects are left out. */
export function acceptedEvents(snapshot: unknown): string[] {
  const nodes = (snapshot as { _nodes?: AnyStateNode[] })._nodes ?? [];
  // A guard is only worth telling when no transition for the event goes without one.
  const guards = new Map<string, string | undefined>();
  for (const [name, transitions] of nodes.flatMap((node) => [...node.transitions])) {
    if (name === '' || name.startsWith('xstate.')) continue;
    const asked = transitions.map(({ guard }: { guard?: unknown }) => nameOf(guard));
    const free = asked.includes(undefined) || (guards.has(name) && guards.get(name) === undefined);
    guards.set(name, free ? undefined : asked.join(' or '));
  }
  return [...guards].map(([name, guard]) => (guard ? `${name} [${guard}]` : name)).sort();
}

export function viewActor(entry: Entry, name: string): ActorView {
  const events = acceptedEvents(entry.actor.getSnapshot());
  return {
    kind: entry.kind,
    id: entry.id,
    name,
    state: entry.state,
    since: entry.since,
    lastEvent: entry.lastEvent,
    transitions: entry.transitions,
    effects: [...entry.effects.values()].map(({ name: effect, startedAt, limit }) => ({
      name: effect,
      startedAt,
      ...(limit === undefined ? {} : { limit }),
    })),
    timers: timersOf(entry.actor),
    accepts: events.filter((event) => !isNews(event)),
    news: events.filter(isNews),
  };
}

export interface ChartNode {
  id: string;
  key: string;
  type: 'atomic' | 'compound' | 'parallel' | 'final' | 'history';
  initial?: string;
  effects: string[];
  states: ChartNode[];
}

export interface ChartEdge {
  source: string;
  target: string;
  event: string;
  guard?: string;
}

export interface Chart {
  root: ChartNode;
  edges: ChartEdge[];
}

const nameOf = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value;
  if (typeof value === 'function') return value.name || undefined;
  return typeof value === 'object' && value !== null && 'type' in value ? String(value.type) : undefined;
};

function chartNode(node: AnyStateNode): ChartNode {
  const initial = node.initial?.target?.[0];
  return {
    id: node.id,
    key: node.key,
    type: node.type,
    ...(initial ? { initial: initial.id } : {}),
    effects: node.invoke.map((invoke: { src: unknown; id: string }) => nameOf(invoke.src) ?? invoke.id),
    states: Object.values(node.states as Record<string, AnyStateNode>).map(chartNode),
  };
}

/** xstate.after.<delay>.<state id> and xstate.done.actor.<n>.<id> in words. */
export function eventText(type: string): string {
  const after = /^xstate\.after\.([^.]+)\./.exec(type);
  if (after) return /^\d+$/.test(after[1]!) ? `after ${after[1]} ms` : `after ${after[1]}`;
  const done = /^xstate\.(done|error)\.actor\.(?:\d+\.)?(.*)$/.exec(type);
  if (done) return `${done[1]} ${done[2]}`;
  if (type.startsWith('xstate.done.state')) return 'done';
  if (type === 'xstate.init') return 'its beginning';
  return type === '' ? 'always' : type;
}

function chartEdges(node: AnyStateNode, edges: ChartEdge[]): ChartEdge[] {
  const lists = [...node.transitions.values(), node.always ?? []];
  for (const transition of lists.flat()) {
    const guard = nameOf(transition.guard);
    for (const target of transition.target ?? [])
      edges.push({
        source: node.id,
        target: target.id,
        event: eventText(transition.eventType),
        ...(guard ? { guard } : {}),
      });
  }
  for (const child of Object.values(node.states as Record<string, AnyStateNode>)) chartEdges(child, edges);
  return edges;
}

export const chartOfMachine = (machine: { root: AnyStateNode }): Chart => ({
  root: chartNode(machine.root),
  edges: chartEdges(machine.root, []),
});

/** The statechart of a running actor, drawn from its own machine; undefined for an actor that is no machine. */
export function chartOf(actor: AnyActorRef): Chart | undefined {
  const machine = (actor as { logic?: Partial<AnyStateMachine> }).logic;
  return machine?.root && chartOfMachine({ root: machine.root });
}

/** Ids of the state nodes that are active now. */
export function activeNodes(actor: AnyActorRef): string[] {
  const nodes = (actor.getSnapshot() as { _nodes?: AnyStateNode[] })._nodes ?? [];
  return nodes.map((node) => node.id);
}

/** A fact as JSON: the time as a string, since it does not fit a number; commands of execs as everybody may read them. */
export const factJson = (fact: Fact): object => ({
  ...fact,
  ...(fact.action.startsWith('exec_') ? { action: redacted(fact.action) } : {}),
  timeNano: fact.timeNano.toString(),
});
