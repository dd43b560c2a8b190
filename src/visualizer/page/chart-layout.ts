/// <reference lib="dom" />
/** Places of a chart's boxes and edges by elkjs. Each level keeps the machine's order, so that a chart looks the same each time. */
import Elk, { type ElkExtendedEdge, type ElkNode } from 'elkjs/lib/elk.bundled.js';
import type { ShownEdge, ShownNode } from '../collapse.ts';

// CommonJS whose types know only `default` as a member of the module.
const elk = new (Elk as unknown as typeof Elk.default)();

const OPTIONS = {
  'elk.algorithm': 'layered',
  'elk.direction': 'DOWN',
  'elk.layered.considerModelOrder.strategy': 'NODES_AND_EDGES',
  'elk.layered.cycleBreaking.strategy': 'MODEL_ORDER',
  'elk.layered.spacing.nodeNodeBetweenLayers': '28',
  'elk.layered.spacing.edgeNodeBetweenLayers': '12',
  'elk.spacing.nodeNode': '24',
  'elk.spacing.edgeLabel': '3',
  'elk.edgeLabels.inline': 'false',
};

/** Width of a character, by the font sizes of page.css. */
const TEXT = 8.2;
const SMALL = 6.7;

export interface Box {
  id: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Line {
  id: string;
  source: string;
  target: string;
  /** One list for each piece. */
  points: { x: number; y: number }[][];
  label: { text: string; x: number; y: number } | undefined;
}

export interface Placed {
  width: number;
  height: number;
  /** Outer boxes before those in them. */
  boxes: Map<string, Box>;
  lines: Line[];
}

/** Lines of text in a box: its size follows from them. */
export type BoxText = (node: ShownNode) => { title: string; lines: string[] };

const LONGEST_LABEL = 18;

/** Short, since room is kept for it: the first event, without guards and without what is only a decision. Titles tell all. */
export function edgeLabel(events: readonly string[]): string {
  const names = [...new Set(events.map((event) => event.replace(/ \[.*$/, '')))].filter((name) => name !== 'always');
  const first = names[0] ?? '';
  const short = first.length > LONGEST_LABEL ? `${first.slice(0, LONGEST_LABEL - 1)}…` : first;
  return names.length > 1 ? `${short} +${names.length - 1}` : short;
}

const elkEdge = ({ id, source, target, events }: ShownEdge): ElkExtendedEdge => {
  const text = edgeLabel(events);
  return { id, sources: [source], targets: [target], labels: [{ text, width: text.length * SMALL + 4, height: 15 }] };
};

/** Room of an open state around its inside, and for its title. */
const MARGIN = { top: 38, side: 16 };

export async function place(nodes: ShownNode[], edges: ShownEdge[], textOf: BoxText): Promise<Placed> {
  return placeLevel('', nodes, { edges: Map.groupBy(edges, ({ parent }) => parent), textOf });
}

interface Level {
  edges: Map<string, ShownEdge[]>;
  textOf: BoxText;
}

/** Lays out what lies directly in one state, after the insides of the states there: a level never moves because of another. */
async function placeLevel(parent: string, nodes: ShownNode[], level: Level): Promise<Placed> {
  const insides = new Map<string, Placed>();
  for (const node of nodes) if (node.states.length) insides.set(node.id, await placeLevel(node.id, node.states, level));
  const graph: ElkNode = await elk.layout({
    id: parent || 'graph',
    layoutOptions: { ...OPTIONS, 'elk.padding': '[top=4,left=4,bottom=4,right=4]' },
    children: nodes.map((node) => ({ id: node.id, ...sizeOf(node, insides.get(node.id), level.textOf) })),
    edges: (level.edges.get(parent) ?? []).map(elkEdge),
  });
  const placed: Placed = { width: graph.width ?? 0, height: graph.height ?? 0, boxes: new Map(), lines: [] };
  for (const { id, x = 0, y = 0, width = 0, height = 0 } of graph.children ?? []) {
    placed.boxes.set(id, { id, x, y, width, height });
    const inside = insides.get(id);
    // Wider than its inside only where its title needs it.
    if (inside) include(placed, inside, x + (width - inside.width) / 2, y + MARGIN.top);
  }
  placed.lines.push(...(graph.edges ?? []).map(placedLine));
  return placed;
}

function sizeOf(node: ShownNode, inside: Placed | undefined, textOf: BoxText): { width: number; height: number } {
  const { title, lines } = textOf(node);
  const width = Math.max(96, title.length * TEXT + 28, ...lines.map((line) => line.length * SMALL + 28));
  if (!inside) return { width, height: 32 + lines.length * 15 + (lines.length ? 4 : 0) };
  return {
    width: Math.max(inside.width + 2 * MARGIN.side, width + 120),
    height: inside.height + MARGIN.top + MARGIN.side,
  };
}

function include(outer: Placed, inner: Placed, x: number, y: number): void {
  for (const [id, box] of inner.boxes) outer.boxes.set(id, { ...box, x: box.x + x, y: box.y + y });
  for (const line of inner.lines)
    outer.lines.push({
      ...line,
      points: line.points.map((part) => part.map((point) => ({ x: point.x + x, y: point.y + y }))),
      label: line.label && { ...line.label, x: line.label.x + x, y: line.label.y + y },
    });
}

function placedLine(edge: ElkExtendedEdge): Line {
  const label = edge.labels?.[0];
  return {
    id: edge.id,
    source: edge.sources[0]!,
    target: edge.targets[0]!,
    points: (edge.sections ?? []).map(({ startPoint, bendPoints = [], endPoint }) => [
      startPoint,
      ...bendPoints,
      endPoint,
    ]),
    label: label?.text ? { text: label.text, x: label.x ?? 0, y: (label.y ?? 0) + 11 } : undefined,
  };
}

export const pathOf = (line: Line): string =>
  line.points.map((part) => part.map(({ x, y }, i) => `${i ? 'L' : 'M'}${x},${y}`).join('')).join('');
