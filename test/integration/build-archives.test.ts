/** Contexts that are never unpacked: what is told of the archive is what its files on the disk would tell. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { receiveTar } from '../../src/build/context.ts';
import { digestSelection } from '../../src/build/files/digest.ts';
import { inArchive, unpack } from '../../src/build/files/packed.ts';
import type { Selection } from '../../src/build/files/select.ts';
import { Workspace } from '../../src/build/workspace.ts';
import { testEngine } from '../fixtures/build/engine.ts';
import { type Entry, tarOf } from '../support/fixture-image.ts';

let place: string;
beforeAll(() => (place = fs.mkdtempSync(join(tmpdir(), 'build-archives-'))));
afterAll(() => fs.rmSync(place, { recursive: true, force: true }));

const never = new AbortController().signal;
const big = 'x'.repeat(300_000);

/** Later entries take the place of earlier ones; directories come late or never. */
const entries: Entry[] = [
  { name: 'Dockerfile', content: 'FROM scratch' },
  { name: 'a/b/c.txt', content: 'c', mode: 0o640 },
  { name: 'a/b', type: 'directory', mode: 0o750 },
  { name: 'a/big', content: big },
  { name: 'a/empty', content: '' },
  { name: 'a/größe.txt', content: 'ö' },
  { name: `a/${'long'.repeat(60)}`, content: 'long' },
  { name: 'a/hard', type: 'link', linkname: 'a/b/c.txt' },
  { name: 'a/up', type: 'symlink', linkname: '../../../d' },
  { name: 'a/broken', type: 'symlink', linkname: 'nowhere' },
  { name: 'a/pipe', type: 'fifo' },
  { name: 'd/one', content: '1', uid: 7, gid: 8 },
  { name: 'd/one', content: 'one', mode: 0o4755 },
  { name: 'd/was-file', content: 'file' },
  { name: 'd/was-file', type: 'directory' },
  { name: 'd/was-file/in', content: 'in' },
  { name: 'd/was-dir/in', content: 'in' },
  { name: 'd/was-dir', content: 'file' },
  { name: './e/../e/dots', content: 'dots' },
];

const selections: [string, Partial<Selection> & { sources: string[] }, string[]?][] = [
  ['all', { sources: ['.'] }],
  ['a file and a directory', { sources: ['a/b/c.txt', 'd/'] }],
  ['what a link leads to, and the link in its directory', { sources: ['a/up/one', 'a'] }],
  ['names by pattern', { sources: ['a/*', '*/o?e'] }],
  ['names by pattern through a link', { sources: ['a/up/*'] }],
  ['names at any depth', { sources: ['**/in'] }],
  ['kept parents', { sources: ['a/./b/c.txt', 'd/was-*'], parents: true }],
  ['exclusions', { sources: ['a', 'd'], excludes: ['b', '**/in'] }],
  ['ignored ones with an exception', { sources: ['.'] }, ['a', 'd/*', '!d/one', '!a/b/c.txt']],
];

test.each(selections)('digests of %s', async (_, { sources, excludes = [], parents = false }, ignore = []) => {
  const tar = await tarOf(entries);
  const [root, file] = [join(place, 'root'), join(place, 'tar')];
  if (!fs.existsSync(root)) unpack(tar, root);
  fs.writeFileSync(file, tar);
  for (const owners of [false, true]) {
    const look = (listing?: Parameters<typeof digestSelection>[3]) =>
      digestSelection({ root, ignore }, { sources, excludes, parents }, owners, listing);
    const expected = look();
    expect(expected.bytes).toBeGreaterThan(0);
    expect(inArchive(tar, look)).toEqual(expected);
    expect(inArchive(file, look)).toEqual(expected);
  }
});

test('a source that is not in it is missed in the same words', async () => {
  const tree = { root: join(place, 'none'), ignore: [] };
  const selection = { sources: ['gone'], excludes: [], parents: false };
  fs.mkdirSync(tree.root);
  const words = /file not found in build context or excluded by .dockerignore: stat gone/;
  expect(() => digestSelection(tree, selection, false)).toThrow(words);
  const tar = await tarOf(entries);
  expect(() => inArchive(tar, (listing) => digestSelection(tree, selection, false, listing))).toThrow(words);
});

test.each<[string, Entry[]]>([
  ['a file below a link', [{ name: 'l', type: 'symlink', linkname: '/etc' }, { name: 'l/x', content: 'x' }]],
  ['a file below a file', [{ name: 'f', content: 'f' }, { name: 'f/x', content: 'x' }]],
  ['a hard link to nothing', [{ name: 'h', type: 'link', linkname: 'nowhere' }]],
  ['a whiteout', [{ name: '.wh.x', content: '' }]],
])('with %s it is not guessed at', async (_, odd) => {
  const tar = await tarOf([...entries, ...odd]);
  expect(inArchive(tar, () => 'told')).toBeUndefined();
}); // prettier-ignore

