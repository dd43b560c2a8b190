/** In words: where an actor is, how it got there, what it waits for. Pure; the page and the terminal say the same. */
import { usualDurations } from './past.ts';
import { type ActorView, eventText } from './view.ts';
import { type Chain, chainEnds } from './why.ts';
import { timeOf, type WireFact } from './wire.ts';

export { timeOf, type WireFact };

export function span(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** An effect that runs longer than this, and much longer than it usually does, is late before its deadline. */
const LATE_MS = 30_000;
const LATE_TIMES = 10;

/** One without a limit lasts as long as what it looks after, and is never late. */
export function isLate({ startedAt, limit }: ActorView['effects'][number], now: number, usual?: number): boolean {
  if (limit === undefined) return false;
  const age = now - startedAt;
  return age > limit || (usual !== undefined && age > Math.max(LATE_MS, usual * LATE_TIMES));
}

export interface Wait {
  kind: 'timer' | 'effect';
  name: string;
  /** Milliseconds until a timer fires, or since an effect began. */
  ms: number;
  /** Milliseconds an effect may take; undefined for a timer, and for an effect that is open-ended. */
  limit: number | undefined;
  /** What it usually takes. */
  usual: number | undefined;
  isLate: boolean;
}

/** What the actor waits for now: its timers, and its running effects, longest first; `usual` are their usual durations. */
export function waitsOf(actor: ActorView, now: number, usual: ReadonlyMap<string, number> = new Map()): Wait[] {
  const timers = actor.timers.map((timer): Wait => ({
    ...{ kind: 'timer', name: eventText(timer.event), ms: timer.dueAt - now },
    ...{ limit: undefined, usual: undefined, isLate: false },
  }));
  const effects = [...actor.effects]
    .sort((a, b) => a.startedAt - b.startedAt)
    .map((effect): Wait => {
      const known = effect.limit === undefined ? undefined : usual.get(effect.name);
      const { name, limit, startedAt } = effect;
      return { kind: 'effect', name, ms: now - startedAt, limit, usual: known, isLate: isLate(effect, now, known) };
    });
  return [...timers, ...effects];
}

export function waitText({ kind, name, ms, limit, usual, isLate: late }: Wait): string {
  if (kind === 'timer') return `timer ${name} in ${span(ms)}`;
  const bound = limit === undefined ? ', open-ended' : ` of at most ${span(limit)}`;
  const usually = usual === undefined ? '' : ` (usually ${span(usual)})`;
  return `effect ${name}, running for ${span(ms)}${bound}${usually}${late ? ': it is late' : ''}`;
}

export const waitingFor = (...args: Parameters<typeof waitsOf>): string[] => waitsOf(...args).map(waitText);

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

/** A command is about an actor when its path names the id, its short form or the name: also one that was refused and led to nothing. */
export function isAbout(fact: WireFact, actor: { id: string; name: string }): boolean {
  if (fact.topic !== 'command') return false;
  const parts = String(fact.data?.path ?? '').split(/[/?]/);
  return parts.some((part) => (part === actor.name && part !== '') || (part.length >= 12 && actor.id.startsWith(part)));
}

/** A container that exits and starts again and again: at least three times in the last minute. */
export function flapping(facts: readonly WireFact[], now: number): boolean {
  const recent = facts.filter(
    (fact) =>
      fact.topic === 'transition' && text(fact.data?.to).startsWith('restarting') && now - timeOf(fact) < 60_000,
  );
  return recent.length >= 3;
}

/** `facts` are the actor's own, in order. */
export function explain(actor: ActorView, facts: readonly WireFact[], chain: Chain, now: number): string {
  const lines = [
    `${actor.kind} ${actor.name || actor.id.slice(0, 12)} is ${actor.state}, for ${span(now - actor.since)}`,
  ];
  if (flapping(facts, now)) lines.push('It is flapping: it restarted at least three times in the last minute.');
  const waits = waitingFor(actor, now, usualDurations(facts));
  lines.push(
    '',
    'Waiting for:',
    ...(waits.length ? waits : ['nothing but a command or news from outside']).map((wait) => `  ${wait}`),
  );
  lines.push('', 'It would accept:', `  ${actor.accepts.join(', ') || 'nothing'}`);
  if (actor.news.length) lines.push('', 'News that would move it:', `  ${actor.news.join(', ')}`);
  const line = (fact: WireFact): string => `  ${new Date(timeOf(fact)).toISOString().slice(11, 23)}  ${factText(fact)}`;
  const { head, left, tail } = chainEnds(chain);
  lines.push('', 'How it got here:', ...head.map(line), ...(left ? [`  … ${left} …`] : []), ...tail.map(line));
  if (!tail.length) lines.push('  the journal has no transition of it');
  return lines.join('\n');
}
