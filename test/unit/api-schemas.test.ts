import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Schema } from '../../src/api/schema.ts';
import { check } from '../../src/api/validate.ts';
import { defaultConfig } from '../../src/config/defaults.ts';
import { options } from '../../src/config/options.ts';
import { schemas, type SchemaName } from '../../src/generated/schemas.ts';
import { buildSpec } from '../../src/runtime/oci/spec.ts';
import { testHost } from '../support/deps.ts';

const names = Object.keys(schemas) as SchemaName[];
const parsed = (name: SchemaName): Schema => JSON.parse(schemas[name]) as Schema;
const digest = `sha256:${'a'.repeat(64)}`;
const descriptor = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size: 7 };
const event = { Type: 'a', Action: 'b', Actor: { ID: 'c', Attributes: {} }, scope: 'local', time: 1, timeNano: 1 };

test('schemas use only what the checker knows', () => {
  const known = new Set<keyof Schema | '$schema' | 'title' | 'description'>([
    ...(['$schema', 'title', 'description', 'type', 'properties', 'required', 'additionalProperties'] as const),
    ...(['items', 'minItems', 'enum', 'const', 'pattern', 'minimum', 'maximum', '$ref'] as const),
  ]);
  const visit = (schema: Schema): void => {
    for (const keyword of Object.keys(schema)) expect(known).toContain(keyword);
    for (const inner of Object.values(schema.properties ?? {})) visit(inner);
    if (schema.items) visit(schema.items);
    if (schema.additionalProperties !== undefined) {
      expect(typeof schema.additionalProperties).toBe('object');
      visit(schema.additionalProperties);
    }
  };
  for (const name of names) visit(parsed(name));
});

/** Documents that mostly fit, with something odd here and there. */
function documents(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.$ref) return documents(parsed(schema.$ref.replace('.json', '') as SchemaName));
  const odd = fc.constantFrom<unknown>(null, true, -1, 1.5, 7, '', 'x', '/x', [], {}, [1], { a: 1 });
  const fitting = (type: string): fc.Arbitrary<unknown> => {
    if (type === 'array') return fc.array(documents(schema.items ?? {}), { maxLength: 2 });
    if (type === 'object') {
      const entries = Object.entries(schema.properties ?? {}).map(([name, inner]) => [name, documents(inner)] as const);
      const record = fc.record(Object.fromEntries(entries), { requiredKeys: [...(schema.required ?? [])] });
      if (!schema.additionalProperties) return record;
      const more = fc.dictionary(fc.constantFrom('k', 'other'), documents(schema.additionalProperties), { maxKeys: 2 });
      return fc.tuple(record, more).map(([named, rest]) => ({ ...rest, ...named }));
    }
    if (schema.enum) return fc.constantFrom(...schema.enum);
    if (schema.const !== undefined) return fc.constant(schema.const);
    if (type === 'string') return fc.constantFrom('', '/abs', 'text', digest, 'CAP_KILL', 'RLIMIT_CORE', 'a/b');
    return type === 'boolean' ? fc.boolean() : type === 'null' ? fc.constant(null) : fc.integer({ min: -5, max: 99 });
  };
  const types = schema.type === undefined ? ['string'] : [schema.type].flat();
  return fc.oneof({ weight: 30, arbitrary: fc.oneof(...types.map(fitting)) }, { weight: 1, arbitrary: odd });
}

test.each(names)('%s: documents pass and fail as ajv says', (name) => {
  const ajv = new Ajv2020({ strict: false });
  for (const one of names) ajv.addSchema(parsed(one), `${one}.json`);
  const judge = ajv.getSchema(`${name}.json`)!;
  const passes = (document: unknown): boolean => {
    try {
      check(name, document);
      return true;
    } catch {
      return false;
    }
  };
  fc.assert(
    fc.property(documents(parsed(name)), (document) => {
      expect(passes(document)).toBe(judge(document));
    }),
    { numRuns: 40, seed: 7 },
  );
});

test('documents of an image pass, and wrong ones tell where', () => {
  const platform = { architecture: 'amd64', os: 'linux' };
  check('oci-image-index', { schemaVersion: 2, manifests: [{ ...descriptor, platform }] });
  check('oci-image-manifest', { schemaVersion: 2, config: descriptor, layers: [descriptor], more: true });
  check('oci-image-config', { ...platform, rootfs: { type: 'layers', diff_ids: [digest] }, config: { Cmd: null } });
  expect(() => check('oci-image-index', { schemaVersion: 2, manifests: [{ ...descriptor, size: '7' }] })).toThrow(
    'invalid JSON: manifests.0.size must be integer',
  );
  expect(() => check('oci-image-manifest', { schemaVersion: 1, config: descriptor, layers: [] })).toThrow(
    'invalid JSON: schemaVersion must be 2',
  );
});

test('a document that does not fit is refused with the path of the value', () => {
  expect(() => check('event-message', { ...event, unknown: true })).not.toThrow();
  expect(() => check('event-message', { ...event, Actor: { ID: 1, Attributes: {} } })).toThrow(
    'invalid JSON: Actor.ID must be string',
  );
  expect(() => check('event-message', { ...event, scope: 'x' })).toThrow('scope must be one of local, swarm');
  expect(() => check('event-message', { ...event, Actor: { ID: 'a' } })).toThrow(
    "invalid JSON: Actor must have required property 'Attributes'",
  );
  expect(() => check('event-message', [])).toThrow('invalid JSON: the document must be object');
  expect(() => check('event-message', { ...event, time: 1e300 })).toThrow('time must be <= 92233720368547');
});

test('what a prototype has is neither a property nor a schema', () => {
  expect(() => check('error-response', Object.create({ message: 'inherited' }))).toThrow(/required property 'message'/);
  check('error-response', JSON.parse('{"message":"x","__proto__":1,"constructor":2,"toString":3}'));
});

test('daemon.json has exactly the keys that the daemon takes', () => {
  const { proxies, ...plain } = parsed('daemon').properties!;
  const keys = [...Object.keys(plain), ...Object.keys(proxies!.properties!)];
  expect(keys.sort()).toEqual(options.flatMap(({ file }) => (file ? [file] : [])).sort());
});

test('the runtime configuration that we write is one that the specification knows', () => {
  const spec = buildSpec({
    id: 'c1',
    config: { Hostname: 'box', Env: ['A=1'], WorkingDir: '/srv' },
    hostConfig: { Memory: 64 << 20, PidsLimit: 10, Ulimits: [{ Name: 'nofile', Soft: 1024, Hard: 2048 }] },
    args: ['sleep', '1'],
    user: { uid: 1000, gid: 1000, additionalGids: [] },
    host: testHost,
    daemon: defaultConfig,
    side: {
      devices: [],
      hostDevices: [],
      blockDevices: new Map(),
      propagation: new Map(),
      initPath: undefined,
      seccomp: '',
      sysctls: {},
      cdi: [],
    },
    netnsPath: '/run/netns/c1',
    mounts: [],
  });
  check('oci-runtime-config', JSON.parse(JSON.stringify(spec)));
});
