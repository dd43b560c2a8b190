/** A container's state in Docker's words, pure. */
import { ZERO_TIME } from '../lib/clock.ts';
import type { ContainerRecord } from './record.ts';

export type Status = 'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead';

/** State.Status: what is on its way up or down counts as what it was before. */
export function statusOf(record: ContainerRecord): Status {
  switch (record.phase) {
    case 'starting':
      return record.state.hasBeenStartedBefore ? 'exited' : 'created';
    case 'stopping':
      return 'running';
    default:
      return record.phase;
  }
}

/** A length of time as go-units' HumanDuration has it, which clients show and some compare. */
export function humanDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.floor(seconds / 3600 + 0.5);
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(hours / 24 / 365)} years`;
}

const since = (time: string, now: number): string => humanDuration(Math.max(0, now - Date.parse(time)));

function healthText(record: ContainerRecord): string {
  const status = record.state.health?.Status;
  if (!status) return '';
  return status === 'starting' ? ' (health: starting)' : ` (${status})`;
}

/** "Up 5 seconds (healthy)", "Exited (0) 4 minutes ago" … as `docker ps` shows it. */
export function statusText(record: ContainerRecord, now: number): string {
  const { startedAt, finishedAt, exitCode } = record.state;
  switch (record.phase) {
    case 'paused':
      return `Up ${since(startedAt, now)} (Paused)`;
    case 'running':
    case 'stopping':
      return `Up ${since(startedAt, now)}${healthText(record)}`;
    case 'restarting':
      return `Restarting (${exitCode}) ${since(finishedAt, now)} ago`;
    case 'removing':
      return 'Removal In Progress';
    case 'dead':
      return 'Dead';
    default:
      if (startedAt === ZERO_TIME) return 'Created';
      return finishedAt === ZERO_TIME ? '' : `Exited (${exitCode}) ${since(finishedAt, now)} ago`;
  }
}
