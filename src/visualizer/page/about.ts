/// <reference lib="dom" />
import { isAbout } from '../explain.ts';
import type { WireFact } from '../wire.ts';
import type { Model, PageActor } from './model.ts';

/** What concerns an actor up to the moment looked at: its own facts, the commands that led to some of them, and those that only name it. */
export function factsAbout(model: Model, actor: PageActor): WireFact[] {
  const all = model.until();
  const isOwn = (fact: WireFact): boolean => fact.id === actor.id && fact.type === actor.kind;
  const causes = new Set<number>();
  for (const fact of all) {
    if (isOwn(fact) && fact.cause !== undefined) causes.add(fact.cause);
    if (isAbout(fact, actor)) causes.add(fact.seq);
  }
  return all.filter(
    (fact) =>
      isOwn(fact) ||
      (fact.topic === 'command' && (causes.has(fact.seq) || causes.has(fact.cause ?? 0))) ||
      fact.attributes.container === actor.id,
  );
}
