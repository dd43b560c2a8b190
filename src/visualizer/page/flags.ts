/// <reference lib="dom" />
/** How an actor does: the colour of its state, and what is wrong with it. */
import { flapping, isLate } from '../explain.ts';
import { usualDurations } from '../past.ts';
import type { Model, PageActor } from './model.ts';

/** Colour class of a state's name. */
export function tone(state: string): 'good' | 'busy' | 'bad' | 'idle' {
  if (/unhealthy|dead|failed|oom/.test(state)) return 'bad';
  if (/process: paused/.test(state)) return 'idle';
  if (/^(running|active|serving|done)/.test(state)) return 'good';
  if (/starting|stopping|restarting|restoring|creating|removing|layers|manifest|resolving|solving/.test(state))
    return 'busy';
  return 'idle';
}

export interface Flag {
  word: 'flapping' | 'stuck';
  text: string;
}

/** What wants attention, found by itself. */
export function flagsOf(model: Model, actor: PageActor): Flag[] {
  const facts = model.factsOf(actor);
  const now = model.now();
  const flags: Flag[] = [];
  if (flapping(facts, now))
    flags.push({ word: 'flapping', text: 'Flapping: it restarted at least three times in the last minute.' });
  const { effects } = model.at(actor);
  const usual = effects.length ? usualDurations(facts) : undefined;
  const late = effects.find((effect) => isLate(effect, now, usual?.get(effect.name)));
  if (late) flags.push({ word: 'stuck', text: `Stuck: ${late.name} runs much longer than it should.` });
  return flags;
}
