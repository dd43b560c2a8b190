/// <reference lib="dom" />
/** Swimlanes: each container a lane, its states as bars over time, its events as marks. */
import { factText, span } from '../explain.ts';
import type { WireFact } from '../wire.ts';
import { clock, h, s } from './dom.ts';
import { tone } from './flags.ts';
import { type Model, nameOf, timeOf } from './model.ts';

const LANE = 30;
const LABEL = 170;
const AXIS = 34;
const LONGEST_WINDOW_MS = 10 * 60_000;
const TICKS = 5;

interface Scale {
  start: number;
  end: number;
  x: (ms: number) => number;
}

export function drawLanes(model: Model, width: number, choose: (key: string) => void): Element {
  const facts = model.until().filter((fact) => fact.type === 'container');
  const first = facts[0];
  if (!first) return h('p', { class: 'empty' }, 'No container has done anything yet.');
  const end = model.now();
  const start = Math.max(timeOf(first), end - LONGEST_WINDOW_MS);
  const x = (ms: number): number =>
    LABEL + ((Math.max(ms, start) - start) / Math.max(end - start, 1)) * (width - LABEL - 8);
  const lanes = [...Map.groupBy(facts, (fact) => fact.id)];
  const height = lanes.length * LANE + AXIS;
  return h(
    'div',
    {},
    legend(),
    s(
      'svg',
      { width, height, role: 'group', 'aria-label': `${lanes.length} containers over time` },
      ...ticks({ start, end, x }, height),
      ...lanes.map(([id, list], row) => lane(model, id, list, AXIS + row * LANE, { start, end, x }, choose)),
    ),
  );
}

const legend = (): HTMLElement =>
  h(
    'p',
    { class: 'legend' },
    ...(
      [
        ['good', 'running'],
        ['busy', 'on its way'],
        ['idle', 'at rest'],
        ['bad', 'unwell, or it died'],
      ] as const
    ).map(([tint, text]) => h('span', {}, h('span', { class: `dot ${tint}` }), text)),
  );

function ticks({ start, end, x }: Scale, height: number): SVGElement[] {
  return Array.from({ length: TICKS + 1 }, (_, i) => start + ((end - start) * i) / TICKS).flatMap((ms, i) => [
    s('line', { class: 'lane', x1: x(ms), x2: x(ms), y1: 18, y2: height }),
    s(
      'text',
      { class: 'soft', x: x(ms), y: 12, 'text-anchor': i === TICKS ? 'end' : i ? 'middle' : 'start' },
      clock(ms).slice(0, 8),
    ),
  ]);
}

function lane(
  model: Model,
  id: string,
  facts: WireFact[],
  y: number,
  { start, end, x }: Scale,
  choose: (key: string) => void,
): SVGElement {
  const actor = model.actors.get(`container/${id}`);
  const known = facts.findLast((fact) => fact.attributes.name)?.attributes.name;
  const name = actor ? nameOf(actor) : (known ?? id.slice(0, 12));
  const moves = facts.filter((fact) => fact.topic === 'transition');
  const bars = moves.map((fact, i) => {
    const state = String(fact.data?.to);
    const next = moves[i + 1];
    const until = next ? timeOf(next) : state.startsWith('removed') ? timeOf(fact) : end;
    return s(
      'rect',
      {
        class: tone(state),
        x: x(timeOf(fact)),
        y: y + 5,
        width: Math.max(x(until) - x(timeOf(fact)) - 0.5, 1),
        height: 14,
        rx: 3,
      },
      s('title', {}, `${name}: ${state} for ${span(until - timeOf(fact))}`),
    );
  });
  const marks = facts
    // Health checks run all the time; only what they find is a mark.
    .filter((fact) => fact.topic === 'event' && timeOf(fact) >= start && !fact.action.startsWith('exec_'))
    .map((fact) =>
      s(
        'circle',
        {
          class: `mark ${/^(die|oom|health_status: unhealthy)/.test(fact.action) ? 'bad' : 'idle'}`,
          cx: x(timeOf(fact)),
          cy: y + 12,
          r: 4,
        },
        s('title', {}, `${clock(timeOf(fact))} ${factText(fact)}`),
      ),
    );
  const pick = actor && ((): void => choose(`container/${id}`));
  return s(
    'g',
    {
      role: pick ? 'button' : 'img',
      tabindex: pick ? 0 : undefined,
      class: pick ? 'folds' : '',
      'aria-label': `${name}, ${actor ? model.at(actor).state : 'removed'}`,
      click: pick,
      keydown: pick && ((event: KeyboardEvent) => event.key === 'Enter' && pick()),
    },
    s('text', { class: actor ? '' : 'soft', x: 4, y: y + 17 }, name.length > 22 ? `${name.slice(0, 21)}…` : name),
    s('line', { class: 'lane', x1: LABEL, x2: x(end), y1: y + 12, y2: y + 12 }),
    ...bars,
    ...marks,
  );
}
