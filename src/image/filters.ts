/** Filters that listing and pruning of images share. Pure. */
import { type Filters, matchesLabels } from '../api/filters.ts';
import { invalid } from '../errors.ts';
import type { Image } from './port.ts';
import { type Reference, familiar, familiarName } from './reference.ts';

/** Milliseconds since the epoch; undefined when the image does not tell. */
export function createdOf(image: Pick<Image, 'config'>): number | undefined {
  const time = Date.parse(image.config.created ?? '');
  return Number.isNaN(time) ? undefined : time;
}

export function danglingFilter(filters: Filters): boolean | undefined {
  const values = filters.get('dangling');
  if (!values?.length) return undefined;
  const words: Record<string, boolean> = { '1': true, true: true, '0': false, false: false };
  const found = values.map((value) => words[value.toLowerCase()]);
  if (values.length !== 1 || found[0] === undefined) throw invalid(`invalid filter 'dangling=[${values.join(' ')}]'`);
  return found[0];
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A Go duration back from now, a Unix time or a date, in milliseconds since the epoch. */
export function untilFilter(filters: Filters, now: number): number | undefined {
  const values = filters.get('until');
  if (!values?.length) return undefined;
  const [value] = values as [string];
  if (values.length > 1) throw invalid('more than one until filter specified');
  if (/^(\d+(\.\d+)?(ms|[hms]))+$/.test(value)) {
    const parts = value.matchAll(/(\d+(?:\.\d+)?)(ms|[hms])/g);
    return now - [...parts].reduce((sum, [, amount, unit]) => sum + Number(amount) * UNITS[unit!]!, 0);
  }
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  if (Number.isNaN(date)) throw invalid(`failed to parse value as time or duration: "${value}"`);
  return date;
}

export const createdBefore = (image: Image, until: number | undefined): boolean => {
  if (until === undefined) return true;
  const created = createdOf(image);
  return created !== undefined && created <= until;
};

export function labelsMatch(image: Image, filters: Filters): boolean {
  const { Labels } = image.config.config;
  if (!matchesLabels(Labels, filters.get('label'))) return false;
  return !(filters.get('label!') ?? []).some((label) => matchesLabels(Labels, [label]));
}

/** A shell pattern as Go's path.Match: `*` and `?` stop at slashes. */
function globOf(pattern: string): RegExp {
  let source = '';
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    const end = char === '[' ? pattern.indexOf(']', i + 2) : -1;
    if (char === '[' && end < 0) throw invalid('syntax error in pattern');
    if (char === '*') source += '[^/]*';
    else if (char === '?') source += '[^/]';
    else if (end > 0) {
      source += `[${pattern.slice(i + 1, end).replace(/\\/g, '\\\\')}]`;
      i = end;
    } else source += char.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  }
  try {
    return new RegExp(`^${source}$`);
  } catch (error) {
    throw invalid('syntax error in pattern', { cause: error });
  }
}

/** A pattern matches the familiar name, with or without its tag. */
export function matchesReference(patterns: readonly string[], reference: Reference): boolean {
  return patterns.some((pattern) => {
    const glob = globOf(pattern);
    return glob.test(familiar(reference)) || glob.test(familiarName(reference));
  });
}
