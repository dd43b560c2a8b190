/** Signals by name and number, as `docker kill` takes them, and what a container's own stop signal means. */
import { constants } from 'node:os';
import { invalid } from '../errors.ts';
import type { ContainerRecord } from './record.ts';

const NAMES: Readonly<Record<string, number>> = constants.signals;
const FIRST_REALTIME = 34;
const LAST_REALTIME = 64;

/** "SIGTERM", "term", "15", "RTMIN+3" → the number. Throws invalid "Invalid signal: x". */
export function signalNumber(text: string): number {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number < 1 || number > LAST_REALTIME) throw invalid(`Invalid signal: ${text}`);
    return number;
  }
  const name = text.toUpperCase().replace(/^SIG/, '');
  const known = NAMES[`SIG${name}`];
  if (known !== undefined) return known;
  const realtime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realtime) {
    const offset = Number(realtime[3] ?? 0) * (realtime[2] === '-' ? -1 : 1);
    const number = (realtime[1] === 'MIN' ? FIRST_REALTIME : LAST_REALTIME) + offset;
    if (number >= FIRST_REALTIME && number <= LAST_REALTIME) return number;
  }
  throw invalid(`Invalid signal: ${text}`);
}

/** The container's StopSignal; SIGTERM when it has none or one that is not known. */
export function stopSignal(record: ContainerRecord): number {
  if (!record.config.StopSignal) return 15;
  try {
    return signalNumber(record.config.StopSignal);
  } catch {
    return 15;
  }
}

/** Milliseconds from the stop signal to SIGKILL; negative is never. `seconds` is what the client asked for. */
export function graceOf(record: ContainerRecord, seconds: number | undefined): number {
  const chosen = seconds ?? record.config.StopTimeout ?? 10;
  return chosen < 0 ? -1 : chosen * 1000;
}

/** A client's `kill` with this signal is meant to end the container, so the policy does not bring it back. */
export const isMeantToEnd = (record: ContainerRecord, signal: number): boolean =>
  signal === 9 || !record.config.StopSignal || signal === stopSignal(record);
