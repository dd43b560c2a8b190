/// <reference lib="dom" />
/** The other views: the tree of actors, an actor's details, swimlanes, the sequence between actors, the journal, visits. */
import { causalChain, factText, flapping, span, waitingFor, type WireFact } from '../explain.ts';
import { clock, h, s } from './dom.ts';
import { keyOf, type Model, type PageActor, timeOf, tone } from './model.ts';

const nameOf = (actor: PageActor): string => actor.name || actor.id.slice(0, 12);

/** An effect that runs longer than this, other than the wait for a process, is called stuck. */
const STUCK_MS = 60_000;
const isStuck = (actor: PageActor, now: number): boolean =>
  actor.effects.some((effect) => !/wait|probe|watch|serve/i.test(effect.name) && now - effect.startedAt > STUCK_MS);

export function drawTree(model: Model, search: string, choose: (key: string) => void): HTMLElement[] {
  const found = [...model.actors.values()].filter((actor) =>
    [actor.kind, actor.name, actor.id, actor.state, actor.project].some((text) =>
      text.toLowerCase().includes(search.toLowerCase()),
    ),
  );
  const groups = Map.groupBy(found, (actor) => (actor.project ? `${actor.kind} · ${actor.project}` : actor.kind));
  return [...groups]
    .sort(([a], [b]) => a.localeCompare(b))
    .flatMap(([group, actors]) => [
      h('div', { class: 'group', role: 'presentation' }, `${group} (${actors.length})`),
      ...actors.sort((a, b) => nameOf(a).localeCompare(nameOf(b))).map((actor) => treeRow(model, actor, choose)),
    ]);
}

function treeRow(model: Model, actor: PageActor, choose: (key: string) => void): HTMLElement {
  const key = keyOf(actor);
  const state = model.stateOf(actor) || 'not there yet';
  const flags = [
    flapping(model.factsOf(actor), model.now()) && 'flapping',
    isStuck(actor, model.now()) && 'stuck',
  ].filter(Boolean);
  return h(
    'button',
    {
      class: 'actor',
      type: 'button',
      role: 'treeitem',
      'data-key': key,
      'aria-selected': String(model.chosen === key),
      'aria-label': `${actor.kind} ${nameOf(actor)}, ${state}`,
      click: () => choose(key),
    },
    h('span', { class: `dot ${tone(state)}` }),
    h('span', { class: 'name' }, nameOf(actor)),
    flags.length ? h('span', { class: 'flag' }, flags.join(' ')) : undefined,
    h('span', { class: 'state' }, state.split('{')[0]!),
  );
}

const factItem = (fact: WireFact): HTMLElement =>
  h('li', { class: `topic-${fact.topic}` }, h('time', {}, clock(timeOf(fact))), factText(fact));

