/**
 * A hook for drills: the daemon kills itself (SIGKILL, nothing is flushed) at the first fact that matches. `REACTORD_DRILL` is
 * <when>:<topic>:<type>:<name>, as before:transition:container:starting.creating or after:effect:container:launch/end; `before` is
 * before the group commit of that fact, `after` is after it. Armed only by the environment of the process.
 */
import type { Bus } from '../bus/bus.ts';
import type { Fact } from '../bus/fact.ts';
import { invalid } from '../errors.ts';

export interface Drill {
  when: 'before' | 'after';
  topic: string;
  type: string;
  /** The state moved to, `<effect>/<begin|end|fail>`, or an event's action. */
  name: string;
}

export function parseDrill(text: string): Drill {
  const match = /^(before|after):([a-z]+):([a-z]+):(.+)$/.exec(text);
  if (!match) throw invalid(`invalid value ${JSON.stringify(text)} for REACTORD_DRILL`);
  return { when: match[1] as Drill['when'], topic: match[2]!, type: match[3]!, name: match[4]! };
}

const nameOf = (fact: Fact): string => {
  if (fact.topic === 'transition') return String(fact.data?.to);
  return fact.topic === 'effect' ? `${String(fact.data?.effect)}/${fact.action}` : fact.action;
};

/** States are matched with what lies in them: `running` matches `running{process: up, health: none}`. */
export const matchesDrill = (drill: Drill, fact: Fact): boolean => {
  const name = nameOf(fact);
  return (
    fact.topic === drill.topic && fact.type === drill.type && (name === drill.name || name.startsWith(`${drill.name}{`))
  );
};

export function armDrill(bus: Bus, drill: Drill, die: () => void = () => process.kill(process.pid, 'SIGKILL')): void {
  bus.facts$.subscribe((fact) => {
    if (!matchesDrill(drill, fact)) return;
    // The group commit runs in the next setImmediate; the one after it is past it.
    if (drill.when === 'before') die();
    else setImmediate(() => setImmediate(die));
  });
}
