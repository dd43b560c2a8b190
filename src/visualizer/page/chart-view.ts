/// <reference lib="dom" />
/**
 * The statechart of an actor as SVG: states as boxes in boxes, the current ones lit, the last transition moving. What leads out of the current
 * states is drawn in full; the other edges are faint until their state is pointed at or focused.
 */
import { collapse, eventOf, type ShownEdge, type ShownNode } from '../collapse.ts';
import { span } from '../explain.ts';
import { activeIds, type Visits } from '../past.ts';
import { type Line, pathOf, place, type Placed } from './chart-layout.ts';
import { arrowHead, s } from './dom.ts';
import type { PageChart } from './model.ts';

export interface ChartState {
  state: string;
  last: { from: string; to: string } | undefined;
  visits: Map<string, Visits>;
  /** Compound states whose inside is shown. */
  open: ReadonlySet<string>;
  toggle: (id: string) => void;
}

const layouts = new WeakMap<PageChart, Map<string, Promise<Placed>>>();

const boxText = (node: ShownNode): { title: string; lines: string[] } => ({
  title: node.hidden ? `▸ ${node.key}` : node.key,
  lines: [
    ...(node.hidden ? [`${node.hidden} states inside`] : []),
    ...(node.effects.length ? [`⚙ ${node.effects.join(', ')}`] : []),
    // Room for visits, so that the first one moves nothing.
    '00× · 00 min 00 s',
  ],
});

export async function drawChart(chart: PageChart, look: ChartState): Promise<SVGElement> {
  const { nodes, edges } = collapse(chart, look.open);
  const known = layouts.get(chart) ?? new Map<string, Promise<Placed>>();
  layouts.set(chart, known);
  const key = [...look.open].sort().join(' ');
  const placing = known.get(key) ?? place(nodes, edges, boxText);
  known.set(key, placing);
  const placed = await placing;
  const active = activeIds(chart, look.state);
  const flat = new Map<string, ShownNode>();
  const walk = (node: ShownNode): void => {
    flat.set(node.id, node);
    node.states.forEach(walk);
  };
  nodes.forEach(walk);
  const moved = lastEdge(chart, look, edges);
  const inner = [...placed.boxes.keys()].filter((id) => flat.get(id)?.states.length === 0);
  const outer = [...placed.boxes.keys()].filter((id) => flat.get(id)?.states.length);
  const byId = new Map(edges.map((edge) => [edge.id, edge]));
  const box = (id: string): SVGElement => drawBox(flat.get(id)!, placed, active.has(id), look, edges);
  const line = (item: Line): SVGElement =>
    drawLine(item, byId.get(item.id)!, {
      near: byId.get(item.id)!.all.some(({ source }) => active.has(source)),
      last: item.id === moved,
    });
  const svg = s(
    'svg',
    {
      viewBox: `0 0 ${placed.width} ${placed.height}`,
      class: 'chart',
      role: 'group',
      'aria-label': `statechart, now ${look.state || 'not there'}`,
      'data-width': placed.width,
      'data-height': placed.height,
    },
    s('defs', {}, arrowHead('tip')),
    ...outer.map(box),
    ...placed.lines.map(line),
    ...inner.map(box),
  );
  lightOnHover(svg);
  return svg;
}

/** The drawn edge of the last transition: of those that lead from what was current to what is, the one that changed the most. */
function lastEdge(chart: PageChart, { last }: ChartState, edges: readonly ShownEdge[]): string | undefined {
  if (!last) return undefined;
  const [from, to] = [activeIds(chart, last.from), activeIds(chart, last.to)];
  return edges.find(({ source, target }) => from.has(source) && !to.has(source) && to.has(target) && !from.has(target))
    ?.id;
}

function drawBox(node: ShownNode, placed: Placed, on: boolean, look: ChartState, edges: ShownEdge[]): SVGElement {
  const { x, y, width, height } = placed.boxes.get(node.id)!;
  const visit = look.visits.get(node.id);
  const visited = visit ? `${visit.count}× · ${span(visit.ms)}` : '';
  const { title } = boxText(node);
  const lines = [
    ...(node.hidden ? [`${node.hidden} states inside`] : []),
    ...(node.effects.length ? [`⚙ ${node.effects.join(', ')}`] : []),
    visited,
  ].filter(Boolean);
  const open = node.states.length > 0;
  const folds = open || node.hidden > 0;
  const out = edges
    .flatMap(({ all }) => all)
    .filter(({ source }) => source === node.id)
    .map((edge) => `${eventOf(edge)} → ${nameOf(edge.target)}`);
  const act = folds ? (): void => look.toggle(node.id) : undefined;
  return s(
    'g',
    {
      class: `state${on ? ' on' : ''}${folds ? ' folds' : ''}`,
      role: folds ? 'button' : 'img',
      tabindex: 0,
      'aria-label': [
        `state ${node.key}`,
        on && 'current',
        visited && `visited ${visited}`,
        node.hidden && `${node.hidden} states inside`,
      ]
        .filter(Boolean)
        .join(', '),
      'aria-expanded': folds ? String(open) : undefined,
      'data-state': node.id,
      'data-on': on ? 'true' : undefined,
      click: open ? undefined : act,
      keydown:
        act &&
        ((event: KeyboardEvent) => (event.key === 'Enter' || event.key === ' ') && (event.preventDefault(), act())),
    },
    s('title', {}, [node.key, ...lines, '', ...out].join('\n')),
    s('rect', { class: open ? 'node group' : 'node', x, y, width, height, rx: open ? 12 : 8 }),
    s('text', { class: 'title', x: x + 14, y: y + 21, click: open ? act : undefined }, open ? `▾ ${node.key}` : title),
    ...(open
      ? [s('text', { class: 'soft', x: x + width - 14, y: y + 21, 'text-anchor': 'end' }, visited)]
      : lines.map((line, i) => s('text', { class: 'soft', x: x + 14, y: y + 38 + i * 15 }, line))),
  );
}

const nameOf = (id: string): string => id.split('.').slice(1).join('.');

function drawLine(line: Line, edge: ShownEdge, { near, last }: { near: boolean; last: boolean }): SVGElement {
  return s(
    'g',
    {
      class: `edge${near ? ' near' : ''}${last ? ' last' : ''}`,
      'data-source': line.source,
      'data-target': line.target,
    },
    s('title', {}, edge.all.map((one) => `${nameOf(one.source)}: ${eventOf(one)} → ${nameOf(one.target)}`).join('\n')),
    s('path', { d: pathOf(line), 'marker-end': 'url(#tip)' }),
    line.label && s('text', { class: 'soft', x: line.label.x, y: line.label.y }, line.label.text),
  );
}

/** Edges of the state that is pointed at or focused are drawn in full. */
function lightOnHover(svg: SVGElement): void {
  const light = (event: Event, on: boolean): void => {
    const id = (event.target as Element).closest<SVGElement>('.state')?.dataset.state;
    if (!id) return;
    for (const edge of svg.querySelectorAll<SVGElement>('.edge'))
      edge.classList.toggle('lit', on && (edge.dataset.source === id || edge.dataset.target === id));
  };
  for (const [type, on] of [
    ['pointerover', true],
    ['pointerout', false],
    ['focusin', true],
    ['focusout', false],
  ] as const)
    svg.addEventListener(type, (event) => light(event, on));
}
