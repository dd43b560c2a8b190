/** What signals mean to a container: its own stop signal, its grace, and which `kill` is meant to end it. */
import { invalid } from '../errors.ts';
import { parseSignal } from '../runtime/oci/validate-config.ts';
import type { ContainerRecord } from './record.ts';

/** "SIGTERM", "term", "15", "RTMIN+3" → the number. Throws invalid "invalid signal: x". */
export function signalNumber(text: string): number {
  const number = parseSignal(text);
  if (number === undefined)
    throw invalid(Number(text) > 0 ? `the linux daemon does not support signal ${text}` : `invalid signal: ${text}`);
  return number;
}

/** The container's StopSignal; SIGTERM when it has none. */
export const stopSignal = (record: ContainerRecord): number => parseSignal(record.config.StopSignal || 'TERM') ?? 15;

/** Milliseconds from the stop signal to SIGKILL; negative is never. `seconds` is what the client asked for. */
export function graceOf(record: ContainerRecord, seconds: number | undefined): number {
  const chosen = seconds ?? record.config.StopTimeout ?? 10;
  return chosen < 0 ? -1 : chosen * 1000;
}

/** A client's `kill` with this signal is meant to end the container, so the policy does not bring it back. */
export const isMeantToEnd = (record: ContainerRecord, signal: number): boolean =>
  signal === 9 || !record.config.StopSignal || signal === stopSignal(record);
