/** Documents from the JSON Schemas: mostly what fits, now and then what does not. */
import fc from 'fast-check';
import { schemas, type SchemaName } from '../../src/generated/schemas.ts';

interface Schema {
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  $ref?: string;
  $defs?: Record<string, Schema>;
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
}

/** Texts that mean something somewhere: modes, paths, sizes, names. */
const texts = [
  ...[
    '',
    'a',
    'bridge',
    'host',
    'none',
    'default',
    'container:x',
    'private',
    'shareable',
    'tcp',
    '80/tcp',
    '80-90/tcp',
    '0',
    '-1',
    '127.0.0.1',
    '::1',
    '10.0.0.0/8',
  ],
  ...[
    '/',
    '/x',
    '/../x',
    '../x',
    'a:/b',
    'a:/b:ro,z',
    '/x:/y:rshared',
    'no',
    'always',
    'on-failure',
    'unless-stopped',
    'json-file',
    'local',
    'SIGTERM',
    '9',
  ],
  ...[
    'root',
    '0:0',
    '4294967296',
    'ALL',
    'CAP_SYS_ADMIN',
    'seccomp=unconfined',
    'no-new-privileges',
    'label=x',
    'rwm',
    '/dev/null',
    '1g',
    'A=b',
    '=',
    'A',
    'é',
    '\0',
    '\ud800',
  ],
  ...[
    '__proto__',
    'constructor',
    'toString',
    'x'.repeat(300),
    'CMD',
    'CMD-SHELL',
    'NONE',
    'volume',
    'bind',
    'tmpfs',
    'busybox',
    'sha256:x',
    '12:34:56:78:9a:bc',
  ],
];
const numbers = [0, 1, -1, 2, 4096, 6 << 20, 2 ** 31, 2 ** 53, -(2 ** 53), 0.5, 1e300, 1_000_000_000];

const text = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...texts) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
);
const wrong = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom<unknown>(null, {}, [], [null], '', -1));

/** A record of any keys: also those that JSON.parse makes and object literals cannot. */
function record(value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.array(fc.tuple(text, value), { maxLength: 3 }).map((entries) => {
    const made: Record<string, unknown> = {};
    for (const [key, one] of entries)
      Object.defineProperty(made, key, { value: one, enumerable: true, configurable: true, writable: true });
    return made;
  });
}

function ofSchema(schema: Schema, root: Schema, depth: number): fc.Arbitrary<unknown> {
  const fitting = exactly(schema, root, depth);
  return fc.oneof(
    { weight: 24, arbitrary: fitting },
    { weight: 1, arbitrary: wrong },
    { weight: 1, arbitrary: fc.constant(null) },
  );
}

function exactly(schema: Schema, root: Schema, depth: number): fc.Arbitrary<unknown> {
  if (depth > 7) return fc.constant(null);
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema.$ref) return referred(schema.$ref, root, depth);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return fc.oneof(...choices.map((one) => exactly(one, root, depth + 1)));
  if (schema.allOf) return exactly(Object.assign({}, ...schema.allOf), root, depth + 1);
  const types = [schema.type ?? (schema.properties ? 'object' : 'string')].flat();
  return fc.oneof(...types.map((type) => ofType(type, schema, root, depth)));
}

function referred(reference: string, root: Schema, depth: number): fc.Arbitrary<unknown> {
  const [file = '', pointer = ''] = reference.split('#');
  const document = file ? (JSON.parse(schemas[file.replace(/\.json$/, '') as SchemaName]) as Schema) : root;
  const found = pointer
    .split('/')
    .filter(Boolean)
    .reduce((part, name) => (part as Record<string, unknown>)[name], document as unknown) as Schema;
  return exactly(found, document, depth + 1);
}

function ofType(type: string, schema: Schema, root: Schema, depth: number): fc.Arbitrary<unknown> {
  switch (type) {
    case 'integer':
    case 'number':
      return fc.oneof(fc.constantFrom(...numbers), fc.integer());
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.array(ofSchema(schema.items ?? {}, root, depth + 1), { maxLength: 3 });
    case 'object': {
      const { properties, additionalProperties } = schema;
      if (!properties)
        return record(
          typeof additionalProperties === 'object' ? ofSchema(additionalProperties, root, depth + 1) : wrong,
        );
      // A few at a time: with all of them one would always be wrong.
      const all = Object.entries(properties);
      const some = fc.subarray(all, { maxLength: Math.min(5, all.length) });
      return some.chain((entries) => {
        const fields = entries.map(([name, one]) => [name, ofSchema(one, root, depth + 1)] as const);
        return fc.record(Object.fromEntries(fields));
      });
    }
    default:
      return text;
  }
}

export function documentOf(name: SchemaName): fc.Arbitrary<unknown> {
  const root = JSON.parse(schemas[name]) as Schema;
  return ofSchema(root, root, 0);
}

export const anyText = text;
