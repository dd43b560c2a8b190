import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { goFileMode } from '../../src/archive/file-mode.ts';
import { Archives } from '../../src/archive/service.ts';
import type { ContainerRecord } from '../../src/container/record.ts';
import { notFound } from '../../src/errors.ts';
import { lgetxattr, lsetxattr, mkfifo } from '../../src/host/ffi.ts';
import { encodeHeader, END_OF_ARCHIVE, padding, type TarHeader, tarHeader } from '../../src/tar/header.ts';
import { readTar } from '../../src/tar/read.ts';
import { planMounts } from '../../src/volume/mounts.ts';

let base: string;
let root: string;
let outside: string;
let archives: Archives;
let record: {
  id: string;
  phase: string;
  config: object;
  hostConfig: { ReadonlyRootfs?: boolean };
  mounts: object[];
  directory: string;
};
let mounted: number;
let events: string[];

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'archive-paths-'));
  root = join(base, 'root');
  outside = join(base, 'outside');
  for (const path of ['root/etc', 'root/data/sub', 'outside', 'vol']) mkdirSync(join(base, path), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'sentinel');
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/root:\nweb:x:33:44::/:\n');
  mounted = 0;
  events = [];
  record = {
    id: 'c1',
    phase: 'exited',
    config: { User: 'web' },
    hostConfig: {},
    mounts: [],
    directory: join(base, 'none'),
  };
  archives = new Archives({
    log: pino({ level: 'silent' }),
    containers: {
      resolve: (name) => {
        if (name !== 'box') throw notFound(`No such container: ${name}`);
        return record as unknown as ContainerRecord;
      },
      publish: (_, action) => void events.push(action),
    },
    rootfs: {
      async withMounted(_, work) {
        mounted++;
        try {
          return await work(root, false);
        } finally {
          mounted--;
        }
      },
      changes: async () => [],
    },
    volumes: {
      find: (name) => ({
        Name: name,
        Driver: 'local',
        Mountpoint: join(base, 'vol'),
        CreatedAt: '',
        Labels: {},
        Scope: 'local',
        Options: null,
      }),
      mount: async () => join(base, 'vol'),
      unmount: async () => {},
    },
  });
});
afterEach(() => {
  expect(readdirSync(outside)).toEqual(['secret']);
  expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('sentinel');
  expect(mounted).toBe(0);
  rmSync(base, { recursive: true, force: true });
});

interface Entry extends TarHeader {
  text: string;
}

const unpacked = async (source: AsyncIterable<Uint8Array>): Promise<Entry[]> => {
  const entries: Entry[] = [];
  await readTar(source, async (header, content) => {
    let text = '';
    for await (const chunk of content) text += Buffer.from(chunk).toString();
    entries.push({ ...header, text });
  });
  return entries;
};
const read = async (path: string): Promise<Entry[]> => unpacked((await archives.read('box', path)).body);

const tar = (...entries: (Partial<TarHeader> & { name: string; text?: string })[]): Buffer => {
  const parts: Uint8Array[] = [];
  for (const { text = '', ...fields } of entries) {
    parts.push(encodeHeader(tarHeader({ mode: 0o644, ...fields, size: Buffer.byteLength(text) })), Buffer.from(text));
    parts.push(new Uint8Array(padding(Buffer.byteLength(text))));
  }
  return Buffer.concat([...parts, END_OF_ARCHIVE]);
};
const write = async (
  path: string,
  body: Buffer,
  options: { noOverwriteDirNonDir?: boolean; copyUIDGID?: boolean } = {},
) => {
  // As the daemon has it.
  const umask = process.umask(0o027);
  try {
    const all = { noOverwriteDirNonDir: false, copyUIDGID: false, ...options };
    await archives.write('box', path, all, Readable.from([body]));
  } finally {
    process.umask(umask);
  }
};

