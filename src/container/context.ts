/** What the chart remembers beside the record, as it begins. */
import type { ContainerContext, ContainerInput, StopOrder } from './events.ts';
import type { ContainerRecord } from './record.ts';
import { graceOf, stopSignal } from './signals.ts';

/** As the container's own configuration has it. */
export const stopOrder = (record: ContainerRecord): StopOrder => ({
  signal: stopSignal(record),
  grace: graceOf(record, undefined),
  announced: true,
});

/** A stop by hand that was cut off is still wanted. */
const isStopping = ({ phase, state }: ContainerRecord): boolean => phase === 'stopping' && state.manuallyStopped;

export const contextOf = (input: ContainerInput): ContainerContext => ({
  ...input,
  attempt: 0,
  networkReady: false,
  exit: undefined,
  failure: undefined,
  failedStarts: 0,
  halted: isStopping(input.record),
  stop: isStopping(input.record) ? stopOrder(input.record) : undefined,
  again: false,
  remove: undefined,
  delay: 0,
  starters: [],
  stoppers: [],
  removers: [],
  freezers: [],
  announceRestart: false,
});
