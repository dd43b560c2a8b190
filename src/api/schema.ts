/**
 * Checks a JSON document against the part of JSON Schema (2020-12) that schemas/json uses. A compiler of schemas (ajv) was
 * here first: its code for the body of a container cost 31 MB of memory and the first request its compilation; this walks
 * the schema as it is. The tests hold it to ajv's verdicts. Pure.
 */
export interface Schema {
  type?: string | readonly string[];
  properties?: Readonly<Record<string, Schema>>;
  required?: readonly string[];
  /** Values of properties that are not named; without it anything goes. */
  additionalProperties?: Schema;
  items?: Schema;
  minItems?: number;
  enum?: readonly unknown[];
  const?: unknown;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  $ref?: string;
}

export interface Mismatch {
  /** Names and positions from the document's root; empty for the document itself. */
  path: readonly string[];
  /** "must be integer" */
  reason: string;
}

/** Integers of the API are 64 bits wide; what is larger would be refused only by the runtime, or wrap. */
const INT64 = 2 ** 63;

const patterns = new Map<string, RegExp>();

function patternOf(source: string): RegExp {
  let pattern = patterns.get(source);
  if (!pattern) patterns.set(source, (pattern = new RegExp(source, 'u')));
  return pattern;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function isOfType(value: unknown, type: string): boolean {
  switch (type) {
    case 'null':
      return value === null;
    case 'array':
      return Array.isArray(value);
    case 'object':
      return isObject(value);
    case 'integer':
      return Number.isInteger(value);
    default:
      return typeof value === type;
  }
}

/** What is wrong with the value itself, not with what is in it. */
function wrongValue(schema: Schema, value: unknown): string | undefined {
  const { type } = schema;
  if (type !== undefined) {
    const fits = typeof type === 'string' ? isOfType(value, type) : type.some((one) => isOfType(value, one));
    if (!fits) return `must be ${String(type)}`;
  }
  if (schema.const !== undefined && value !== schema.const) return `must be ${JSON.stringify(schema.const)}`;
  if (schema.enum && !schema.enum.includes(value)) return `must be one of ${schema.enum.join(', ')}`;
  if (typeof value === 'number') {
    const bound = type !== undefined && type.includes('integer') ? INT64 : Infinity;
    const { minimum = -bound, maximum = bound } = schema;
    if (value < minimum) return `must be >= ${minimum}`;
    if (value > maximum) return `must be <= ${maximum}`;
  }
  if (typeof value === 'string' && schema.pattern !== undefined && !patternOf(schema.pattern).test(value))
    return `must match pattern "${schema.pattern}"`;
  return undefined;
}

/** The first value that does not fit; undefined when all do. `resolve` gives the schema that a `$ref` names. */
export function mismatch(
  schema: Schema,
  value: unknown,
  resolve: (reference: string) => Schema,
  path: readonly string[] = [],
): Mismatch | undefined {
  if (schema.$ref !== undefined) return mismatch(resolve(schema.$ref), value, resolve, path);
  const reason = wrongValue(schema, value);
  if (reason) return { path, reason };
  if (Array.isArray(value)) {
    if (schema.minItems !== undefined && value.length < schema.minItems)
      return { path, reason: `must have at least ${schema.minItems} items` };
    if (schema.items)
      for (const [index, item] of value.entries()) {
        const found = mismatch(schema.items, item, resolve, [...path, String(index)]);
        if (found) return found;
      }
  } else if (isObject(value)) {
    const missing = schema.required?.find((name) => !Object.hasOwn(value, name));
    if (missing !== undefined) return { path, reason: `must have required property '${missing}'` };
    for (const [name, inner] of Object.entries(value)) {
      const named = schema.properties && Object.hasOwn(schema.properties, name);
      const expected = named ? schema.properties![name] : schema.additionalProperties;
      const found = expected && mismatch(expected, inner, resolve, [...path, name]);
      if (found) return found;
    }
  }
  return undefined;
}
