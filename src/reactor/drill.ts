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

/** `running` matches `running{process: up, health: none}`, and so does `running.health.none`. */
function isOrHas(name: string, wanted: string): boolean {
  const brace = name.indexOf('{');
  if (name === wanted || brace < 0) return name === wanted;
  const outer = name.slice(0, brace);
  if (outer === wanted) return true;
  if (!wanted.startsWith(`${outer}.`)) return false;
  const inner = wanted.slice(outer.length + 1).replace('.', ': ');
  return name
    .slice(brace + 1, -1)
    .split(', ')
    .includes(inner);
}

export const matchesDrill = (drill: Drill, fact: Fact): boolean =>
  fact.topic === drill.topic && fact.type === drill.type && isOrHas(nameOf(fact), drill.name);

export function armDrill(bus: Bus, drill: Drill, die: () => void = () => process.kill(process.pid, 'SIGKILL')): void {
  bus.facts$.subscribe((fact) => {
    if (!matchesDrill(drill, fact)) return;
    // The group commit runs in the next setImmediate; the one after it is past it.
    if (drill.when === 'before') die();
    else setImmediate(() => setImmediate(die));
  });
}