describe('stat', () => {
  test('speaks Go’s file modes and names what a link leads to', async () => {
    symlinkSync('../data', join(root, 'etc/link'));
    symlinkSync('/nowhere', join(root, 'broken'));
    expect(await archives.stat('box', '/etc/link')).toMatchObject({ name: 'link', linkTarget: '/data' });
    expect((await archives.stat('box', '/etc/link')).mode).toBe(2 ** 27 + 0o777);
    expect(await archives.stat('box', 'broken')).toMatchObject({ linkTarget: '/nowhere' });
    expect(await archives.stat('box', '/etc/link/')).toMatchObject({
      name: 'link',
      linkTarget: '',
      mode: 2 ** 31 + 0o755,
    });
    expect(await archives.stat('box', '/')).toMatchObject({ name: '/' });
    expect((await archives.stat('box', '/etc/passwd')).mtime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    expect([0o104755, 0o041777, 0o020600].map(goFileMode)).toEqual([
      0o755 + 2 ** 23,
      2 ** 31 + 2 ** 20 + 0o777,
      2 ** 26 + 2 ** 21 + 0o600,
    ]);
  });

  test('says what is missing', async () => {
    await expect(archives.stat('box', '/no/such')).rejects.toThrow('Could not find the file /no/such in container box');
    await expect(archives.stat('other', '/')).rejects.toThrow('No such container: other');
  });
});

describe('reading', () => {
  test('a tree keeps owners, modes, links, pipes and capabilities', async () => {
    const file = join(root, 'data/sub/file');
    writeFileSync(file, 'hello');
    chownSync(file, 33, 44);
    chmodSync(file, 0o4750);
    lsetxattr(file, 'security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex'));
    linkSync(file, join(root, 'data/sub/twin'));
    symlinkSync('/etc/passwd', join(root, 'data/link'));
    mkfifo(join(root, 'data/pipe'));
    const entries = await read('/data');
    expect(entries.map(({ name, type }) => `${name} ${type}`)).toEqual([
      'data/ directory',
      'data/link symlink',
      'data/pipe fifo',
      'data/sub/ directory',
      'data/sub/file file',
      'data/sub/twin link',
    ]);
    const [, link, , , plain, twin] = entries;
    expect(plain).toMatchObject({ text: 'hello', uid: 33, gid: 44, mode: 0o4750 });
    expect(plain!.xattrs.get('security.capability')?.length).toBe(20);
    expect([link!.linkname, twin!.linkname]).toEqual(['/etc/passwd', 'data/sub/file']);
    expect(events).toEqual(['archive-path']);
  });

  test('a file stands alone, a trailing dot means the content', async () => {
    expect((await read('/etc/passwd')).map(({ name }) => name)).toEqual(['passwd']);
    expect((await read('/data/.')).map(({ name }) => name)).toEqual(['./', './sub/']);
  });

  test('no link leads outside: absolute ones and `..` end at the container’s root', async () => {
    symlinkSync(outside, join(root, 'data/absolute'));
    symlinkSync('../../../../../../../etc', join(root, 'data/up'));
    await expect(read('/data/absolute/secret')).rejects.toThrow('Could not find the file');
    expect((await read('/data/up/passwd'))[0]!.text).toContain('web');
    expect((await read('/../../etc/passwd'))[0]!.text).toContain('web');
  });

  test('swapping a directory for a link while it is read shows nothing from outside (CVE-2018-15664)', async () => {
    mkdirSync(join(root, 'data/swap'));
    writeFileSync(join(root, 'data/swap/secret'), 'inside');
    symlinkSync(outside, join(root, 'data/evil'));
    const seen = new Set<string>();
    for (let round = 0; round < 60; round++) {
      const reading = read('/data/swap/secret').then(
        (entries) => entries.forEach(({ text }) => seen.add(text)),
        () => {},
      );
      renameSync(join(root, 'data/swap'), join(root, 'data/held'));
      renameSync(join(root, 'data/evil'), join(root, 'data/swap'));
      await reading;
      renameSync(join(root, 'data/swap'), join(root, 'data/evil'));
      renameSync(join(root, 'data/held'), join(root, 'data/swap'));
    }
    expect([...seen].filter((text) => text !== 'inside')).toEqual([]);
  });

  test('a reader that leaves in the middle lets go of the mount', async () => {
    writeFileSync(join(root, 'data/big'), Buffer.alloc(1 << 20));
    const { body } = await archives.read('box', '/data');
    for await (const _ of body) break;
    expect(mounted).toBe(0);
  });

  test('volumes and binds are seen at their places, also when the container does not run', async () => {
    writeFileSync(join(base, 'vol/inside'), 'volume');
    record.mounts = planMounts({ binds: ['v:/srv/deep/vol'] });
    symlinkSync('/srv/deep/vol', join(root, 'data/to-volume'));
    symlinkSync('to-volume/../vol/./inside', join(root, 'data/around'));

    expect((await read('/srv/deep/vol/inside'))[0]!.text).toBe('volume');
    expect((await read('/data/to-volume/inside'))[0]!.text).toBe('volume');
    expect((await archives.stat('box', '/data/around')).linkTarget).toBe('/srv/deep/vol/inside');
    const exported = await unpacked(await archives.export('box'));
    expect(exported.map(({ name }) => name)).not.toContain('srv/deep/vol/inside');
    expect(exported.map(({ name }) => name)).toContain('etc/passwd');
  });
});

