/// <reference lib="dom" />
/** What is known of the chosen actor: where it is, what it waits for, what would move it, and why it is there. */
import { factText, span, type Wait, waitsOf, waitText } from '../explain.ts';
import { activeIds, usualDurations, type Visits } from '../past.ts';
import { isNews } from '../view.ts';
import { chainEnds } from '../why.ts';
import type { WireFact } from '../wire.ts';
import { clock, h } from './dom.ts';
import { flagsOf, tone } from './flags.ts';
import { keyOf, type Model, nameOf, type PageActor, timeOf } from './model.ts';

/** A fact of the chain; pressed, the page goes to its moment. */
const factItem = (fact: WireFact, go: (ms: number) => void): HTMLElement =>
  h(
    'li',
    { class: `topic-${fact.topic}` },
    h(
      'button',
      {
        type: 'button',
        class: 'moment',
        'data-fact': fact.seq,
        title: 'Go to this moment',
        'aria-label': `${factText(fact)}, at ${clock(timeOf(fact))}: go to this moment`,
        // The end of its millisecond: a transition and what it led to are both seen.
        click: () => go(timeOf(fact) + 1),
      },
      h('time', {}, clock(timeOf(fact))),
      h('span', {}, factText(fact)),
    ),
  );

const nothingOf = (model: Model, actor: PageActor): string => {
  if (model.moment !== undefined) return 'nothing that the journal tells';
  return actor.unread ? '…' : 'nothing but a command or news from outside';
};

/** One thing that is waited for, with how much of its time has gone. */
function waitItem(wait: Wait): HTMLElement {
  const { kind, name, ms, limit, usual, isLate } = wait;
  const figures =
    kind === 'timer'
      ? `in ${span(ms)}`
      : `${span(ms)}${limit === undefined ? '' : ` of ${span(limit)}`}${usual === undefined ? '' : `, usually ${span(usual)}`}`;
  return h(
    'li',
    { class: isLate ? 'late' : '', title: waitText(wait) },
    h('span', { class: `kind ${kind}`, 'aria-hidden': 'true' }, kind === 'timer' ? '◷' : '⚙'),
    h('span', { class: 'name' }, name),
    h('span', { class: 'figures' }, isLate ? `${figures}, it is late` : figures),
    limit === undefined
      ? undefined
      : h('progress', { max: limit, value: Math.min(ms, limit), 'aria-label': `time that ${name} has taken` }),
  );
}

/** In the past, what an actor would have accepted follows from its chart. */
function eventsAt(model: Model, actor: PageActor): { accepts: string[]; news: string[] } {
  if (model.moment === undefined) return { accepts: actor.accepts, news: actor.news };
  const chart = model.charts.get(actor.kind);
  if (!chart) return { accepts: [], news: [] };
  const active = activeIds(chart, actor.state);
  const out = chart.edges.filter(({ source, event }) => active.has(source) && /^[A-Z_]+$/.test(event));
  const events = [...new Set(out.map(({ event, guard }) => (guard ? `${event} [${guard}]` : event)))].sort();
  return { accepts: events.filter((event) => !isNews(event)), news: events.filter(isNews) };
}

const list = (items: string[], empty: string, kind = ''): HTMLElement =>
  items.length
    ? h('ul', { class: `chips ${kind}` }, ...items.map((item) => h('li', {}, item)))
    : h('div', { class: 'empty' }, empty);

export function drawDetail(
  model: Model,
  chosen: PageActor | undefined,
  visits: Map<string, Visits>,
  go: (ms: number) => void,
): HTMLElement[] {
  if (!chosen) return [h('p', { class: 'empty' }, 'Choose an actor to see why it is where it is.')];
  const actor = model.at(chosen);
  const now = model.now();
  const own = model.factsOf(actor).filter((fact) => timeOf(fact) <= now);
  const waits = waitsOf(actor, now, usualDurations(own));
  const { head, left, tail } = chainEnds(model.chain(actor));
  const between = left ? [h('li', { class: 'empty' }, `… ${left}, see the journal …`)] : [];
  const item = (fact: WireFact): HTMLElement => factItem(fact, go);
  const { accepts, news } = eventsAt(model, actor);
  const rows: [string, string][] = [
    ['State', actor.state || 'not there yet'],
    ['For', span(now - actor.since)],
    ['Transitions', String(actor.transitions)],
    ...(actor.project ? [['Project', actor.project] as [string, string]] : []),
    ['Id', actor.id.slice(0, 24)],
  ];
  return [
    h('h2', {}, h('span', { class: `dot ${tone(actor.state)}` }), ` ${nameOf(actor)} `, h('small', {}, actor.kind)),
    ...flagsOf(model, chosen).map((flag) => h('p', { class: 'warning' }, flag.text)),
    h('dl', {}, ...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
    h('h3', {}, 'What is it waiting for'),
    waits.length
      ? h('ul', { class: 'waits' }, ...waits.map(waitItem))
      : h('div', { class: 'empty' }, nothingOf(model, actor)),
    h('h3', {}, 'It would accept'),
    list(accepts, 'nothing', 'commands'),
    ...(news.length ? [h('h3', {}, 'News that would move it'), list(news, '')] : []),
    h('h3', {}, 'Why is it here'),
    h(
      'ol',
      { class: 'chain', id: 'chain' },
      ...(tail.length
        ? [...head.map(item), ...between, ...tail.map(item)]
        : [h('li', { class: 'empty' }, 'no transition in what is kept here')]),
    ),
    ...(visits.size ? [h('h3', {}, 'Visits and dwell times'), visitTable(visits, keyOf(actor))] : []),
  ];
}

function visitTable(visits: Map<string, Visits>, key: string): HTMLElement {
  const rows = [...visits].sort(([, a], [, b]) => b.ms - a.ms);
  return h(
    'table',
    { 'aria-label': `visits of ${key}` },
    h('tr', {}, h('th', {}, 'State'), h('th', {}, 'Visits'), h('th', {}, 'Time')),
    ...rows.map(([id, { count, ms }]) =>
      h('tr', {}, h('td', {}, id.split('.').slice(1).join('.')), h('td', {}, String(count)), h('td', {}, span(ms))),
    ),
  );
}
