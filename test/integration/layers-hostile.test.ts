import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DaemonError } from '../../src/errors.ts';
import { mount, readXattrs, umount } from '../../src/host/ffi.ts';
import { LayerExtractor } from '../../src/tar/extract.ts';
import { encodeHeader, END_OF_ARCHIVE, padding, type TarHeader, tarHeader } from '../../src/tar/header.ts';
import { TarParser } from '../../src/tar/parser.ts';
import { testImageStore } from '../support/image-store.ts';

type Entry = Partial<TarHeader> & { name: string; content?: string };

/** Without any of the checks a tool would make. */
function archive(entries: readonly Entry[]): Buffer {
  const parts = entries.flatMap(({ content = '', ...header }) => {
    const bytes = Buffer.from(header.type && header.type !== 'file' ? '' : content);
    return [encodeHeader(tarHeader({ ...header, size: bytes.length })), bytes, Buffer.alloc(padding(bytes.length))];
  });
  return Buffer.concat([...parts, END_OF_ARCHIVE]);
}

let base: string;
let outside: string;
let store: Awaited<ReturnType<typeof testImageStore>>;

beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), 'hostile-'));
  outside = join(base, 'outside');
  mkdirSync(join(outside, 'dir'), { recursive: true });
  writeFileSync(join(outside, 'file'), 'sentinel');
  writeFileSync(join(outside, 'dir/secret'), 'sentinel');
  store = await testImageStore();
});
afterEach(async () => {
  await store.dispose();
  rmSync(base, { recursive: true, force: true });
});

/** Everything that a write, a link, a chmod or a chown would change. */
const sentinel = (): string =>
  execFileSync('find', [outside, '-printf', '%p %y %m %U:%G %s %n %T@ %C@\n'], { encoding: 'utf8' });

function extract(root: string, tar: Buffer): 'taken' | 'refused' {
  mkdirSync(root);
  const extractor = new LayerExtractor(root);
  const parser = new TarParser(extractor, { encoding: 'latin1' });
  try {
    parser.write(tar);
    parser.end();
    extractor.finish();
    return 'taken';
  } catch (error) {
    // Our refusal or the kernel's, never a programming error.
    const known = error instanceof DaemonError || /^E[A-Z0-9]+$/.test((error as NodeJS.ErrnoException).code ?? '');
    if (!known) throw error;
    return 'refused';
  } finally {
    extractor.close();
  }
}

