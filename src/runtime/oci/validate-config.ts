/** Checks Docker's Config, with dockerd's wording. */
import { constants } from 'node:os';
import { posix } from 'node:path';
import { invalid } from '../../errors.ts';
import type { ContainerSettings } from './docker-types.ts';

const MAX_HOSTNAME = 64;
/** Nanoseconds; shorter times in a healthcheck are a mistake of unit. */
const MIN_DURATION = 1_000_000;

const REALTIME_SIGNALS = { first: 34, last: 64 };

/** `SIGTERM`, `term`, `15`, `RTMIN+3` → its number; undefined for what is no signal. */
export function parseSignal(text: string): number | undefined {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    return number > 0 && number <= REALTIME_SIGNALS.last ? number : undefined;
  }
  const name = text.toUpperCase().replace(/^SIG/, '');
  const realtime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (!realtime) return constants.signals[`SIG${name}` as NodeJS.Signals];
  const base = realtime[1] === 'MIN' ? REALTIME_SIGNALS.first : REALTIME_SIGNALS.last;
  const number = base + (realtime[2] === '-' ? -1 : 1) * Number(realtime[3] ?? 0);
  return number >= REALTIME_SIGNALS.first && number <= REALTIME_SIGNALS.last ? number : undefined;
}

function validateHealthcheck(check: ContainerSettings['Healthcheck']): void {
  for (const field of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval'] as const) {
    const value = check?.[field] ?? 0;
    if (value !== 0 && value < MIN_DURATION) throw invalid(`${field} in Healthcheck cannot be less than 1ms`);
  }
  if ((check?.Retries ?? 0) < 0) throw invalid('Retries in Healthcheck cannot be negative');
}

/** Returns the config with its working directory cleaned. */
export function validateConfig<C extends ContainerSettings>(config: C): C {
  if ((config.Hostname?.length ?? 0) > MAX_HOSTNAME) {
    throw invalid(`hostname "${config.Hostname}" is too long (maximum ${MAX_HOSTNAME} bytes)`);
  }
  const directory = config.WorkingDir ?? '';
  if (directory && !directory.startsWith('/')) {
    throw invalid(`the working directory '${directory}' is invalid, it needs to be an absolute path`);
  }
  if (config.StopSignal && parseSignal(config.StopSignal) === undefined) {
    throw invalid(`invalid signal: ${config.StopSignal}`);
  }
  for (const entry of config.Env ?? []) {
    if (entry === '' || entry.startsWith('=')) throw invalid(`invalid environment variable: ${entry}`);
  }
  validateHealthcheck(config.Healthcheck);
  return directory ? { ...config, WorkingDir: posix.normalize(directory).replace(/(.)\/$/, '$1') } : config;
}
