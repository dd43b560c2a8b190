/// <reference lib="dom" />
/** The tree of actors and the journal. */
import { factText } from '../explain.ts';
import type { WireFact } from '../wire.ts';
import { factsAbout } from './about.ts';
import { clock, h } from './dom.ts';
import { type Flag, flagsOf, tone } from './flags.ts';
import { keyOf, type Model, nameOf, type PageActor, timeOf } from './model.ts';

/** What comes and goes is last, so that nothing jumps. */
const ORDER = ['reactor', 'container', 'network', 'volume', 'build', 'pull', 'push', 'exec'];
const placeOf = (group: string): number => {
  const at = ORDER.indexOf(group.split(' ')[0]!);
  return at < 0 ? ORDER.length : at;
};

export function drawTree(model: Model, search: string, choose: (key: string) => void): HTMLElement[] {
  const found = [...model.actors.values()].filter((actor) =>
    [actor.kind, actor.name, actor.id, actor.state, actor.project].some((text) =>
      text.toLowerCase().includes(search.toLowerCase()),
    ),
  );
  const groups = Map.groupBy(found, (actor) => (actor.project ? `${actor.kind} · ${actor.project}` : actor.kind));
  return [...groups]
    .sort(([a], [b]) => placeOf(a) - placeOf(b) || a.localeCompare(b))
    .map(([group, actors]) =>
      h(
        'div',
        { role: 'group', 'aria-label': `${group}, ${actors.length}` },
        h('div', { class: 'group', 'aria-hidden': 'true' }, `${group} (${actors.length})`),
        ...actors.sort((a, b) => nameOf(a).localeCompare(nameOf(b))).map((actor) => treeRow(model, actor, choose)),
      ),
    );
}

/** `running{process: up, health: unhealthy}` → `running · unhealthy`. */
function shortState(state: string): string {
  const notable = /\b(?:paused|pausing|resuming|unhealthy|healthy)\b|health: starting/.exec(state.split('{')[1] ?? '');
  const outer = state.split('{')[0]!;
  return notable ? `${outer} · ${notable[0].replace('health: ', '')}` : outer;
}

/** Rows as they were drawn last: most actors are as they were. */
const rows = new Map<string, { look: string; row: HTMLElement }>();
const MOST_ROWS = 20_000;

function treeRow(model: Model, actor: PageActor, choose: (key: string) => void): HTMLElement {
  const key = keyOf(actor);
  const state = model.at(actor).state || 'not there yet';
  const flags = flagsOf(model, actor);
  // One stop of the Tab key for the whole tree; arrows move in it.
  const isStop = model.chosen === key || !model.chosen;
  const look = [nameOf(actor), state, isStop, model.chosen === key, ...flags.map(({ word }) => word)].join('\n');
  const known = rows.get(key);
  if (known?.look === look) return known.row;
  if (rows.size > MOST_ROWS) rows.clear();
  const row = drawRow(model, actor, { state, flags, isStop }, choose);
  rows.set(key, { look, row });
  return row;
}

function drawRow(
  model: Model,
  actor: PageActor,
  { state, flags, isStop }: { state: string; flags: Flag[]; isStop: boolean },
  choose: (key: string) => void,
): HTMLElement {
  const key = keyOf(actor);
  return h(
    'button',
    {
      class: 'actor',
      type: 'button',
      role: 'treeitem',
      tabindex: isStop ? 0 : -1,
      'data-key': key,
      'aria-selected': String(model.chosen === key),
      'aria-label': [`${actor.kind} ${nameOf(actor)}`, state, ...flags.map(({ word }) => word)].join(', '),
      title: `${actor.kind} ${nameOf(actor)}: ${state}`,
      click: () => choose(key),
    },
    h('span', { class: `dot ${tone(state)}` }),
    h('span', { class: 'name' }, nameOf(actor)),
    flags.length ? h('span', { class: 'flag' }, flags.map(({ word }) => word).join(' ')) : undefined,
    h('span', { class: 'state' }, shortState(state)),
  );
}

const nameAt = (model: Model, fact: WireFact): string =>
  model.nameOf(`${fact.type}/${fact.id}`) ?? fact.attributes.name ?? fact.id.slice(0, 12);

const JOURNAL_ROWS = 300;

export function drawJournal(model: Model, actor: PageActor | undefined): Element {
  const facts = (actor ? factsAbout(model, actor) : model.until()).slice(-JOURNAL_ROWS).reverse();
  return h(
    'table',
    { 'aria-label': 'journal, newest first' },
    ...facts.map((fact) =>
      h(
        'tr',
        { class: `topic-${fact.topic}` },
        h('td', {}, h('time', {}, clock(timeOf(fact)))),
        h('td', { class: 'whose' }, fact.topic === 'command' ? 'API' : `${fact.type} ${nameAt(model, fact)}`),
        h('td', {}, factText(fact)),
      ),
    ),
  );
}
