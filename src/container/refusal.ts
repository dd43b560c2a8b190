/**
 * Why the chart did not accept a command: dockerd's words, with its status, and behind them the state that refused and what
 * would be accepted. The first part is what clients match; it comes first and unchanged.
 */
import { conflict, type DaemonError, internal, notFound, notModified } from '../errors.ts';
import { stateText } from '../reactor/state-text.ts';
import type { StateValue } from 'xstate';
import type { ContainerContext } from './events.ts';
import type { ContainerRecord, Phase } from './record.ts';

interface Refused {
  context: ContainerContext;
  value: StateValue;
}

const ACCEPTED: Readonly<Record<Phase, string>> = {
  created: 'start, remove',
  starting: 'start, stop, remove with force',
  running: 'stop, restart, kill, pause, remove with force',
  paused: 'unpause, stop, restart, kill, remove with force',
  stopping: 'kill, remove with force',
  exited: 'start, restart, remove',
  restarting: 'stop, restart, kill, remove with force',
  removing: 'nothing',
  dead: 'remove',
};

const BECAUSE: Readonly<Record<Phase, string>> = {
  created: 'it was never started',
  starting: 'it is starting',
  running: 'it is running',
  paused: 'it is paused',
  stopping: 'it is stopping',
  exited: 'it has exited',
  restarting: 'it is restarting',
  removing: 'it is being removed',
  dead: 'its removal failed',
};

function because({ context, value }: Refused): string {
  const { phase } = context.record;
  const wait = phase === 'restarting' && context.delay ? `, next try after ${(context.delay / 1000).toFixed(1)} s` : '';
  return ` (${BECAUSE[phase]}${wait}; state ${stateText(value)} accepts: ${ACCEPTED[phase]})`;
}

function startRefused(record: ContainerRecord, why: string): DaemonError {
  if (record.phase === 'paused') return conflict(`cannot start a paused container, try unpause instead${why}`);
  if (record.phase === 'removing' || record.phase === 'dead')
    return conflict(`container is marked for removal and cannot be started${why}`);
  return notModified(`container ${record.id} is already running`);
}

function pauseRefused(record: ContainerRecord, why: string): DaemonError {
  if (record.phase === 'paused') return conflict(`Container ${record.id} is already paused${why}`);
  if (record.phase === 'restarting')
    return conflict(`container ${record.id} is restarting, wait until the container is running${why}`);
  return conflict(`container ${record.id} is not running${why}`);
}

function removeRefused({ id, name, phase }: ContainerRecord, why: string): DaemonError {
  if (phase === 'removing') return conflict(`removal of container ${id} is already in progress`);
  const first = `cannot remove container "${name}": container is`;
  if (phase === 'paused') return conflict(`${first} paused and must be unpaused first${why}`);
  const state = phase === 'stopping' ? 'running' : phase;
  return conflict(`${first} ${state}: stop the container before removing or force remove${why}`);
}

/** For `ask`: the snapshot that did not accept the command. */
export function refusal(snapshot: Refused, command: string): DaemonError {
  const { record } = snapshot.context;
  const why = because(snapshot);
  switch (command) {
    case 'START':
      return startRefused(record, why);
    case 'STOP':
      return notModified(`container ${record.id} is already stopped`);
    case 'RESTART':
      return conflict(`cannot restart container ${record.id}: ${BECAUSE[record.phase]}${why}`);
    case 'KILL':
      return conflict(`cannot kill container: ${record.name}: container ${record.id} is not running${why}`);
    case 'PAUSE':
      return pauseRefused(record, why);
    case 'UNPAUSE':
      return internal(`Container ${record.id} is not paused${why}`);
    case 'REMOVE':
      return removeRefused(record, why);
    default:
      return notFound(`No such container: ${record.id}`);
  }
}
