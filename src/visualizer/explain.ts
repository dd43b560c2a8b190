/** In words: where an actor is, how it got there, what it waits for. Pure; the page and the terminal say the same. */
import { usualDurations } from './past.ts';
import { type ActorView, eventText } from './view.ts';
import { timeOf, type WireFact } from './wire.ts';

export { timeOf, type WireFact };

export function span(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** Effects that last as long as what they look after; they are never late. */
const OPEN_ENDED = /wait|probe|watch|serve|stage/i;
/** An effect that runs longer than this, and much longer than it usually does, is late. */
const LATE_MS = 30_000;
const LATE_TIMES = 10;

export const isLate = (effect: ActorView['effects'][number], now: number, usual: number | undefined): boolean =>
  !OPEN_ENDED.test(effect.name) && now - effect.startedAt > Math.max(LATE_MS, (usual ?? 0) * LATE_TIMES);

/** What the actor waits for now: its timers and running effects, longest first; `usual` are their usual durations. */
export function waitingFor(actor: ActorView, now: number, usual: ReadonlyMap<string, number> = new Map()): string[] {
  const effects = [...actor.effects]
    .sort((a, b) => a.startedAt - b.startedAt)
    .map((effect) => {
      const known = OPEN_ENDED.test(effect.name) ? undefined : usual.get(effect.name);
      const late = isLate(effect, now, known) ? ': it is late' : '';
      const usually = known === undefined ? '' : ` (usually ${span(known)})`;
      return `effect ${effect.name}, running for ${span(now - effect.startedAt)}${usually}${late}`;
    });
  const timers = actor.timers.map((timer) => `timer ${eventText(timer.event)} in ${span(timer.dueAt - now)}`);
  return [...timers, ...effects];
}

/** Whole ids are cut to the twelve digits that people know. */
const text = (value: unknown): string =>
  (typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, '$1');

/** One fact in a line. */
export function factText(fact: WireFact): string {
  const { data = {} } = fact;
  switch (fact.topic) {
    case 'transition':
      return `${text(data.from) || '(new)'} → ${text(data.to)}  on ${eventText(fact.action)}`;
    case 'effect':
      return `effect ${text(data.effect)} ${fact.action}${data.ms === undefined ? '' : ` after ${span(Number(data.ms))}`}${data.error ? `: ${text(data.error)}` : ''}`;
    case 'command':
      return `API ${[data.method, data.path, data.status]
        .filter((part) => part !== undefined)
        .map(text)
        .join(' ')}`;
    case 'event': {
      const shown = ['exitCode', 'signal']
        .filter((key) => fact.attributes[key])
        .map((key) => ` ${key}=${fact.attributes[key]}`);
      return `event ${fact.type} ${fact.action}${shown.join('')}`;
    }
    default:
      return `${fact.topic} ${fact.action}${data.error ? `: ${text(data.error)}` : ''}`;
  }
}

/** How far before a transition the command that caused it is looked for. */
const CAUSE_WINDOW_MS = 30_000;

/** A command is about an actor when its path names the id, its short form or the name. */
export function isAbout(fact: WireFact, actor: { id: string; name: string }): boolean {
  if (fact.topic !== 'command') return false;
  const parts = String(fact.data?.path ?? '').split(/[/?]/);
  return parts.some((part) => (part === actor.name && part !== '') || (part.length >= 12 && actor.id.startsWith(part)));
}

/**
 * The chain that led to an actor's last transition: the last API command about it, then everything of the actor since, and the command's
 * answer. `facts` are in order and hold commands of the whole daemon.
 */
export function causalChain(facts: readonly WireFact[], actor: { id: string; name: string }): WireFact[] {
  const mine = facts.filter((fact) => fact.id === actor.id && fact.topic !== 'command');
  const last = mine.findLastIndex((fact) => fact.topic === 'transition');
  if (last < 0) return [];
  const end = mine[last]!;
  const command = facts.findLast(
    (fact) =>
      fact.data?.status === undefined &&
      timeOf(fact) <= timeOf(end) &&
      timeOf(end) - timeOf(fact) < CAUSE_WINDOW_MS &&
      isAbout(fact, actor),
  );
  const start = command?.seq ?? mine[Math.max(0, last - 5)]!.seq;
  const chain = [...(command ? [command] : []), ...mine.filter((fact) => fact.seq > start && fact.seq <= end.seq)];
  const answer = command && facts.find((fact) => fact.cause === command.seq);
  return answer ? [...chain, answer].sort((a, b) => a.seq - b.seq) : chain;
}

const CHAIN_TAIL = 16;

/** A long chain (a loop since one command) as its beginning and its end; `left` facts between them are not shown. */
export function chainEnds(chain: readonly WireFact[]): { head: WireFact[]; left: number; tail: WireFact[] } {
  if (chain.length <= CHAIN_TAIL + 2) return { head: [], left: 0, tail: [...chain] };
  return { head: chain.slice(0, 1), left: chain.length - 1 - CHAIN_TAIL, tail: chain.slice(-CHAIN_TAIL) };
}

/** A container that exits and starts again and again: at least three times in the last minute. */
export function flapping(facts: readonly WireFact[], now: number): boolean {
  const recent = facts.filter(
    (fact) =>
      fact.topic === 'transition' && text(fact.data?.to).startsWith('restarting') && now - timeOf(fact) < 60_000,
  );
  return recent.length >= 3;
}

export function explain(actor: ActorView, facts: readonly WireFact[], now: number): string {
  const lines = [
    `${actor.kind} ${actor.name || actor.id.slice(0, 12)} is ${actor.state}, for ${span(now - actor.since)}`,
  ];
  if (flapping(facts, now)) lines.push('It is flapping: it restarted at least three times in the last minute.');
  const own = facts.filter((fact) => fact.id === actor.id);
  const waits = waitingFor(actor, now, usualDurations(own));
  lines.push(
    '',
    'Waiting for:',
    ...(waits.length ? waits : ['nothing but a command or news from outside']).map((wait) => `  ${wait}`),
  );
  lines.push('', 'It would accept:', `  ${actor.accepts.join(', ') || 'nothing'}`);
  if (actor.news.length) lines.push('', 'News that would move it:', `  ${actor.news.join(', ')}`);
  const chain = causalChain(facts, actor);
  const line = (fact: WireFact): string => `  ${new Date(timeOf(fact)).toISOString().slice(11, 23)}  ${factText(fact)}`;
  const { head, left, tail } = chainEnds(chain);
  lines.push('', 'How it got here:', ...head.map(line), ...(left ? [`  … ${left} more …`] : []), ...tail.map(line));
  if (!chain.length) lines.push('  the journal has no transition of it');
  return lines.join('\n');
}