/** A small generator with a seed, so that a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('a hostile archive', () => {
  it('changes nothing outside of its root, in a thousand random combinations (CVE-2025-47290, CVE-2026-17106)', () => {
    const pick = random(20_261_130);
    const of = <T>(choices: readonly T[]): T => choices[pick(choices.length)]!;
    const names = [
      'a',
      'a/b',
      'a/b/c',
      'l',
      'l/file',
      'l/dir/secret',
      '../outside/file',
      'a/../../outside/file',
      './l/',
      '/etc/x',
    ]
      .concat([
        `${outside}/file`,
        'l/../outside/file',
        '.wh.a',
        'a/.wh.b',
        '.wh..wh..opq',
        'l/.wh..wh..opq',
        '.wh...',
        '.wh.',
        '.',
        '..',
      ])
      .concat(['l/.wh.file', '', '/', 'a/.wh..', 'x/.wh..wh.plnk']);
    const targets = [
      '../outside',
      outside,
      `${outside}/file`,
      '../outside/file',
      'a',
      'l',
      'l/file',
      '..',
      '.',
      '/',
      'a/b',
      '../../..',
    ];
    const types = ['file', 'directory', 'symlink', 'link', 'symlink', 'file', 'char', 'fifo'] as const;
    const before = sentinel();
    let taken = 0;
    for (let round = 0; round < 1000; round++) {
      const entries = Array.from({ length: 2 + pick(5) }, (): Entry => {
        const type = of(types);
        const linked = type === 'symlink' || type === 'link';
        return {
          name: of(names),
          type,
          linkname: linked ? of(targets) : '',
          mode: of([0o777, 0o4755, 0]),
          uid: of([0, 1000]),
          mtimeNs: 1n,
          content: 'overwritten',
          xattrs: new Map(type === 'symlink' ? [] : [['user.x', Buffer.from('y')]]),
        };
      });
      const root = join(base, `root-${round}`);
      if (extract(root, archive(entries)) === 'taken') taken++;
      rmSync(root, { recursive: true, force: true });
    }
    expect(sentinel()).toBe(before);
    // Both happen often, or the test tests nothing.
    expect(taken).toBeGreaterThan(50);
    expect(taken).toBeLessThan(950);
  });

  it.each<[string, Entry[]]>([
    ['goes up', [{ name: '../outside/file', content: 'x' }]],
    [
      'writes through its own symlink',
      [
        { name: 'l', type: 'symlink', linkname: '../outside' },
        { name: 'l/file', content: 'x' },
      ],
    ],
    ['links to a file outside', [{ name: 'h', type: 'link', linkname: '../outside/file' }]],
    [
      'links through its own symlink',
      [
        { name: 'l', type: 'symlink', linkname: '/etc' },
        { name: 'h', type: 'link', linkname: 'l/passwd' },
      ],
    ],
    ['deletes through a whiteout', [{ name: 'a/.wh...' }]],
    ['has a name with a NUL', [{ name: `a\0${'x'.repeat(120)}`, content: 'x' }]],
    ['has an owner out of range', [{ name: 'a', uid: 2 ** 32 }]],
  ])('is refused when it %s, and leaves nothing', async (_, entries) => {
    const before = sentinel();
    await expect(store.unpack(archive(entries))).rejects.toMatchObject({ kind: 'invalid', code: 'bad-archive' });
    expect(readdirSync(join(store.root, 'overlay2')).sort()).toEqual(['base', 'l', 'new']);
    expect(readdirSync(join(store.root, 'overlay2/new'))).toEqual([]);
    expect(readdirSync(join(store.root, 'overlay2/l'))).toEqual(['BASE']);
    expect(sentinel()).toBe(before);
  });

  it('with absolute names, names given twice and names that differ by case stays inside and says the last word', async () => {
    const before = sentinel();
    const path = await store.unpack(
      archive([
        { name: '/etc/passwd', content: 'inside' },
        { name: `${outside}/file`, content: 'inside' },
        { name: 'twice', content: 'first, and longer' },
        { name: 'twice', content: 'last' },
        { name: 'kind', type: 'directory' },
        { name: 'kind/below', content: 'x' },
        { name: 'kind', type: 'symlink', linkname: outside },
        { name: 'link', type: 'symlink', linkname: `${outside}/file` },
        { name: 'link', content: 'a file now' },
        { name: 'Case', type: 'symlink', linkname: outside },
        { name: 'case', type: 'directory' },
        { name: 'case/file', content: 'inside' },
        { name: './dots/.././dots//x', content: 'inside' },
      ]),
    );
    const text = (name: string): string => readFileSync(join(path, name), 'utf8');
    expect(['etc/passwd', `.${outside}/file`, 'twice', 'link', 'case/file', 'dots/x'].map(text)).toEqual([
      'inside',
      'inside',
      'last',
      'a file now',
      'inside',
      'inside',
    ]);
    expect(readlinkSync(join(path, 'kind'))).toBe(outside);
    expect(sentinel()).toBe(before);
  });

  it.each([
    ['a record without a length', 'path=evil\n'],
    ['a length that is too long', '999 path=evil\n'],
    ['a length of nothing', '0 path=evil\n'],
    ['no sign of equality', '10 garbage\n'],
    ['a size that is no number', '14 size=many!!\n'],
    ['a size below zero', '11 size=-1\n'],
    ['an owner out of range', '18 uid=99999999999\n'],
    ['a NUL in its path', '14 path=a\0/../b\n'],
    ['a path out of the root', '22 path=../outside/x\n'],
    ['a sparse map that lies', '23 GNU.sparse.size=100\n28 GNU.sparse.map=0,9,500,1\n'],
  ])('whose PAX header has %s is refused', async (_, records) => {
    const before = sentinel();
    const header = encodeHeader(tarHeader({ name: 'PaxHeader', size: Buffer.byteLength(records) }));
    header.write('x', 156);
    header.fill(0x20, 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    const pax = Buffer.concat([header, Buffer.from(records), Buffer.alloc(padding(Buffer.byteLength(records)))]);
    const tar = Buffer.concat([pax, archive([{ name: 'victim', content: 'x'.repeat(10) }])]);
    await expect(store.unpack(tar)).rejects.toMatchObject({ kind: 'invalid', code: 'bad-archive' });
    expect(readdirSync(join(store.root, 'overlay2')).sort()).toEqual(['base', 'l', 'new']);
    expect(readdirSync(join(store.root, 'overlay2/new'))).toEqual([]);
    expect(sentinel()).toBe(before);
  });

  it('is refused when its headers lie about lengths', async () => {
    const whole = archive([{ name: 'a', content: 'x'.repeat(2000) }]);
    const bomb = encodeHeader(tarHeader({ name: 'PaxHeader', size: 0 }));
    bomb.write('x', 156);
    bomb.write('77777777777\0', 124);
    bomb.fill(0x20, 148, 156);
    bomb.write(
      `${bomb
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
    );
    for (const tar of [
      whole.subarray(0, 1500),
      bomb,
      Buffer.concat([bomb, Buffer.alloc(4096)]),
      Buffer.alloc(512, 0x41),
    ]) {
      await expect(store.unpack(tar, gzipSync(tar))).rejects.toMatchObject({ kind: 'invalid', code: 'bad-archive' });
    }
  });

  it('that would fill the disk fails, leaves nothing, and what fits goes on working', async () => {
    const disk = join(base, 'disk');
    mkdirSync(disk);
    mount('tmpfs', disk, 'tmpfs', 0, 'size=48m');
    const small = await testImageStore(disk);
    try {
      const bomb = archive([{ name: 'zeros', content: '\0'.repeat(64 << 20) }]);
      await expect(small.unpack(bomb, gzipSync(bomb))).rejects.toMatchObject({ code: 'disk-full' });
      expect(readdirSync(join(disk, 'overlay2')).sort()).toEqual(['base', 'l', 'new']);
      expect(readdirSync(join(disk, 'overlay2/new'))).toEqual([]);
      expect(readdirSync(await small.unpack(archive([{ name: 'fits', content: 'x' }])))).toEqual(['fits']);
    } finally {
      await small.dispose();
      umount(disk);
    }
  });

  it('cannot set what overlayfs itself obeys', async () => {
    const xattrs = new Map([['trusted.overlay.redirect', Buffer.from('/../..')]]);
    const path = await store.unpack(archive([{ name: 'd/', type: 'directory', xattrs }]));
    expect(readXattrs(join(path, 'd'))).toEqual(new Map());
  });
});
