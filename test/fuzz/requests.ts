/** Requests against the whole app, with the containers' room over fakes and the volumes' in a directory of its own. Nothing is started. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { createApp } from '../../src/api/app.ts';
import { check } from '../../src/api/validate.ts';
import type { SchemaName } from '../../src/generated/schemas.ts';
import { planNetwork } from '../../src/network/create.ts';
import { createVolumeRoom } from '../../src/volume/room.ts';
import { testSystem } from '../api/api-support.ts';
import { containerWorld } from '../support/container-world.ts';
import { testDeps } from '../support/deps.ts';
import { anyText, documentOf } from './documents.ts';
import { refusing, type Target } from './target.ts';

interface Call {
  method: string;
  path: string;
  query: [string, string][];
  body: string | undefined;
  type: string;
}

const names = fc.oneof(
  fc.constantFrom('box', 'box', 'box', 'x', '..', '%2e%2e', '%00', '%ff', 'a/b', ''),
  anyText.map(encodeURIComponentSafely),
);
const filters = fc.oneof(
  fc
    .dictionary(
      fc.constantFrom(
        'status',
        'label',
        'name',
        'id',
        'exited',
        'before',
        'since',
        'volume',
        'network',
        'ancestor',
        'publish',
        'expose',
        'health',
        'is-task',
        'until',
        'dangling',
        'driver',
        'label!',
        'all',
      ),
      fc.oneof(fc.array(anyText, { maxLength: 3 }), fc.dictionary(anyText, fc.boolean(), { maxKeys: 2 })),
      { maxKeys: 3 },
    )
    .map((value) => JSON.stringify(value)),
  anyText,
);
const parameter = fc.oneof(
  fc.tuple(fc.constant('filters'), filters),
  fc.tuple(
    fc.constantFrom(
      'all',
      'size',
      'limit',
      'force',
      'v',
      'link',
      'signal',
      't',
      'h',
      'w',
      'name',
      'platform',
      'since',
      'stdout',
      'repo',
      'tag',
      'pause',
      'changes',
      'comment',
      'type',
    ),
    fc.oneof(anyText, fc.constantFrom('1', 'true', '-1', '99999999999999999999', '1e3', '2026-01-01')),
  ),
);

function encodeURIComponentSafely(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

/** `*` stands for a name. */
const routes: [method: string, path: string, body?: SchemaName][] = [
  ['POST', '/containers/create', 'container-create'],
  ['POST', '/containers/create', 'container-create'],
  ['POST', '/containers/*/update', 'container-update'],
  ['POST', '/containers/*/rename'],
  ['POST', '/containers/*/resize'],
  ['POST', '/containers/*/stop'],
  ['POST', '/containers/*/kill'],
  ['POST', '/containers/*/pause'],
  ['POST', '/containers/*/exec', 'exec-create'],
  ['POST', '/exec/*/resize'],
  ['GET', '/exec/*/json'],
  ['GET', '/containers/json'],
  ['GET', '/containers/*/json'],
  ['DELETE', '/containers/*'],
  ['POST', '/containers/prune'],
  ['POST', '/commit', 'commit-config'],
  ['POST', '/volumes/create', 'volume-create'],
  ['GET', '/volumes'],
  ['GET', '/volumes/*'],
  ['DELETE', '/volumes/*'],
  ['GET', '/info'],
  ['GET', '/version'],
  ['GET', '/system/df'],
  ['GET', '/*/*'],
  ['PUT', '/*'],
];

/** Nothing but its refusal would be tried of a container without an image. */
const useful = (schema: SchemaName, value: unknown): unknown =>
  schema === 'container-create' && typeof value === 'object' && value !== null && !Array.isArray(value)
    ? { ...value, Image: 'busybox' }
    : value;

const call: fc.Arbitrary<Call> = fc
  .constantFrom(...routes)
  .chain(([method, path, schema]) =>
    fc.record({
      method: fc.constant(method),
      path: fc
        .array(names, { minLength: 2, maxLength: 2 })
        .map((some) => path.replaceAll('*', () => some.shift() ?? 'x')),
      query: fc.array(parameter, { maxLength: 4 }),
      body: schema
        ? fc.oneof(
            { weight: 12, arbitrary: documentOf(schema).map((value) => JSON.stringify(useful(schema, value))) },
            { weight: 1, arbitrary: fc.constantFrom('', '{', 'null', '[]', '{}{}', '"x"', '1e999') },
          )
        : fc.constantFrom(undefined, undefined, '{}', '{'),
      type: fc.oneof(
        { weight: 12, arbitrary: fc.constant('application/json') },
        { weight: 1, arbitrary: fc.constantFrom('text/plain', '', 'application/json; charset=x') },
      ),
    }),
  );

export async function requestTarget(): Promise<Target<Call[]>> {
  const root = mkdtempSync(join(tmpdir(), 'fuzz-requests-'));
  const deps = testDeps({ config: { dataRoot: join(root, 'data'), execRoot: join(root, 'exec') } });
  for (const path of [deps.config.dataRoot, deps.config.execRoot]) mkdirSync(path);
  const world = await containerWorld({ deps });
  const volumes = await createVolumeRoom({
    ...deps,
    users: { using: () => [] },
    plugins: { sockets: join(root, 'plugins'), specs: [] },
  });
  await volumes.boot();
  await world.create({}, 'box');
  const app = createApp({ ...deps, rooms: [world.room, volumes], system: testSystem });

  async function ask({ method, path, query, body, type }: Call): Promise<void> {
    const search = query.map(([key, value]) => `${key}=${encodeURIComponentSafely(value)}`).join('&');
    const url = `http://d/v1.51${path}${search && `?${search}`}`;
    const request = new Request(url, {
      method,
      ...(body === undefined || method === 'GET' ? {} : { body, headers: type ? { 'content-type': type } : {} }),
    });
    const answer = await app.fetch(request);
    const text = await answer.text();
    if (answer.status === 500) throw new Error(`${method} ${path}: ${text.slice(0, 500)}`);
    if (answer.status >= 400 && typeof (JSON.parse(text) as { message?: unknown }).message !== 'string')
      throw new Error(`${method} ${path}: an error without a message`);
  }

  return {
    name: 'requests',
    input: fc.array(call, { minLength: 1, maxLength: 4 }),
    async run(calls) {
      for (const one of calls) await ask(one);
      if (Object.keys(Object.prototype).length || ({} as Record<string, unknown>).polluted !== undefined)
        throw new Error('Object.prototype was changed');
      for (const { id, name } of [...world.room.lookup.all()])
        if (name !== 'box') await app.fetch(new Request(`http://d/containers/${id}?force=1&v=1`, { method: 'DELETE' }));
    },
    async dispose() {
      await volumes.stop();
      await world.dispose();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** POST /networks/create as far as it is pure. */
export const networkTarget: Target = {
  name: 'network',
  input: documentOf('network-create').map((value) => JSON.stringify(value)),
  run(text: string) {
    const body = refusing(() => {
      const parsed = JSON.parse(text, (_, value: unknown) => value ?? undefined) as unknown;
      check('network-create', parsed);
      return parsed;
    });
    if (!body) return;
    const context = {
      id: 'ab'.repeat(32),
      created: '',
      used: [],
      routed: [],
      defaultPools: [{ base: '172.17.0.0/16', size: 16 }],
      seed: 's',
    };
    refusing(
      () => planNetwork(body as never, context),
      ['invalid', 'notFound', 'forbidden', 'unavailable', 'conflict'],
    );
  },
};
