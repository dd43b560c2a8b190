/// <reference lib="dom" />
/** The statechart of an actor as SVG, laid out by elkjs: states as boxes in boxes, the current ones lit, the last transition moving. */
import Elk, { type ElkExtendedEdge, type ElkNode } from 'elkjs/lib/elk.bundled.js';
import type { ChartNode } from '../view.ts';
import { s } from './dom.ts';
import type { PageChart } from './model.ts';

// CommonJS whose types know only `default` as a member of the module.
const elk = new (Elk as unknown as typeof Elk.default)();
const CHARACTER = 6.6;

const OPTIONS = {
  'elk.algorithm': 'layered',
  'elk.direction': 'DOWN',
  'elk.hierarchyHandling': 'INCLUDE_CHILDREN',
  'elk.layered.spacing.nodeNodeBetweenLayers': '34',
  'elk.spacing.nodeNode': '22',
  'elk.padding': '[top=30,left=14,bottom=14,right=14]',
  'elk.edgeLabels.inline': 'false',
};

function elkNode(node: ChartNode): ElkNode {
  const label = node.effects.length ? `${node.key} · ${node.effects.join(', ')}` : node.key;
  return node.states.length
    ? { id: node.id, layoutOptions: OPTIONS, labels: [{ text: node.key }], children: node.states.map(elkNode) }
    : { id: node.id, width: Math.max(70, label.length * CHARACTER + 24), height: 34, labels: [{ text: label }] };
}

/** Edges between the same states become one, its label the events. */
function elkEdges(chart: PageChart): ElkExtendedEdge[] {
  const merged = new Map<string, { source: string; target: string; events: string[] }>();
  for (const { source, target, event, guard } of chart.edges) {
    const key = `${source}→${target}`;
    const edge = merged.get(key) ?? { source, target, events: [] };
    const label = guard ? `${event} [${guard}]` : event;
    if (!edge.events.includes(label)) edge.events.push(label);
    merged.set(key, edge);
  }
  return [...merged].map(([id, { source, target, events }]) => {
    const text = events.slice(0, 2).join(', ') + (events.length > 2 ? ` +${events.length - 2}` : '');
    return { id, sources: [source], targets: [target], labels: [{ text, width: text.length * 5.4, height: 12 }] };
  });
}

const layouts = new WeakMap<PageChart, Promise<ElkNode>>();

function layout(chart: PageChart): Promise<ElkNode> {
  const known = layouts.get(chart);
  if (known) return known;
  const graph = { id: 'graph', layoutOptions: OPTIONS, children: [elkNode(chart.root)], edges: elkEdges(chart) };
  const laid = elk.layout(graph);
  layouts.set(chart, laid);
  return laid;
}

/** Ids of the active state nodes for a state's text such as running{process: up, health: none}. */
export function activeIds(chart: PageChart, state: string): Set<string> {
  const words = new Set(state.match(/[A-Za-z_][\w-]*/g) ?? []);
  const active = new Set<string>();
  const walk = (node: ChartNode): void => {
    for (const child of node.states) {
      if (!words.has(child.key)) continue;
      active.add(child.id);
      walk(child);
    }
  };
  walk(chart.root);
  return active;
}

export async function drawChart(
  chart: PageChart,
  state: string,
  last: { from: string; to: string } | undefined,
): Promise<SVGElement> {
  const graph = await layout(chart);
  const active = activeIds(chart, state);
  const from = last ? activeIds(chart, last.from) : new Set<string>();
  const to = last ? activeIds(chart, last.to) : new Set<string>();
  const positions = new Map<string, { x: number; y: number }>();
  const boxes: SVGElement[] = [];
  const draw = (node: ElkNode, x: number, y: number): void => {
    const at = { x: x + (node.x ?? 0), y: y + (node.y ?? 0) };
    positions.set(node.id, at);
    if (node.id !== 'graph') {
      const on = active.has(node.id);
      boxes.push(
        s(
          'g',
          {
            role: 'img',
            'aria-label': `state ${node.labels?.[0]?.text}${on ? ', current' : ''}`,
            'data-state': node.id,
            'data-on': on ? 'true' : undefined,
          },
          s('rect', {
            class: on ? 'node on' : 'node',
            x: at.x,
            y: at.y,
            width: node.width,
            height: node.height,
            rx: 8,
          }),
          s('text', { x: at.x + 12, y: at.y + 20 }, node.labels?.[0]?.text ?? ''),
        ),
      );
    }
    for (const child of node.children ?? []) draw(child, at.x, at.y);
  };
  draw(graph, 0, 0);
  const lines = (graph.edges ?? []).map((edge) =>
    drawEdge(edge, positions, from.has(edge.sources[0]!) && to.has(edge.targets[0]!)),
  );
  return s(
    'svg',
    {
      viewBox: `0 0 ${graph.width} ${graph.height}`,
      width: graph.width,
      height: graph.height,
      class: 'chart',
      role: 'group',
      'aria-label': 'statechart',
    },
    s(
      'defs',
      {},
      s(
        'marker',
        { id: 'tip', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto' },
        s('path', { d: 'M0,0L8,4L0,8z', class: 'soft' }),
      ),
    ),
    ...boxes,
    ...lines,
  );
}

function drawEdge(edge: ElkExtendedEdge, positions: Map<string, { x: number; y: number }>, last: boolean): SVGElement {
  // elkjs gives an edge's points relative to the node that contains both its ends.
  const container = (edge as { container?: string }).container ?? 'graph';
  const { x, y } = positions.get(container) ?? { x: 0, y: 0 };
  const parts = (edge.sections ?? []).map((section) => {
    const points = [section.startPoint, ...(section.bendPoints ?? []), section.endPoint];
    return points.map((point, i) => `${i ? 'L' : 'M'}${x + point.x},${y + point.y}`).join('');
  });
  const label = edge.labels?.[0];
  return s(
    'g',
    {},
    s('path', { class: last ? 'edge last' : 'edge', d: parts.join(''), 'marker-end': 'url(#tip)' }),
    label?.x !== undefined && s('text', { class: 'soft', x: x + label.x, y: y + (label.y ?? 0) + 9 }, label.text ?? ''),
  );
}
