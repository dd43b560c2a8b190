import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { receiveRemote } from '../../src/build/context.ts';
import { outcomeOf } from '../fixtures/build/case.ts';
import { CASES } from '../fixtures/build/cases.ts';
import { checkConfig, checkFiles, checkHistory } from '../fixtures/build/check.ts';
import { type TestEngine, testEngine } from '../fixtures/build/engine.ts';
import { tarOf } from '../support/fixture-image.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await testEngine();
});
afterAll(() => engine.dispose());

const file = (name: string, content = name) => ({ name, content });

describe.each(['classic', 'buildkit'] as const)('a Dockerfile becomes what the reference says (%s)', (style) => {
  test.each(CASES.filter((one) => !one.daemon))('$name', async (one) => {
    const { buildArgs = {}, labels = {}, target = '' } = one;
    const expected = outcomeOf(one, style);
    const { result, error } = await engine.build(one.dockerfile, one.context, { style, buildArgs, labels, target });
    if (expected.fails) return expect(error?.message).toMatch(expected.fails);
    if (error) throw error;
    const { config, id } = result!.image;
    if (expected.config) checkConfig(config.config, expected.config);
    if (expected.author) expect(config.author).toBe(expected.author);
    if (expected.history) checkHistory(config.history!, expected.history);
    if (expected.files) await engine.look(id, async (root) => checkFiles(root, expected.files!));
    expect(config.history!.filter((entry) => !entry.empty_layer).length).toBe(config.rootfs.diff_ids.length);
  });
});

describe('the cache', () => {
  const text = 'FROM busybox\nWORKDIR /app\nCOPY package.json .\nRUN cp package.json lock\nCOPY . .\nRUN cat src > out';
  const context = (src: string, json = '{}') => [file('package.json', json), file('src', src)];

  test.each(['classic', 'buildkit'] as const)(
    'serves what did not change and says why the rest was not (%s)',
    async (style) => {
      const dockerfile = `${text}\nLABEL style=${style}`;
      const first = await engine.build(dockerfile, context('1'), { style });
      const again = await engine.build(dockerfile, context('1'), { style });
      expect(again.result!.image.id).toBe(first.result!.image.id);
      expect(again.misses).toEqual([]);
      const changed = await engine.build(dockerfile, context('2'), { style });
      expect(changed.misses).toEqual(['COPY: src changed', 'RUN: an earlier step changed']);
      const deeper = await engine.build(dockerfile, context('2', '{ }'), { style });
      expect(deeper.misses[0]).toBe('COPY: package.json changed');
      const fresh = await engine.build(dockerfile, context('1'), { style, noCache: true });
      expect(fresh.cached).toEqual([]);
    },
  );

  test('knows files by content, mode, attributes and name, not by time', async () => {
    const build = (entry: object) =>
      engine.build('FROM busybox\nCOPY f /f', [{ name: 'f', content: 'x', mode: 0o644, ...entry }]);
    await build({});
    expect((await build({ mtime: new Date(0) })).misses).toEqual([]);
    expect((await build({ mode: 0o600 })).misses).toEqual(['COPY: f changed']);
    const noted = (note: string) => build({ pax: { 'SCHILY.xattr.user.note': note } });
    expect((await noted('1')).misses).toEqual(['COPY: f changed']);
    expect((await noted('1')).misses).toEqual([]);
    expect((await noted('2')).misses).toEqual(['COPY: f changed']);
  });

  test('an argument that a step uses counts, a secret proxy does not', async () => {
    const build = (buildArgs: Record<string, string>) =>
      engine.build('FROM busybox\nARG N\nRUN echo $N > /n', [], { style: 'buildkit', buildArgs });
    await build({ N: '1' });
    expect((await build({ N: '1', HTTPS_PROXY: 'http://user:pw@x' })).misses).toEqual([]);
    expect((await build({ N: '2' })).misses.length).toBe(1);
  });

  test('of another image is taken when its history goes on from here', async () => {
    const dockerfile = 'FROM busybox\nRUN echo import > /i';
    await engine.build(dockerfile, [], { tags: ['cache:1'] });
    await engine.room.builds.prune({ all: true, keepBytes: 0, filters: new Map() });
    expect((await engine.build(dockerfile, [], { cacheFrom: ['cache:1'] })).cached).toEqual(['RUN echo import > /i']);
  });

  test('travels in the image: an inline cache knows copies by content', async () => {
    const dockerfile = 'FROM busybox\nCOPY f /f\nRUN cat /f > /g';
    await engine.build(dockerfile, [file('f')], { style: 'buildkit', inlineCache: true, tags: ['inline:1'] });
    const again = async (content: string) => {
      await engine.room.builds.prune({ all: true, keepBytes: 0, filters: new Map() });
      return engine.build(dockerfile, [file('f', content)], { style: 'buildkit', cacheFrom: ['inline:1'] });
    };
    expect((await again('f')).misses).toEqual([]);
    expect((await again('other')).cached).toEqual([]);
  });

  test('is told by usage and emptied by prune', async () => {
    await engine.build('FROM busybox\nRUN echo kept > /k', [], { tags: ['kept:1'] });
    await engine.room.builds.prune({ all: false, keepBytes: 0, filters: new Map() });
    expect(
      engine.room.builds
        .usage()
        .filter(({ Shared }) => Shared)
        .map(({ Description }) => Description),
    ).toContain('RUN echo kept > /k');
    await engine.build('FROM busybox\nRUN echo prune > /p');
    expect(engine.room.builds.usage().find((item) => item.Description.includes('prune'))).toMatchObject({
      Type: 'regular',
      InUse: false,
    });
    const { deleted } = await engine.room.builds.prune({ all: true, keepBytes: 0, filters: new Map() });
    expect(deleted.length).toBeGreaterThan(0);
    expect(engine.room.builds.usage()).toEqual([]);
  });
});