export function drawDetail(model: Model, actor: PageActor | undefined): HTMLElement[] {
  if (!actor) return [h('p', { class: 'empty' }, 'Choose an actor to see why it is where it is.')];
  const now = model.now();
  const facts = model.until();
  const state = model.stateOf(actor);
  const waits = model.moment === undefined ? waitingFor(actor, now) : [];
  const chain = causalChain(facts, actor);
  const rows: [string, string][] = [
    ['Kind', actor.kind],
    ['Id', actor.id.slice(0, 24)],
    ['State', state],
    ['Time in state', span(now - actor.since)],
    ['Transitions', String(actor.transitions)],
  ];
  return [
    h('h2', {}, nameOf(actor)),
    h('dl', {}, ...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
    h('h3', {}, 'What is it waiting for'),
    ...(waits.length
      ? waits.map((wait) => h('div', {}, wait))
      : [h('div', { class: 'empty' }, 'nothing but a command or news from outside')]),
    h('h3', {}, 'It would accept'),
    h('div', {}, actor.accepts.join(', ') || 'nothing'),
    h('h3', {}, 'Why is it here'),
    h(
      'ol',
      { class: 'chain', id: 'chain' },
      ...(chain.length ? chain.map(factItem) : [h('li', { class: 'empty' }, 'no transition in the journal')]),
    ),
    h('h3', {}, 'Visits and dwell times'),
    visits(model, actor),
  ];
}

function visits(model: Model, actor: PageActor): HTMLElement {
  const stays = new Map<string, { count: number; ms: number }>();
  for (const fact of model.factsOf(actor)) {
    if (fact.topic !== 'transition') continue;
    const from = String(fact.data?.from || '(new)');
    const stay = stays.get(from) ?? { count: 0, ms: 0 };
    stays.set(from, { count: stay.count + 1, ms: stay.ms + Number(fact.data?.dwell ?? 0) });
  }
  const rows = [...stays].sort(([, a], [, b]) => b.ms - a.ms);
  return h(
    'table',
    {},
    h('tr', {}, h('th', {}, 'State'), h('th', {}, 'Left'), h('th', {}, 'Time')),
    ...rows.map(([state, { count, ms }]) =>
      h('tr', {}, h('td', {}, state), h('td', {}, String(count)), h('td', {}, span(ms))),
    ),
  );
}

const WIDTH = 1000;
const LANE = 26;
const LABEL = 150;
const LONGEST_WINDOW_MS = 10 * 60_000;

/** Swimlanes: each container a lane, its states as bars over time, events as marks. */
export function drawLanes(model: Model): Element {
  const facts = model.until().filter((fact) => fact.type === 'container');
  const lanes = [...Map.groupBy(facts, (fact) => fact.id)];
  const first = facts[0];
  if (!first) return h('p', { class: 'empty' }, 'No container has done anything yet.');
  const end = model.now();
  const start = Math.max(timeOf(first), end - LONGEST_WINDOW_MS);
  const x = (ms: number): number =>
    LABEL + ((Math.max(ms, start) - start) / Math.max(end - start, 1)) * (WIDTH - LABEL);
  const rows = lanes.flatMap(([id, list], row) => {
    const y = row * LANE + 8;
    const actor = model.actors.get(`container/${id}`);
    const name = actor
      ? nameOf(actor)
      : (list.findLast((fact) => fact.attributes.name)?.attributes.name ?? id.slice(0, 12));
    const moves = list.filter((fact) => fact.topic === 'transition');
    const bars = moves.map((fact, i) => {
      const until = moves[i + 1] ? timeOf(moves[i + 1]!) : /removed/.test(String(fact.data?.to)) ? timeOf(fact) : end;
      const state = String(fact.data?.to);
      const width = Math.max(x(until) - x(timeOf(fact)), 1);
      return s(
        'rect',
        { class: tone(state), x: x(timeOf(fact)), y, width, height: 12, rx: 2 },
        s('title', {}, `${name}: ${state} for ${span(until - timeOf(fact))}`),
      );
    });
    const marks = list
      .filter((fact) => fact.topic === 'event' && timeOf(fact) >= start)
      .map((fact) =>
        s(
          'circle',
          {
            class: `mark ${fact.action === 'die' || fact.action === 'oom' ? 'bad' : 'idle'}`,
            cx: x(timeOf(fact)),
            cy: y + 6,
            r: 3.5,
          },
          s('title', {}, factText(fact)),
        ),
      );
    return [
      s('text', { x: 0, y: y + 11 }, name.slice(0, 20)),
      s('line', { class: 'lane', x1: LABEL, x2: WIDTH, y1: y + 6, y2: y + 6 }),
      ...bars,
      ...marks,
    ];
  });
  return s(
    'svg',
    {
      viewBox: `0 0 ${WIDTH} ${lanes.length * LANE + 30}`,
      role: 'img',
      'aria-label': `${lanes.length} containers over time`,
    },
    ...rows,
    s('text', { class: 'soft', x: LABEL, y: lanes.length * LANE + 22 }, clock(start)),
    s('text', { class: 'soft', x: WIDTH - 70, y: lanes.length * LANE + 22 }, clock(end)),
  );
}

const SEQUENCE_ROWS = 60;

/** The last facts as messages between the API and the actors. */
export function drawSequence(model: Model): Element {
  const facts = model
    .until()
    .filter((fact) => fact.topic !== 'effect')
    .slice(-SEQUENCE_ROWS);
  const columns = [
    'API',
    ...new Set(facts.filter((fact) => fact.topic !== 'command').map((fact) => `${fact.type}/${fact.id}`)),
  ];
  const step = Math.max(110, Math.min(200, WIDTH / columns.length));
  const at = (column: string): number => 60 + columns.indexOf(column) * step;
  const label = (column: string): string => {
    const actor = model.actors.get(column);
    return actor
      ? nameOf(actor)
      : column === 'API'
        ? 'API'
        : column
            .split('/')
            .map((part) => part.slice(0, 10))
            .join(' ');
  };
  const height = facts.length * 20 + 50;
  return s(
    'svg',
    {
      viewBox: `0 0 ${Math.max(WIDTH, columns.length * step + 80)} ${height}`,
      role: 'img',
      'aria-label': 'sequence between actors',
    },
    ...columns.flatMap((column) => [
      s('text', { x: at(column) - 40, y: 14 }, label(column).slice(0, 16)),
      s('line', { class: 'lane', x1: at(column), x2: at(column), y1: 20, y2: height }),
    ]),
    ...facts.map((fact, row) => {
      const y = 36 + row * 20;
      const column = fact.topic === 'command' ? 'API' : `${fact.type}/${fact.id}`;
      return s(
        'g',
        {},
        s('circle', {
          class: fact.topic === 'event' ? 'good' : fact.topic === 'transition' ? 'busy' : 'idle',
          cx: at(column),
          cy: y,
          r: 4,
        }),
        s('text', { class: 'soft', x: at(column) + 8, y: y + 4 }, factText(fact).slice(0, 70)),
      );
    }),
  );
}

const JOURNAL_ROWS = 300;

export function drawJournal(model: Model, actor: PageActor | undefined): Element {
  const facts = (actor ? model.until().filter((fact) => fact.id === actor.id) : model.until())
    .slice(-JOURNAL_ROWS)
    .reverse();
  return h(
    'table',
    { 'aria-label': 'journal, newest first' },
    ...facts.map((fact) =>
      h(
        'tr',
        { class: `topic-${fact.topic}` },
        h('td', {}, h('time', {}, clock(timeOf(fact)))),
        h('td', {}, `${fact.type} ${fact.attributes.name ?? fact.id.slice(0, 12)}`),
        h('td', {}, factText(fact)),
      ),
    ),
  );
}
