/// <reference lib="dom" />
/** The tree of actors and the journal. */
import { factText, isAbout } from '../explain.ts';
import type { WireFact } from '../wire.ts';
import { clock, h } from './dom.ts';
import { flagsOf, keyOf, type Model, nameOf, type PageActor, timeOf, tone } from './model.ts';

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

/** `running{process: up, health: unhealthy}` → `running · unhealthy`. */
function shortState(state: string): string {
  const notable = /\b(?:paused|pausing|resuming|unhealthy|healthy)\b|health: starting/.exec(state.split('{')[1] ?? '');
  const outer = state.split('{')[0]!;
  return notable ? `${outer} · ${notable[0].replace('health: ', '')}` : outer;
}

function treeRow(model: Model, actor: PageActor, choose: (key: string) => void): HTMLElement {
  const key = keyOf(actor);
  const state = model.at(actor).state || 'not there yet';
  const flags = flagsOf(model, actor);
  return h(
    'button',
    {
      class: 'actor',
      type: 'button',
      role: 'treeitem',
      // One stop of the Tab key for the whole tree; arrows move in it.
      tabindex: model.chosen === key || !model.chosen ? 0 : -1,
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

const nameAt = (model: Model, fact: WireFact): string => {
  const actor = model.actors.get(`${fact.type}/${fact.id}`);
  return actor ? nameOf(actor) : (fact.attributes.name ?? fact.id.slice(0, 12));
};

const JOURNAL_ROWS = 300;

export function drawJournal(model: Model, actor: PageActor | undefined): Element {
  const facts = (actor ? model.until().filter((fact) => fact.id === actor.id || isAbout(fact, actor)) : model.until())
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
        h('td', { class: 'whose' }, fact.topic === 'command' ? 'API' : `${fact.type} ${nameAt(model, fact)}`),
        h('td', {}, factText(fact)),
      ),
    ),
  );
}