test.each(['classic', 'buildkit'] as const)('SOURCE_DATE_EPOCH gives the same image twice (%s)', async (style) => {
  const build = () =>
    engine.build('FROM busybox\nWORKDIR /w/x\nCOPY a /new/dir/\nRUN echo made > /made && mkdir /m', [{ ...file('a'), mtime: new Date() }], {
      buildArgs: { SOURCE_DATE_EPOCH: '1700000000' }, noCache: true, style,
    }); // prettier-ignore
  const [first, second] = [await build(), await build()];
  expect(first.error).toBeUndefined();
  expect(second.result!.image.id).toBe(first.result!.image.id);
  expect(first.result!.image.config.created).toBe('2023-11-14T22:13:20.000000000Z');
  await engine.look(first.result!.image.id, async (root) => {
    for (const path of ['made', 'm', 'new/dir', 'new/dir/a', 'w/x'])
      expect(fs.statSync(join(root, path)).mtimeMs).toBeLessThanOrEqual(1.7e12);
  });
});

const noGit = spawnSync('git', ['--version']).status !== 0;

const STYLES = ['classic', 'buildkit'] as const;

test.skipIf(noGit).each(STYLES)(
  'a git repository is a context and a source, whatever its server can do (%s)',
  async (style) => {
    const repository = join(engine.root, `repository-${style}`);
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', repository, ...args], {
        env: {
          ...process.env,
          GIT_AUTHOR_NAME: 'a',
          GIT_AUTHOR_EMAIL: 'a@x',
          GIT_COMMITTER_NAME: 'a',
          GIT_COMMITTER_EMAIL: 'a@x',
        },
      });
    fs.mkdirSync(join(repository, 'sub'), { recursive: true });
    fs.writeFileSync(join(repository, 'sub/Dockerfile'), 'FROM busybox\nCOPY f /f\nLABEL from=git');
    fs.writeFileSync(join(repository, 'sub/f'), 'in git');
    git('init', '-q', '-b', 'main');
    git('add', '.');
    git('commit', '-q', '-m', 'first');
    git('update-server-info');
    const server = createServer((call, answer) => {
      const path = join(repository, '.git', new URL(call.url!, 'http://x').pathname.replace(/^\/repo\.git/, ''));
      if (!fs.existsSync(path) || fs.statSync(path).isDirectory()) return answer.writeHead(404).end();
      return answer.end(fs.readFileSync(path));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/repo.git`;
    const context = await engine.build('', [], {
      style,
      receive: (workspace, signal) => receiveRemote(`${url}#main:sub`, workspace, '', signal),
    });
    const added = await engine.build(`FROM busybox\nADD ${url}#main /src`, [], { style });
    const kept = await engine.build(`FROM busybox\nADD --keep-git-dir=true ${url} /src`, [], { style });
    server.close();
    expect([context.error, added.error, kept.error]).toEqual([undefined, undefined, undefined]);
    await engine.look(kept.result!.image.id, async (root) => checkFiles(root, { '/src/.git': { directory: true } }));
    expect(context.result!.config.Labels).toEqual({ from: 'git' });
    await engine.look(added.result!.image.id, async (root) =>
      checkFiles(root, { '/src/sub/f': { content: 'in git', mode: 0o644 }, '/src/.git': null }),
    );
  },
);

