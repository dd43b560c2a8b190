/** Names for the transitions of a chart, so that a test can tell which of its definition were never taken. */
import type { AnyStateNode, AnyTransitionDefinition } from 'xstate';

/** "container.running.process.up on PAUSE 1": where it stands, on what, and the how-manieth of its alternatives it is. */
export function transitionName(transition: AnyTransitionDefinition): string {
  const { source, eventType } = transition;
  const alternatives = source.transitions.get(eventType) ?? source.always ?? [];
  return `${source.id} on ${eventType || 'always'} ${alternatives.indexOf(transition) + 1}`;
}

/** Every transition that a chart defines, from its root. */
export function definedTransitions(node: AnyStateNode): string[] {
  const own = [...node.transitions.values(), node.always ?? []].flat().map(transitionName);
  return [...new Set(own), ...Object.values(node.states).flatMap(definedTransitions)];
}
