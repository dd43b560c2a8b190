/// <reference lib="dom" />
/**
 * The sequence view: the last messages between the API, the actors and their effects. With an actor chosen only what concerns it; else all but
 * effects.
 */
import { isAbout, span } from '../explain.ts';
import { eventText } from '../view.ts';
import type { WireFact } from '../wire.ts';
import { factsAbout } from './about.ts';
import { arrowHead, clock, h, s } from './dom.ts';
import { tone } from './flags.ts';
import { keyOf, type Model, type PageActor, timeOf } from './model.ts';

const ROWS = 80;
const ROW = 30;
const TIME = 100;
const MOST_COLUMNS = 8;
const API = 'API';
const EFFECTS = 'effects';
const CHARACTER = 6.4;

interface Message {
  fact: WireFact;
  from: string;
  to: string;
  text: string;
  tone: string;
  /** An answer or an end. */
  back: boolean;
}

const keyOfFact = (fact: WireFact): string => `${fact.type}/${fact.id}`;

/** Whom each command reached: the actor that moved by it, else the one that its path names. */
function reached(facts: readonly WireFact[], actors: readonly PageActor[]): (fact: WireFact) => string {
  const moved = new Map<number, string>();
  for (const fact of facts)
    if (fact.topic === 'transition' && fact.cause !== undefined) moved.set(fact.cause, keyOfFact(fact));
  return (fact) => {
    const named = moved.get(fact.cause ?? fact.seq);
    if (named) return named;
    const actor = actors.find((one) => isAbout(fact, one));
    return actor ? keyOf(actor) : API;
  };
}

function message(fact: WireFact, actors: readonly PageActor[], target: (fact: WireFact) => string): Message {
  const { data = {} } = fact;
  const own = keyOfFact(fact);
  if (fact.topic === 'command') {
    const column = target(fact);
    const back = data.status !== undefined;
    const path = String(data.path)
      .replace(/^\/v[\d.]+/, '')
      .replace(/[0-9a-f]{64}/g, (id) => id.slice(0, 12));
    const text = back ? `${String(data.status)} in ${span(Number(data.ms))}` : `${String(data.method)} ${path}`;
    const refused = back && Number(data.status) >= 400;
    return { fact, from: back ? column : API, to: back ? API : column, text, tone: refused ? 'bad' : 'idle', back };
  }
  if (fact.topic === 'effect') {
    const back = fact.action !== 'begin';
    const text = back
      ? `${fact.action === 'fail' ? 'failed' : fact.action}${data.ms === undefined ? '' : ` after ${span(Number(data.ms))}`}`
      : String(data.effect);
    return {
      fact,
      from: back ? EFFECTS : own,
      to: back ? own : EFFECTS,
      text,
      tone: fact.action === 'fail' ? 'bad' : 'idle',
      back,
    };
  }
  if (fact.topic === 'transition') {
    const to = String(data.to ?? '');
    return {
      fact,
      from: own,
      to: own,
      text: fact.action === 'xstate.init' ? to : `${to}  ← ${eventText(fact.action)}`,
      tone: tone(to),
      back: false,
    };
  }
  const container = `container/${fact.attributes.container ?? ''}`;
  const aimed = fact.type === 'network' && actors.some((actor) => keyOf(actor) === container);
  const code = fact.attributes.exitCode ? ` (${fact.attributes.exitCode})` : '';
  const bad = /^(die|oom|failed)/.test(fact.action) ? 'bad' : 'idle';
  return { fact, from: own, to: aimed ? container : own, text: `“${fact.action}”${code}`, tone: bad, back: false };
}

export function drawSequence(model: Model, chosen: PageActor | undefined, width: number): Element {
  const actors = [...model.actors.values()];
  const facts = (chosen ? factsAbout(model, chosen) : model.until().filter(({ topic }) => topic !== 'effect')).slice(
    -ROWS,
  );
  if (!facts.length) return h('p', { class: 'empty' }, 'Nothing happened in what is kept here.');
  const target = reached(facts, actors);
  const messages = facts.map((fact) => message(fact, actors, target));
  const used = [...new Set(messages.toReversed().flatMap(({ from, to }) => [from, to]))];
  const shown = used.filter((column) => column !== API && column !== EFFECTS).slice(0, MOST_COLUMNS);
  const first = chosen ? keyOf(chosen) : '';
  const ordered = shown.toReversed().sort((a, b) => Number(b === first) - Number(a === first));
  const columns = [API, ...ordered, ...(used.includes(EFFECTS) ? [EFFECTS] : [])];
  const rows = messages.filter(({ from, to }) => columns.includes(from) && columns.includes(to));
  const step = Math.max(190, (width - TIME - 220) / Math.max(columns.length - 1, 1));
  const x = (column: string): number => TIME + 40 + columns.indexOf(column) * step;
  const total = x(columns.at(-1)!) + 220;
  const height = rows.length * ROW + 30;
  const heads = columns.map((column) => head(model, column, x(column)));
  const lines = columns.map((column) => s('line', { class: 'lane', x1: x(column), x2: x(column), y1: 0, y2: height }));
  return h(
    'div',
    {},
    h('div', { class: 'heads' }, s('svg', { width: total, height: 32, 'aria-hidden': 'true' }, ...heads)),
    s(
      'svg',
      {
        width: total,
        height,
        class: 'sequence',
        role: 'group',
        'aria-label': `sequence between actors, ${rows.length} messages`,
      },
      s('defs', {}, arrowHead('head')),
      ...lines,
      ...rows.map((row, i) => drawMessage(row, 26 + i * ROW, x, step)),
    ),
  );
}

function head(model: Model, column: string, x: number): SVGElement {
  const parts = column.split('/').map((part) => part.slice(0, 12));
  const name = model.nameOf(column) ?? parts.join(' ');
  return s(
    'g',
    {},
    s('rect', { class: 'node', x: x - 66, y: 3, width: 132, height: 26, rx: 6 }),
    s('text', { class: 'title', x, y: 21, 'text-anchor': 'middle' }, name.slice(0, 15), s('title', {}, column)),
  );
}

function drawMessage(row: Message, y: number, x: (column: string) => number, step: number): SVGElement {
  const [from, to] = [x(row.from), x(row.to)];
  const room = Math.floor(((row.from === row.to ? 1.5 * step : Math.abs(to - from)) - 16) / CHARACTER);
  const text = row.text.length > room ? `${row.text.slice(0, room - 1)}…` : row.text;
  const time = s('text', { class: 'soft', x: 0, y: y + 4 }, clock(timeOf(row.fact)));
  const label = `${clock(timeOf(row.fact))} ${row.text}`;
  if (row.from === row.to)
    return s(
      'g',
      { class: `message ${row.fact.topic}` },
      s('title', {}, label),
      time,
      s('circle', { class: row.tone, cx: from, cy: y, r: 5 }),
      s('text', { x: from + 12, y: y + 4 }, text),
    );
  return s(
    'g',
    { class: `message ${row.fact.topic}${row.back ? ' back' : ''}${row.tone === 'bad' ? ' failed' : ''}` },
    s('title', {}, label),
    time,
    s('line', { x1: from, x2: to, y1: y, y2: y, 'marker-end': 'url(#head)' }),
    s('text', { x: (from + to) / 2, y: y - 5, 'text-anchor': 'middle' }, text),
  );
}
