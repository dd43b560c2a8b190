import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lgetxattr, lsetxattr, makedev, mknod, S_IFBLK, S_IFIFO } from '../../src/host/ffi.ts';
import { digestOf } from '../../src/image/content/content.ts';
import { tarOf } from '../support/fixture-image.ts';
import { testImageStore } from '../support/image-store.ts';

let store: Awaited<ReturnType<typeof testImageStore>>;
let work: string;

beforeAll(async () => {
  store = await testImageStore();
  work = mkdtempSync(join(tmpdir(), 'layers-'));
});
afterAll(async () => {
  await store.dispose();
  rmSync(work, { recursive: true, force: true });
});

const CAPABILITY = Buffer.from('0100000200040000000000000000000000000000', 'hex');

/** A tree with everything a tar can hold. */
function makeTree(): string {
  const tree = mkdtempSync(join(work, 'tree-'));
  const at = (name: string): string => join(tree, name);
  mkdirSync(at('bin'), { recursive: true });
  writeFileSync(at('bin/su'), 'elf');
  execFileSync('chown', ['1000:65534', at('bin/su')]);
  chmodSync(at('bin/su'), 0o4755);
  writeFileSync(at('bin/ping'), 'elf');
  lsetxattr(at('bin/ping'), 'security.capability', CAPABILITY);
  lsetxattr(at('bin/ping'), 'user.note', Buffer.from([0, 0xff, 0x0a]));
  const deep = `${'long-directory-name/'.repeat(12)}`;
  mkdirSync(at(deep), { recursive: true });
  writeFileSync(at(`${deep}${'f'.repeat(200)}`), 'deep');
  execFileSync('ln', ['-s', 'x'.repeat(150), at('long-link')]);
  execFileSync('ln', [at('bin/su'), at('su-again')]);
  writeFileSync(Buffer.concat([Buffer.from(at('odd-')), Buffer.from([0xe9, 0xff])]), 'bytes');
  writeFileSync(at('größe'), 'utf8');
  writeFileSync(at('empty'), '');
  execFileSync('truncate', ['-s', '3M', at('sparse')]);
  execFileSync('sh', ['-c', `printf middle | dd of=${at('sparse')} bs=1 seek=1500000 conv=notrunc status=none`]);
  mknod(at('pipe'), S_IFIFO | 0o640);
  mknod(at('disk'), S_IFBLK | 0o660, makedev(259, 70_000));
  mkdirSync(at('tmp'));
  chmodSync(at('tmp'), 0o1777);
  utimesSync(at('tmp'), 1_600_000_000, 1_600_000_000.5);
  return tree;
}

/** One line a file: everything that must survive. */
function listing(root: string): string[] {
  const output = execFileSync('find', ['.', '-printf', '%P %y %m %U %G %s %T@ %n %l\n'], {
    cwd: root,
    encoding: 'latin1',
  });
  // Sizes of directories depend on the file system's history.
  return output
    .trim()
    .split('\n')
    .map((line) => line.replace(/^(.*\bd \d+ \d+ \d+) \d+/, '$1'))
    .sort();
}

describe('unpacking a layer', () => {
  it.each([
    ['GNU format, gzip', ['--format=gnu'], (tar: Buffer) => gzipSync(tar)],
    [
      'PAX format with xattrs and sparse 1.0, zstd',
      ['--format=pax', '--sparse'],
      (tar: Buffer) => zstdCompressSync(tar),
    ],
    ['PAX format with sparse 0.1', ['--format=pax', '--sparse', '--sparse-version=0.1'], (tar: Buffer) => tar],
    ['GNU format, old sparse', ['--format=gnu', '--sparse'], (tar: Buffer) => tar],
  ])('keeps owners, modes, times, links, devices and holes (%s)', async (_, options, compress) => {
    const tree = makeTree();
    const pax = options.includes('--format=pax');
    const xattrs = pax ? ['--xattrs', '--xattrs-include=*'] : [];
    const tar = execFileSync('tar', [...options, ...xattrs, '-cf', '-', '-C', tree, '.'], { maxBuffer: 64 << 20 });
    const path = await store.unpack(tar, compress(tar));
    const expected = listing(tree);
    // GNU headers hold whole seconds.
    const whole = (lines: string[]): string[] =>
      pax ? lines : lines.map((line) => line.replace(/ (\d{9,})\.\d+ /, ' $1 '));
    expect(whole(listing(path))).toEqual(whole(expected));
    expect(lstatSync(join(path, 'disk')).rdev).toBe(lstatSync(join(tree, 'disk')).rdev);
    expect(statSync(join(path, 'su-again')).ino).toBe(statSync(join(path, 'bin/su')).ino);
    expect(readFileSync(join(path, 'sparse')).equals(readFileSync(join(tree, 'sparse')))).toBe(true);
    if (options.includes('--sparse')) expect(statSync(join(path, 'sparse')).blocks).toBeLessThan(1000);
    if (pax) {
      expect(lgetxattr(join(path, 'bin/ping'), 'security.capability')).toEqual(CAPABILITY);
      expect(lgetxattr(join(path, 'bin/ping'), 'user.note')).toEqual(Buffer.from([0, 0xff, 0x0a]));
    }
  });

  it('turns whiteouts into overlayfs devices and opaque directories', async () => {
    const good = await store.unpack(
      await tarOf([
        { name: 'a/.wh.gone' },
        { name: 'opaque/', type: 'directory' },
        { name: 'opaque/.wh..wh..opq' },
        { name: 'opaque/new', content: 'x' },
        { name: '.wh.replaced' },
        { name: 'replaced/inside', content: 'y' },
        { name: '.wh..wh.plnk/12', content: 'of aufs' },
        { name: 'kept', content: 'z' },
        { name: '.wh.kept' },
      ]),
    );
    const gone = lstatSync(join(good, 'a/gone'));
    expect([gone.isCharacterDevice(), gone.rdev]).toEqual([true, 0]);
    expect(lgetxattr(join(good, 'opaque'), 'trusted.overlay.opaque')?.toString()).toBe('y');
    expect(lgetxattr(join(good, 'replaced'), 'trusted.overlay.opaque')?.toString()).toBe('y');
    expect(readFileSync(join(good, 'kept'), 'utf8')).toBe('z');
    expect(readdirSync(join(good, 'opaque'))).toEqual(['new']);
  });

  it('leaves nothing when the diff id is wrong, the blob is cut, or the work is cancelled, and works after', async () => {
    const tar = await tarOf([{ name: 'file', content: Buffer.alloc(4 << 20, 7) }]);
    const before = readdirSync(join(store.root, 'overlay2')).length;
    const blob = gzipSync(tar);
    const digest = await store.content.write(blob);
    const layer = { blob: { mediaType: '', digest, size: blob.length }, diffId: digestOf(tar) };
    const wrong = `sha256:${'0'.repeat(64)}`;
    await expect(store.layers.unpack({ ...layer, diffId: wrong })).rejects.toMatchObject({ code: 'wrong-diff-id' });
    const cut = await store.content.write(blob.subarray(0, 2000));
    await expect(
      store.layers.unpack({ blob: { mediaType: '', digest: cut, size: 2000 }, diffId: wrong }),
    ).rejects.toMatchObject({ kind: 'invalid', code: 'bad-archive' });
    const controller = new AbortController();
    const cancelled = store.layers.unpack({ ...layer, signal: controller.signal });
    const joined = store.layers.unpack(layer);
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ kind: 'cancelled' });
    await joined;
    expect(store.layers.has(layer.diffId)).toBe(true);
    expect(readdirSync(join(store.root, 'overlay2')).length).toBe(before + 1);
  });
});
