/** The `filters` query parameter, in both shapes that clients send: {"k":["v"]} and {"k":{"v":true}}. */
import { invalid } from '../errors.ts';

export type Filters = ReadonlyMap<string, readonly string[]>;

const NONE: Filters = new Map();

/** Throws invalid on wrong JSON and on keys that are not allowed. */
export function parseFilters(text: string | undefined, allowed: readonly string[]): Filters {
  if (!text) return NONE;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw invalid(`invalid filter: ${(error as Error).message}`, { cause: error });
  }
  if (parsed === null) return NONE;
  if (typeof parsed !== 'object' || Array.isArray(parsed)) throw invalid('invalid filter: it must be a JSON object');
  const filters = new Map<string, readonly string[]>();
  for (const [key, given] of Object.entries(parsed)) {
    if (!allowed.includes(key)) throw invalid(`invalid filter '${key}'`);
    const values = valuesOf(given);
    if (!values) throw invalid(`invalid filter '${key}': its values must be a list or a set of texts`);
    filters.set(key, values);
  }
  return filters;
}

function valuesOf(given: unknown): readonly string[] | undefined {
  if (Array.isArray(given)) return given.every((value) => typeof value === 'string') ? given : undefined;
  if (typeof given !== 'object' || given === null) return undefined;
  return Object.entries(given).flatMap(([value, set]) => (set === true ? [value] : []));
}

/** Every wanted label is there: "key" in whatever value, "key=value" exactly. */
export function matchesLabels(
  labels: Readonly<Record<string, string>> | null | undefined,
  wanted: readonly string[] | undefined,
): boolean {
  return (wanted ?? []).every((label) => {
    const at = label.indexOf('=');
    const key = at < 0 ? label : label.slice(0, at);
    return labels != null && Object.hasOwn(labels, key) && (at < 0 || labels[key] === label.slice(at + 1));
  });
}