describe('writing', () => {
  test('entries come with their owners, modes and times; compressed archives are unpacked', async () => {
    const body = tar(
      { name: 'dir/', type: 'directory', mode: 0o750, uid: 7, mtimeNs: 1_500_000_000_000_000_000n },
      {
        name: 'dir/file',
        text: 'hi',
        uid: 5,
        gid: 6,
        mode: 0o640,
        mtimeNs: 1_400_000_000_123_456_789n,
        xattrs: new Map([['user.note', Buffer.from([0, 255])]]),
      },
      { name: 'dir/hard', type: 'link', linkname: 'dir/file' },
      { name: 'dir/soft', type: 'symlink', linkname: '../../../anywhere' },
      { name: 'deep/er/file', text: 'made on the way' },
      { name: 'null', type: 'char', major: 1, minor: 3 },
    );
    await write('/data', gzipSync(body));
    const file = statSync(join(root, 'data/dir/file'), { bigint: true });
    expect([file.uid, file.gid, file.mode & 0o7777n, file.nlink, file.mtimeNs]).toEqual([
      5n,
      6n,
      0o640n,
      2n,
      1_400_000_000_123_456_789n,
    ]);
    expect(lgetxattr(join(root, 'data/dir/file'), 'user.note')).toEqual(Buffer.from([0, 255]));
    expect(lstatSync(join(root, 'data/dir')).mtimeMs).toBe(1_500_000_000_000);
    expect(readlinkSync(join(root, 'data/dir/soft'))).toBe('../../../anywhere');
    expect(readFileSync(join(root, 'data/deep/er/file'), 'utf8')).toBe('made on the way');
    expect(statSync(join(root, 'data/deep')).mode & 0o777).toBe(0o755);
    expect(lstatSync(join(root, 'data/null')).rdev).toBe(0x103);
    expect(events).toEqual(['extract-to-dir']);
  });

  test('the destination must be a writable directory', async () => {
    const body = tar({ name: 'x' });
    await expect(write('/etc/passwd', body)).rejects.toThrow('extraction point is not a directory');
    await expect(write('/missing', body)).rejects.toThrow('Could not find the file /missing in container box');
    record.hostConfig.ReadonlyRootfs = true;
    await expect(write('/data', body)).rejects.toThrow('container rootfs is marked read-only');
    record.mounts = planMounts({ binds: ['v:/vol:ro', `${join(base, 'vol')}:/rw`] });
    await expect(write('/vol', body)).rejects.toThrow('mounted volume is marked read-only');
    await write('/rw', body);
    expect(existsSync(join(base, 'vol/x'))).toBe(true);
  });

  test('a file replaces a directory only when that is allowed', async () => {
    await expect(write('/data', tar({ name: 'sub', text: 'f' }), { noOverwriteDirNonDir: true })).rejects.toThrow(
      'cannot overwrite directory "/data/sub" with non-directory "/data"',
    );
    await write('/data', tar({ name: 'sub', text: 'f' }));
    expect(readFileSync(join(root, 'data/sub'), 'utf8')).toBe('f');
    await expect(
      write('/data', tar({ name: 'sub', type: 'directory' }), { noOverwriteDirNonDir: true }),
    ).rejects.toThrow('cannot overwrite non-directory "/data/sub" with directory "/data"');
  });

  test('copyUIDGID gives everything to the container’s user', async () => {
    await write('/data', tar({ name: 'mine/file', text: '', uid: 9 }), { copyUIDGID: true });
    expect([statSync(join(root, 'data/mine/file')).uid, statSync(join(root, 'data/mine')).gid]).toEqual([33, 44]);
  });

  test.each<[string, Parameters<typeof tar>]>([
    ['names that climb', [{ name: '../../outside/new', text: 'x' }]],
    ['hard links that climb', [{ name: 'x', type: 'link', linkname: '../../outside/secret' }]],
  ])('%s are refused', async (_, entries) => {
    await expect(write('/data', tar(...entries))).rejects.toThrow('is outside of "/data"');
  });

  test('links in an archive, and through links already there, stay inside', async () => {
    symlinkSync(outside, join(root, 'data/out'));
    await write(
      '/data',
      tar(
        { name: 'out/new', text: 'x' },
        { name: 'esc', type: 'symlink', linkname: outside },
        { name: 'esc/deep', text: 'y' },
      ),
    ).catch(() => {});
    await write(
      '/data',
      tar(
        { name: 'secret', type: 'symlink', linkname: join(outside, 'secret') },
        { name: 'secret', text: 'replaced', mode: 0o777 },
      ),
    );
    expect(readFileSync(join(root, 'data/secret'), 'utf8')).toBe('replaced');
    expect(statSync(join(outside, 'secret')).mode & 0o777).toBe(0o644);
  });

  test('a broken archive and a broken upload are errors, and nothing stays mounted', async () => {
    await expect(write('/data', Buffer.from('x'.repeat(2000)))).rejects.toThrow('archive/tar');
    const cut = new Readable({ read() {} });
    cut.push(tar({ name: 'f', text: 'y'.repeat(5000) }).subarray(0, 1024));
    const writing = archives.write('box', '/data', { noOverwriteDirNonDir: false, copyUIDGID: false }, cut);
    setImmediate(() => cut.destroy());
    await expect(writing).rejects.toThrow('broke off');
  });
});

test('GNU tar reads what is packed, names of any bytes included', async () => {
  writeFileSync(Buffer.concat([Buffer.from(join(root, 'data/odd-')), Buffer.from([0xff, 0xfe])]), 'bytes');
  writeFileSync(join(root, `data/${'long'.repeat(60)}`), 'long');
  const chunks: Uint8Array[] = [];
  for await (const chunk of (await archives.read('box', '/data')).body) chunks.push(chunk);
  const listed = spawnSync('tar', ['tf', '-', '--quoting-style=escape'], {
    input: Buffer.concat(chunks),
    encoding: 'utf8',
  });
  expect(listed.status).toBe(0);
  expect(listed.stdout.split('\n')).toEqual(
    expect.arrayContaining(['data/odd-\\377\\376', `data/${'long'.repeat(60)}`]),
  );
});
