/** Tar archives, unpacked beside a tree that nobody may touch: as layers, and into a container's files. */
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { TreeReader } from '../../src/archive/unpack.ts';
import { ContainerView } from '../../src/archive/view.ts';
import { DaemonError } from '../../src/errors.ts';
import { isErrno } from '../../src/host/ffi.ts';
import { LayerExtractor } from '../../src/tar/extract.ts';
import { encodeHeader, END_OF_ARCHIVE, padding, type TarType, tarHeader } from '../../src/tar/header.ts';
import { TarParser } from '../../src/tar/parser.ts';
import { mutated, pieces, cuts, type Target } from './target.ts';

const types: TarType[] = ['file', 'directory', 'symlink', 'link', 'fifo', 'char'];

interface Entry {
  name: string;
  type: TarType;
  linkname: string;
  mode: number;
  content: string;
}

const encoded = (entries: readonly Entry[]): Buffer =>
  Buffer.concat([
    ...entries.flatMap(({ content, ...fields }) => {
      const bytes = Buffer.from(fields.type === 'file' ? content : '');
      const header = encodeHeader(
        tarHeader({ ...fields, size: bytes.length, xattrs: new Map([['user.x', Buffer.from('y')]]) }),
      );
      return [header, bytes, Buffer.alloc(padding(bytes.length))];
    }),
    END_OF_ARCHIVE,
  ]);

/** Mutations would all die at the checksum; so it is made right again in every block that may be a header. */
function withChecksums(bytes: Buffer): Buffer {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const block = bytes.subarray(at, at + 512);
    if (block.toString('latin1', 257, 262) !== 'ustar') continue;
    block.write('        ', 148, 'latin1');
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  }
  return bytes;
}

/** All that matters of a tree, as one text. */
function told(path: string): string {
  const stat = lstatSync(path);
  const content = stat.isSymbolicLink() ? readlinkSync(path) : stat.isFile() ? readFileSync(path, 'latin1') : '';
  const below = stat.isDirectory()
    ? readdirSync(path)
        .sort()
        .map((name) => `${name}(${told(join(path, name))})`)
    : [];
  return [stat.mode, stat.uid, stat.gid, stat.mtimeMs, stat.nlink, content, ...below].join(' ');
}

/** Refusals, and what the kernel says to nonsense. */
const harmless = (error: unknown): boolean =>
  error instanceof DaemonError
    ? error.kind === 'invalid' || error.kind === 'internal'
    : isErrno(
        error,
        'ENAMETOOLONG',
        'ENOENT',
        'ENOTDIR',
        'EISDIR',
        'EINVAL',
        'ELOOP',
        'EEXIST',
        'EPERM',
        'ENOTEMPTY',
        'EMLINK',
        'ENXIO',
        'E2BIG',
        'ENOSPC',
        'ERANGE',
        'EXDEV',
      );

export function archiveTargets(): Target[] {
  const base = mkdtempSync(join(tmpdir(), 'fuzz-archive-'));
  const outside = join(base, 'outside');
  mkdirSync(join(outside, 'directory'), { recursive: true });
  writeFileSync(join(outside, 'file'), 'sentinel', { mode: 0o640 });
  const before = told(outside);
  const names = [
    'a',
    'a/b',
    'a/b/c',
    'l',
    'l/file',
    'l/directory/x',
    '../outside/file',
    './l/',
    '/etc/x',
    `${outside}/file`,
    'l/../outside/x',
    '.wh.a',
    'a/.wh.b',
    '.wh..wh..opq',
    '.',
    '..',
    '',
    'x'.repeat(150),
    'é\ud800',
  ];
  const links = [
    '../outside',
    outside,
    `${outside}/file`,
    '../outside/file',
    'a',
    'l',
    '..',
    '.',
    '/',
    'a/b',
    '../../..',
    '/proc/self/root',
    'l/file',
  ];
  const entry = fc.record({
    name: fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(...names) },
      { weight: 1, arbitrary: fc.string({ maxLength: 20 }) },
    ),
    type: fc.constantFrom(...types),
    linkname: fc.constantFrom(...links),
    mode: fc.constantFrom(0, 0o644, 0o777, 0o6755),
    content: fc.constantFrom('', 'x', 'overwritten'.repeat(60)),
  });
  const archive = fc.oneof(
    fc.array(entry, { maxLength: 7 }).map(encoded),
    fc
      .array(entry, { minLength: 1, maxLength: 5 })
      .chain((entries) => mutated(encoded(entries)))
      .map((bytes) => withChecksums(Buffer.from(bytes))),
  );
  let round = 0;
  const inFreshRoot = (work: (root: string) => unknown) => async (): Promise<void> => {
    const root = join(base, `root-${round++}`);
    mkdirSync(root);
    try {
      await work(root);
    } catch (error) {
      if (!harmless(error)) throw error;
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
    if (told(outside) !== before) throw new Error('something outside of the root changed');
  };
  return [
    {
      name: 'layer',
      input: fc.tuple(archive, cuts),
      run: ([bytes, sizes]: [Buffer, number[]]) =>
        inFreshRoot((root) => {
          const extractor = new LayerExtractor(root);
          const parser = new TarParser(extractor, { encoding: 'latin1' });
          try {
            for (const piece of pieces(bytes, sizes)) parser.write(piece);
            parser.end();
            extractor.finish();
          } finally {
            extractor.close();
          }
        })(),
    },
    {
      name: 'container-files',
      input: fc.tuple(archive, fc.boolean()),
      run: ([bytes, noOverwriteDirNonDir]: [Buffer, boolean]) =>
        inFreshRoot(async (root) => {
          mkdirSync(join(root, 'a'));
          symlinkSync(outside, join(root, 'l'));
          const view = new ContainerView(root);
          try {
            await new TreeReader(view, '/', { noOverwriteDirNonDir, owner: undefined }).read(Readable.from([bytes]));
          } finally {
            view.close();
          }
        })(),
      dispose: () => rmSync(base, { recursive: true, force: true }),
    },
  ];
}
