/** Health checks: what a probe's result makes of a container's health, and the command a probe runs. Pure. */
import type { HealthConfig } from '../image/port.ts';
import type { ContainerRecord, HealthResult, HealthState } from './record.ts';

export interface ProbeResult extends HealthResult {
  /** The probe ended within the start period, in which failures do not count. */
  lenient: boolean;
}

const NANO_PER_MS = 1_000_000;
const KEPT_RESULTS = 5;
export const OUTPUT_LIMIT = 4096;

export const hasHealthcheck = (config: HealthConfig | null | undefined): boolean =>
  !!config?.Test?.length && config.Test[0] !== 'NONE';

export interface HealthTimes {
  interval: number;
  timeout: number;
  startPeriod: number;
  startInterval: number;
  retries: number;
}

/** In milliseconds, with dockerd's defaults where the configuration says nothing. */
export function healthTimes(config: HealthConfig): HealthTimes {
  const ms = (nano: number | undefined, fallback: number): number => (nano ? nano / NANO_PER_MS : fallback);
  return {
    interval: ms(config.Interval, 30_000),
    timeout: ms(config.Timeout, 30_000),
    startPeriod: ms(config.StartPeriod, 0),
    startInterval: ms(config.StartInterval, 5_000),
    retries: config.Retries || 3,
  };
}

/** The program of a probe; a shell runs the CMD-SHELL form. */
export function probeCommand(config: HealthConfig, shell: readonly string[] | null | undefined): string[] {
  const [form, ...rest] = config.Test ?? [];
  if (form === 'CMD') return rest;
  if (form === 'CMD-SHELL') return [...(shell?.length ? shell : ['/bin/sh', '-c']), rest.join(' ')];
  return form === undefined ? [] : [form, ...rest];
}

/** Health after one more result: one success makes it healthy, `retries` failures in a row make it unhealthy. */
export function nextHealth(record: ContainerRecord, result: ProbeResult): HealthState {
  const before: HealthState = record.state.health ?? { Status: 'starting', FailingStreak: 0, Log: [] };
  const { lenient, ...entry } = result;
  const Log = [...before.Log, entry].slice(-KEPT_RESULTS);
  if (result.ExitCode === 0) return { Status: 'healthy', FailingStreak: 0, Log };
  const sparing = lenient && before.Status === 'starting';
  const FailingStreak = sparing ? before.FailingStreak : before.FailingStreak + 1;
  const failed = !sparing && FailingStreak >= healthTimes(record.config.Healthcheck ?? {}).retries;
  return { Status: failed ? 'unhealthy' : before.Status, FailingStreak, Log };
}
