/** Options of log drivers: their values, and what dockerd says of wrong ones. */
import { invalid } from '../errors.ts';

export type Options = Readonly<Record<string, string>>;

type Units = 'binary' | 'decimal';

const PREFIXES = ['', 'k', 'm', 'g', 't', 'p'];

/** "10m", "1.5 GiB", "100": bytes; the files of a log are counted in thousands, as dockerd does. */
export function parseSize(text: string, units: Units = 'binary'): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(text.trim());
  if (!match) throw invalid(`invalid size: '${text}'`);
  const power = PREFIXES.indexOf(match[2]!.toLowerCase());
  return Math.floor(Number(match[1]) * (units === 'decimal' ? 1000 : 1024) ** power);
}

export function sizeOption(options: Options, name: string, fallback: number, units?: Units): number {
  const text = options[name];
  if (text === undefined || text === '') return fallback;
  if (text === '-1') return -1;
  const size = parseSize(text, units);
  if (size <= 0) throw invalid(`${name} must be a positive number`);
  return size;
}

export function integerOption(options: Options, name: string, fallback: number): number {
  const text = options[name];
  if (text === undefined || text === '') return fallback;
  if (!/^[+-]?\d+$/.test(text)) throw invalid(`invalid value for ${name}: '${text}' is no whole number`);
  return Number(text);
}

const TRUE = new Set(['1', 't', 'T', 'TRUE', 'true', 'True']);
const FALSE = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False']);

export function booleanOption(options: Options, name: string, fallback: boolean): boolean {
  const text = options[name];
  if (text === undefined || text === '') return fallback;
  if (TRUE.has(text)) return true;
  if (FALSE.has(text)) return false;
  throw invalid(`invalid value for ${name}: '${text}' is neither true nor false`);
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** "1s", "500ms", "1m30s": milliseconds. */
export function durationOption(options: Options, name: string, fallback: number): number {
  const text = options[name];
  if (text === undefined || text === '') return fallback;
  if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text))
    throw invalid(`invalid value for ${name}: '${text}' is no duration`);
  let total = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) {
    total += Number(number) * DURATION_UNITS[unit!]!;
  }
  return total;
}

/** How a log's files are kept. */
export interface FileOptions {
  /** Bytes; -1 is without limit. */
  maxSize: number;
  maxFiles: number;
  compress: boolean;
}

export function fileOptions(options: Options, fallback: FileOptions, prefix = ''): FileOptions {
  const maxSize = sizeOption(options, `${prefix}max-size`, fallback.maxSize, 'decimal');
  const maxFiles = integerOption(options, `${prefix}max-file`, fallback.maxFiles);
  if (maxFiles < 1) throw invalid(`${prefix}max-file cannot be less than 1`);
  const compress = booleanOption(options, `${prefix}compress`, fallback.compress && maxFiles > 1);
  if (compress && (maxFiles < 2 || maxSize < 0)) {
    throw invalid('compress cannot be true when max-file is less than 2 or max-size is not set');
  }
  return { maxSize, maxFiles, compress };
}

export const FILE_KEYS = ['max-size', 'max-file', 'compress'] as const;
export const ATTRIBUTE_KEYS = ['labels', 'labels-regex', 'env', 'env-regex', 'tag'] as const;
/** Understood for every driver. */
export const COMMON_KEYS = ['mode', 'max-buffer-size'] as const;
/** For drivers whose logs are read back from a local copy. */
export const CACHE_KEYS = ['cache-disabled', 'cache-max-size', 'cache-max-file', 'cache-compress'] as const;

export interface ModeOptions {
  blocking: boolean;
  /** Bytes that wait in non-blocking mode. */
  buffer: number;
}

export function modeOptions(options: Options): ModeOptions {
  const mode = options.mode || 'blocking';
  if (mode !== 'blocking' && mode !== 'non-blocking') throw invalid(`logger: logging mode not supported: ${mode}`);
  if (options['max-buffer-size'] !== undefined && mode === 'blocking') {
    throw invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
  }
  return { blocking: mode === 'blocking', buffer: sizeOption(options, 'max-buffer-size', 1 << 20) };
}