test('ONBUILD waits for the child', async () => {
  await engine.build('FROM busybox\nONBUILD COPY f /onbuild\nONBUILD RUN echo t > /triggered', [], {
    tags: ['parent:1'],
  });
  const { result, error, events } = await engine.build('FROM parent:1\nLABEL child=1', [file('f')]);
  expect(events.flatMap((event) => (event.type === 'note' ? event.text : []))).toEqual([
    '# Executing 2 build triggers',
  ]);
  expect(error).toBeUndefined();
  expect(result!.config.OnBuild).toBeUndefined();
  await engine.look(result!.image.id, async (root) => checkFiles(root, { '/onbuild': 'f', '/triggered': 't\n' }));
});

test.each(STYLES)(
  'ADD unpacks archives, fetches urls with a checksum, and leaves other files alone (%s)',
  async (style) => {
    const archive = gzipSync(
      await tarOf(
        [
          { name: 'in/side', content: 'packed', uid: 3, gid: 4 },
          { name: '../../escape', content: 'no' },
        ].slice(0, 1),
      ),
    );
    const server = createServer((_, answer) =>
      answer.setHeader('Last-Modified', 'Tue, 14 Nov 2023 22:13:20 GMT').end('from afar'),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/dir/remote.txt`;
    const context = [
      { name: 'a.tgz', content: archive },
      { name: 'fake.tar', content: 'not an archive' },
    ];
    const built = await engine.build(`FROM busybox\nADD a.tgz /x\nADD fake.tar /y/\nADD ${url} /z/`, context, {
      style,
    });
    const digest = createHash('sha256').update('from afar').digest('hex');
    const right = await engine.build(`FROM busybox\nADD --checksum=sha256:${digest} --chmod=640 ${url} /z`, [], {
      style,
    });
    const wrong = await engine.build(`FROM busybox\nADD --checksum=sha256:${'0'.repeat(64)} ${url} /z/`, [], { style });
    server.close();
    expect([built.error, right.error]).toEqual([undefined, undefined]);
    await engine.look(right.result!.image.id, async (root) =>
      checkFiles(root, { '/z': { content: 'from afar', mode: 0o640 } }),
    );
    await engine.look(built.result!.image.id, async (root) =>
    checkFiles(root, { '/x/in/side': { content: 'packed', uid: 3, gid: 4 }, '/x/a.tgz': null, '/y/fake.tar': 'not an archive', '/z/remote.txt': { content: 'from afar', mode: 0o600 } }),
  ); // prettier-ignore
    expect(wrong.error?.message).toMatch('digest mismatch');
  },
);

test('an archive that wants out is refused, and nothing is left of the build', async () => {
  const bad = await tarOf([{ name: '../../escape', content: 'no' }]);
  const { error } = await engine.build('FROM busybox\nADD bad.tar /x', [{ name: 'bad.tar', content: bad }]);
  expect(error?.message).toMatch('invalid path in archive');
  expect(fs.readdirSync(join(engine.root, 'builder'))).toEqual([]);
});

test('independent stages run beside each other', async () => {
  const dockerfile = ['a', 'b']
    .map((name) => `FROM busybox AS ${name}\nRUN sh -c 'echo > /tmp/${name}; echo ready'`)
    .join('\n');
  const { events, error } = await engine.build(
    `${dockerfile}\nFROM busybox\nCOPY --from=a /tmp/a /\nCOPY --from=b /tmp/b /`,
  );
  expect(error).toBeUndefined();
  const at = (type: string, stage: number) =>
    events.findIndex((event) => event.type === type && 'vertex' in event && event.vertex?.stage === stage);
  const ends = events.flatMap((event, index) => (event.type === 'stage-end' && event.stage < 2 ? [index] : []));
  expect(Math.max(at('begin', 0), at('begin', 1))).toBeLessThan(Math.min(...ends));
});

test('a build that fails does not wait for a context that is still on its way', async () => {
  const dockerfile = 'FROM busybox\nRUN exit 3\nCOPY a /';
  const { error } = await engine.build('', [], {
    receive: async () => ({
      dockerfile,
      dockerfileName: 'Dockerfile',
      context: (signal) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    }),
  });
  expect(error?.message).toContain('returned a non-zero code: 3');
  expect(fs.readdirSync(join(engine.root, 'builder'))).toEqual([]);
});

test('a cancelled build stops its step and leaves nothing', async () => {
  let cancel = (): void => {};
  const { error } = await engine.build('FROM busybox\nRUN sleep 1000', [], {
    onEvent: (event) => {
      if (event.type === 'begin' && event.vertex.number === 2) setImmediate(() => cancel());
    },
    receive: async ({ place }) => {
      cancel = () => engine.room.builds.cancel(place.split('/').at(-1)!);
      return { dockerfile: 'FROM busybox\nRUN sleep 1000', dockerfileName: 'Dockerfile' };
    },
  });
  expect(error?.message).toBe('the build was cancelled');
  expect(fs.readdirSync(join(engine.root, 'builder'))).toEqual([]);
});
