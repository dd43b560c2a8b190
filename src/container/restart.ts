/** Restart policies as pure decisions, with the numbers of dockerd and, by label, with those of the container's owner. */
import type { ContainerRecord } from './record.ts';

/** Labels with which a container's owner goes beyond dockerd; all off by default. */
export const LABELS = {
  /** "true": a container that turns unhealthy is restarted. */
  restartOnUnhealthy: 'io.reactord.restart.on-unhealthy',
  /** How many times a failed start is tried again, with the backoff of the policy. */
  startRetries: 'io.reactord.start.retries',
  /** Milliseconds of the first delay, of the longest one, and of a run that counts as good. */
  firstDelay: 'io.reactord.restart.first-delay',
  longestDelay: 'io.reactord.restart.longest-delay',
  resetAfter: 'io.reactord.restart.reset-after',
} as const;

export interface Backoff {
  first: number;
  longest: number;
  /** A run at least this long starts the delays anew. */
  resetAfter: number;
}

const DEFAULTS: Backoff = { first: 100, longest: 60_000, resetAfter: 10_000 };

type Labels = Readonly<Record<string, string>>;

/** The label as a whole number of at least 0; anything else counts as absent. */
function numberOf(labels: Labels, name: string, fallback: number): number {
  const text = labels[name];
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : fallback;
}

export const backoffOf = (labels: Labels): Backoff => ({
  first: numberOf(labels, LABELS.firstDelay, DEFAULTS.first),
  longest: numberOf(labels, LABELS.longestDelay, DEFAULTS.longest),
  resetAfter: numberOf(labels, LABELS.resetAfter, DEFAULTS.resetAfter),
});

export const startRetries = (labels: Labels): number => numberOf(labels, LABELS.startRetries, 0);

export const restartsOnUnhealthy = (labels: Labels): boolean => labels[LABELS.restartOnUnhealthy] === 'true';

/** Milliseconds to wait now. `previous` is the delay before the run that just ended, 0 for none; `ranFor` its length. */
export function nextDelay(previous: number, ranFor: number, backoff: Backoff = DEFAULTS): number {
  const delay = previous === 0 || ranFor >= backoff.resetAfter ? backoff.first : previous * 2;
  return Math.min(delay, backoff.longest);
}

/** After an exit that no client asked for. */
export function restartsAfter(record: ContainerRecord, exitCode: number): boolean {
  const { Name, MaximumRetryCount } = record.hostConfig.RestartPolicy;
  if (Name === 'always' || Name === 'unless-stopped') return true;
  if (Name !== 'on-failure' || exitCode === 0) return false;
  return MaximumRetryCount === 0 || record.state.restartCount < MaximumRetryCount;
}

/** When the daemon starts and finds the container not running. */
export function startsAtBoot(record: ContainerRecord): boolean {
  if (!record.state.hasBeenStartedBefore) return false;
  const { Name } = record.hostConfig.RestartPolicy;
  if (Name === 'always') return true;
  if (record.state.manuallyStopped) return false;
  return Name === 'unless-stopped' || (Name === 'on-failure' && restartsAfter(record, record.state.exitCode));
}