const receive = (body: Buffer, name = '') => {
  const directory = fs.mkdtempSync(join(place, 'build-'));
  const pieces = Array.from({ length: Math.ceil(body.length / 50_000) }, (_, i) => body.subarray(i * 50_000, (i + 1) * 50_000));
  const stream = Readable.from(pieces, { objectMode: false });
  return { directory, stream, input: receiveTar(stream, new Workspace(directory), name, never) };
}; // prettier-ignore

test.each<[string, (tar: Buffer) => Buffer]>([
  ['as it is', (tar) => tar],
  ['compressed', (tar) => gzipSync(tar)],
])('a large context, %s, lies in one file until its files are asked for', async (_, packed) => {
  const tar = await tarOf([...entries, { name: 'Dockerfile.dockerignore', content: 'a/big\n' }]);
  const { directory, input } = receive(packed(tar));
  const { dockerfile, context } = await input;
  expect(dockerfile).toBe('FROM scratch');
  const { archive, root, ignore } = await context!(never);
  expect(ignore).toEqual(['a/big']);
  expect(fs.readdirSync(directory)).toEqual(['context.tar']);
  expect(fs.readFileSync(archive as string).equals(tar)).toBe(true);
  unpack(archive!, root);
  expect(fs.readFileSync(join(root, 'a/big'), 'utf8')).toBe(big);
});

test('a Dockerfile behind a link is found where the link leads', async () => {
  const more: Entry[] = [{ name: 'ci', type: 'symlink', linkname: 'tools' }, { name: 'tools/Dockerfile', content: 'FROM ci' }]; // prettier-ignore
  for (const large of [[], [{ name: 'large', content: big }]]) {
    const { dockerfile } = await receive(await tarOf([...more, ...large]), 'ci/Dockerfile').input;
    expect(dockerfile).toBe('FROM ci');
  }
});

test('a broken large archive is refused, whatever its Dockerfile is', async () => {
  const tar = await tarOf(entries);
  const noHeader = Buffer.alloc(512, 'x');
  for (const packed of [(bytes: Buffer) => bytes, gzipSync]) {
    const { input, stream } = receive(
      packed(Buffer.concat([tar.subarray(0, 303_104), noHeader, randomBytes(500_000)])),
    );
    await expect(input).rejects.toThrow('invalid tar header');
    // It is a request, and its connection has still to carry the answer.
    expect(stream.destroyed).toBe(false);
  }
  await expect(receive(tar.subarray(0, 200_000)).input).rejects.toThrow(/unexpected end|invalid/);
  await expect(receive(tar.subarray(0, 302_000)).input).rejects.toThrow(/unexpected end|invalid/);
});

test('names that are no UTF-8 are the same packed and unpacked', () => {
  const from = fs.mkdtempSync(join(place, 'names-'));
  fs.writeFileSync(Buffer.concat([Buffer.from(`${from}/caf`), Buffer.from([0xe9])]), 'latin');
  fs.symlinkSync(Buffer.from([0xe9]), join(from, 'link'));
  const tar = execFileSync('tar', ['-c', '-C', from, '.']);
  const tree = { root: `${from}.unpacked`, ignore: [] };
  unpack(tar, tree.root);
  const look = (listing?: Parameters<typeof digestSelection>[3]) =>
    digestSelection(tree, { sources: ['.'], excludes: [], parents: false }, false, listing);
  expect(inArchive(tar, look)).toEqual(look());
});

test('a rebuild that finds its copies in the cache unpacks nothing', async () => {
  const engine = await testEngine();
  try {
    const tar = await tarOf([{ name: 'Dockerfile', content: 'FROM busybox\nCOPY a /a\nCOPY d /d' }, ...entries.slice(1)]);
    const build = async () => {
      let place = '';
      let seen: string[] = [];
      const { result } = await engine.build('', [], {
        receive: (workspace, signal) => {
          ({ place } = workspace);
          return receiveTar(Readable.from([tar]), workspace, '', signal);
        },
        onEvent: ({ type }) => type === 'stage-end' && (seen = fs.readdirSync(place)),
      });
      return { id: result!.image.id, seen };
    };
    const first = await build();
    expect(first.seen).toContain('context');
    const again = await build();
    expect(again).toEqual({ ...first, seen: ['context.tar'] });
    await engine.look(again.id, async (root) => expect(fs.readFileSync(join(root, 'd/was-file/in'), 'utf8')).toBe('in'));
  } finally {
    await engine.dispose();
  }
}); // prettier-ignore
