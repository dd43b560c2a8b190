/** Builds that go wrong or are up to no good, and what is told of them, with the engine alone. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { receiveTar } from '../../src/build/context.ts';
import type { Fact } from '../../src/bus/fact.ts';
import { readXattrs } from '../../src/host/ffi.ts';
import { type TestEngine, testEngine } from '../fixtures/build/engine.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await testEngine();
});
afterAll(() => engine.dispose());

const file = (name: string, content = name) => ({ name, content });

test('why a step was built again is told on the bus, where the visualizer reads it', async () => {
  const dockerfile = 'FROM busybox\nCOPY package.json /\nRUN cat /package.json';
  await engine.build(dockerfile, [file('package.json', '1')]);
  const facts: Fact[] = [];
  const watching = engine.room.builds.deps.bus.facts$.subscribe((fact) => facts.push(fact));
  await engine.build(dockerfile, [file('package.json', '2')]);
  await engine.build(dockerfile, [file('package.json', '2')]);
  watching.unsubscribe();
  const steps = facts.filter(({ type, action }) => type === 'build' && (action === 'step' || action === 'cached'));
  expect(steps.map(({ action, data }) => [action, data!.step, data!.why])).toEqual([
    ['step', '[2/3] COPY package.json /', 'COPY: package.json changed'],
    ['step', '[3/3] RUN cat /package.json', 'RUN: an earlier step changed'],
    ['cached', '[2/3] COPY package.json /', undefined],
    ['cached', '[3/3] RUN cat /package.json', undefined],
  ]);
  expect(steps[1]!.data!.inputs).toEqual([steps[0]!.data!.vertex]);
});

test('a step that fails tells its line, its exit code and its last words, and leaves a way in', async () => {
  const dockerfile = 'FROM busybox\nRUN echo good > /good\n\nRUN for i in $(seq 30); do echo line $i; done; exit 3';
  const { error, events } = await engine.build(dockerfile);
  expect(error?.message).toMatch(/returned a non-zero code: 3$/);
  const note = events.flatMap((event) => (event.type === 'note' ? event.text : [])).join('\n');
  expect(note).toContain('Step failed on line 4: RUN for i in');
  expect(note).toContain('(exit code 3)');
  expect(note).toContain('line 30');
  expect(note).not.toContain('line 20\n');
  const [, id] = /docker run -it ([0-9a-f]{12})/.exec(note)!;
  await engine.look(engine.images.images.get(id!).id, async (root) => expect(fs.existsSync(join(root, 'good'))).toBe(true));
}); // prettier-ignore

test('endless output of a step is cut and fills nothing', async () => {
  const { error, events } = await engine.build('FROM busybox\nRUN yes | head -c 40000000; echo fine > /end');
  expect(error).toBeUndefined();
  const chunks = events.flatMap((event) => (event.type === 'output' ? [Buffer.from(event.chunk)] : []));
  const bytes = chunks.reduce((sum, { length }) => sum + length, 0);
  expect(bytes).toBeLessThan(18 << 20);
  expect(chunks.at(-1)!.toString()).toContain('[output clipped, log limit 16MiB reached]');
});

test('names that are no UTF-8 are names like others', async () => {
  const from = fs.mkdtempSync(join(engine.root, 'names-'));
  const odd = Buffer.concat([Buffer.from(`${from}/d/caf`), Buffer.from([0xe9])]);
  fs.mkdirSync(join(from, 'd'));
  fs.writeFileSync(odd, 'latin');
  fs.writeFileSync(join(from, 'd/größe'), 'utf8');
  fs.writeFileSync(join(from, 'Dockerfile'), 'FROM busybox\nCOPY d /d\nCOPY d/gr* /g/\nRUN cat /d/caf* > /out');
  const tar = execFileSync('tar', ['-c', '-C', from, '.']);
  const { result, error } = await engine.build('', [], {
    receive: (workspace, signal) => receiveTar(Readable.from([tar]), workspace, '', signal),
  });
  expect(error).toBeUndefined();
  await engine.look(result!.image.id, async (root) => {
    expect(fs.readFileSync(Buffer.concat([Buffer.from(`${root}/d/caf`), Buffer.from([0xe9])]), 'utf8')).toBe('latin');
    expect(fs.readFileSync(join(root, 'g/größe'), 'utf8')).toBe('utf8');
    expect(fs.readFileSync(join(root, 'out'), 'utf8')).toBe('latin');
  });
});

test('extended attributes come along when owners do', async () => {
  const dockerfile = 'FROM busybox AS one\nCOPY f /f\nFROM busybox\nCOPY --from=one /f /g';
  const context = [{ name: 'f', content: 'x', pax: { 'SCHILY.xattr.user.note': 'kept' } }];
  const { result, error } = await engine.build(dockerfile, context);
  expect(error).toBeUndefined();
  await engine.look(result!.image.id, async (root) => expect(String(readXattrs(join(root, 'g')).get('user.note'))).toBe('kept'));
}); // prettier-ignore

test.each([
  ['a directory outside by a link in the context', 'COPY out/hostname /x', [{ name: 'out', type: 'symlink' as const, linkname: '/etc' }]],
  ['a link of an earlier layer, as a source', 'RUN ln -s /../../../../../../etc /l\nCOPY --from=busybox /l/hostname /x', []],
  ['an absolute path', 'COPY /etc/hostname /x', []],
])('%s leads nowhere', async (_, steps, context) => {
  const { error } = await engine.build(`FROM busybox\n${steps}`, context);
  expect(error?.message).toMatch(/not found|not exist/);
}); // prettier-ignore

test('a link of an earlier layer as a destination leads no file out of the image', async () => {
  const mark = `mark-${process.pid}`;
  const { result, error } = await engine.build(
    `FROM busybox\nRUN ln -s ../../../../../../../../../../tmp /l && ln -s /l/${mark} /f\nCOPY ${mark} /l/\nCOPY ${mark} /f`,
    [file(mark)],
  );
  expect(error).toBeUndefined();
  expect(fs.existsSync(join('/tmp', mark))).toBe(false);
  await engine.look(result!.image.id, async (root) => expect(fs.existsSync(join(root, 'tmp', mark))).toBe(true));
});
