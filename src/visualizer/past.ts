/** An actor's past, from its facts alone: how it was at a moment, how often and how long it was in each state. Pure. */
import type { ActorView, Chart, ChartNode } from './view.ts';
import { timeOf, type WireFact } from './wire.ts';

/** Moves an actor on by one of its facts, in place. */
export function applyFact(actor: ActorView, fact: WireFact): void {
  const { data = {} } = fact;
  if (fact.topic === 'transition') {
    actor.state = String(data.to ?? '');
    actor.since = timeOf(fact);
    actor.lastEvent = fact.action;
    actor.transitions++;
    actor.timers = [];
  } else if (fact.topic === 'effect' && fact.action === 'begin')
    actor.effects.push({
      name: String(data.effect),
      startedAt: timeOf(fact),
      ...(typeof data.limit === 'number' ? { limit: data.limit } : {}),
    });
  else if (fact.topic === 'effect') {
    const at = actor.effects.findIndex(({ name }) => name === data.effect);
    if (at >= 0) actor.effects.splice(at, 1);
  }
}

/** The actor as it was: `facts` are its own, in order. Timers that were called off, and what it accepted, are not in the journal. */
export function actorAt<A extends ActorView>(actor: A, facts: readonly WireFact[], moment: number): A {
  const past: A = { ...actor, state: '', since: moment, lastEvent: '', transitions: 0, effects: [], timers: [] };
  const before = facts.filter((fact) => timeOf(fact) <= moment);
  for (const fact of before) applyFact(past, fact);
  // A timer that was waited for is known by what it did.
  const then = facts.slice(before.length).find((fact) => fact.topic === 'transition');
  if (then?.action.startsWith('xstate.after.')) past.timers = [{ event: then.action, dueAt: timeOf(then) }];
  if (past.state) return past;
  // The journal that is known here begins later: the next transition says where it came from.
  const next = facts.find((fact) => fact.topic === 'transition');
  past.state = next ? String(next.data?.from ?? '') : actor.since <= moment ? actor.state : '';
  return past;
}

/** Ids of the active state nodes for a state's text such as `running{process: up, health: none}`. */
export function activeIds(chart: Chart, text: string): Set<string> {
  const ids = new Set<string>();
  let at = 0;
  const word = (): string => {
    const [found = ''] = /^[\w-]*/.exec(text.slice(at)) ?? [];
    at += found.length;
    return found;
  };
  const enter = (parent: ChartNode | undefined): void => {
    const key = word();
    const node = parent?.states.find((state) => state.key === key);
    if (node) ids.add(node.id);
    if (text[at] === '.') {
      at++;
      enter(node);
    } else if (text[at] === '{')
      do {
        at++;
        while (text[at] === ' ') at++;
        region(node);
      } while (text[at] === ',');
    if (text[at] === '}') at++;
  };
  const region = (parent: ChartNode | undefined): void => {
    const key = word();
    const node = parent?.states.find((state) => state.key === key);
    if (node) ids.add(node.id);
    while (text[at] === ':' || text[at] === ' ') at++;
    enter(node);
  };
  enter(chart.root);
  return ids;
}

export interface Visits {
  count: number;
  ms: number;
}

/** How often each state node was entered and how long it was active, up to `now`; `facts` are the actor's own. */
export function visitsOf(chart: Chart, facts: readonly WireFact[], now: number): Map<string, Visits> {
  const visits = new Map<string, Visits>();
  const moves = facts.filter((fact) => fact.topic === 'transition');
  let before = new Set<string>();
  moves.forEach((fact, i) => {
    const next = moves[i + 1];
    const ms = Math.max(0, (next ? timeOf(next) : now) - timeOf(fact));
    const active = activeIds(chart, String(fact.data?.to ?? ''));
    for (const id of active) {
      const visit = visits.get(id) ?? { count: 0, ms: 0 };
      visits.set(id, { count: visit.count + (before.has(id) ? 0 : 1), ms: visit.ms + ms });
    }
    before = active;
  });
  return visits;
}

/** Median duration of each effect that ended, by name. */
export function usualDurations(facts: readonly WireFact[]): Map<string, number> {
  const ended = facts.filter((fact) => fact.topic === 'effect' && fact.data?.ms !== undefined);
  const groups = Map.groupBy(ended, (fact) => String(fact.data!.effect));
  return new Map(
    [...groups].map(([name, list]) => {
      const sorted = list.map((fact) => Number(fact.data!.ms)).sort((a, b) => a - b);
      return [name, sorted[Math.floor(sorted.length / 2)]!];
    }),
  );
}
