/**
 * Less of a chart: states whose parents are not open are drawn as one box. Each edge is drawn between neighbours, the outermost states it leaves
 * and enters, so that every level is a small graph of its own; what it says in full is kept with it. Pure.
 */
import type { Chart, ChartEdge, ChartNode } from './view.ts';

export interface ShownNode {
  id: string;
  key: string;
  effects: string[];
  /** States inside that are not drawn. */
  hidden: number;
  states: ShownNode[];
}

export interface ShownEdge {
  id: string;
  /** Id of the state that both ends lie in; '' outside of all. */
  parent: string;
  source: string;
  target: string;
  /** Each `EVENT` or `EVENT [guard]` once. */
  events: string[];
  /** The transitions that are drawn as this edge. */
  all: ChartEdge[];
}

const sizeOf = (node: ChartNode): number => node.states.reduce((sum, state) => sum + 1 + sizeOf(state), 0);

/** `open` has the ids of compound states whose inside is drawn; the root always is. */
export function collapse(chart: Chart, open: ReadonlySet<string>): { nodes: ShownNode[]; edges: ShownEdge[] } {
  /** From outside in. */
  const paths = new Map<string, string[]>();
  const show = (node: ChartNode, outer: string[], visible: boolean): ShownNode => {
    const path = [...outer, node.id];
    paths.set(node.id, path);
    const isOpen = visible && open.has(node.id);
    const states = node.states.map((state) => show(state, path, isOpen));
    return {
      id: node.id,
      key: node.key,
      effects: node.effects,
      hidden: isOpen ? 0 : sizeOf(node),
      states: isOpen ? states : [],
    };
  };
  const nodes = chart.root.states.map((state) => show(state, [], true));
  const merged = new Map<string, ShownEdge>();
  for (const one of chart.edges) {
    const [from, to] = [paths.get(one.source), paths.get(one.target)];
    // Edges of the root lead from every state; they are told in the list of accepted events.
    if (!from || !to) continue;
    const depth = from.findIndex((id, i) => id !== to[i]);
    const [source, target] = [from[depth], to[depth]];
    const outer = from.slice(0, depth);
    // A state and what lies in it are no neighbours, and what a closed box does inside is not seen.
    if (!source || !target || !outer.every((id) => open.has(id))) continue;
    const id = `${source}→${target}`;
    const edge = merged.get(id) ?? { id, parent: outer.at(-1) ?? '', source, target, events: [], all: [] };
    const text = eventOf(one);
    if (!edge.events.includes(text)) edge.events.push(text);
    edge.all.push(one);
    merged.set(id, edge);
  }
  return { nodes, edges: [...merged.values()] };
}

export const eventOf = ({ event, guard }: ChartEdge): string => (guard ? `${event} [${guard}]` : event);

/** Ids of all compound states. */
export function compounds(node: ChartNode): string[] {
  return node.states.flatMap((state) => (state.states.length ? [state.id, ...compounds(state)] : []));
}
