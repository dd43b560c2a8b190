/** HEALTHCHECK's command and flags. */
import type { HealthConfig } from '../../image/port.ts';
import { parseError } from './errors.ts';
import { type Flags, jsonWords } from './flags.ts';
import type { Line } from './lines.ts';

const UNITS: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** A Go duration (`1m30s`) in nanoseconds, or undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  if (!/^([0-9]*\.?[0-9]+(ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)/g))
    total += Number(amount) * UNITS[unit!]!;
  return Math.round(total);
}

export function parseHealthcheck(line: Line, flags: Flags): HealthConfig {
  const duration = (name: string): number => {
    const text = flags.text(name);
    if (text === undefined) return 0;
    const nano = parseDuration(text);
    if (nano === undefined) throw parseError(line.start, `time: invalid duration ${JSON.stringify(text)}`);
    if (nano !== 0 && nano < 1e6)
      throw parseError(line.start, `Interval ${JSON.stringify(name)} cannot be less than 1ms`);
    return nano;
  };
  const [, type, rest] = /^(\S+)\s*([\s\S]*)$/.exec(line.rest)!;
  const kind = type!.toUpperCase();
  if (kind === 'NONE') {
    if (rest) throw parseError(line.start, 'HEALTHCHECK NONE takes no arguments');
    return { Test: ['NONE'] };
  }
  if (kind !== 'CMD') throw parseError(line.start, `Unknown type ${JSON.stringify(kind)} in HEALTHCHECK (try CMD)`);
  if (!rest) throw parseError(line.start, 'Missing command after HEALTHCHECK CMD');
  const exec = jsonWords(rest!);
  const retries = flags.text('retries');
  if (retries !== undefined && !/^\d+$/.test(retries))
    throw parseError(line.start, `strconv.ParseInt: parsing ${JSON.stringify(retries)}: invalid syntax`);
  const numbers = {
    Interval: duration('interval'),
    Timeout: duration('timeout'),
    StartPeriod: duration('start-period'),
    StartInterval: duration('start-interval'),
    Retries: Number(retries ?? 0),
  };
  const set = Object.fromEntries(Object.entries(numbers).filter(([, value]) => value));
  return { Test: exec ? ['CMD', ...exec] : ['CMD-SHELL', rest!], ...set };
}
