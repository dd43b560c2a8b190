import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TreeReader } from '../../src/archive/unpack.ts';
import { packTree } from '../../src/archive/pack.ts';
import { ContainerView } from '../../src/archive/view.ts';
import { databasesIn, resolveUser } from '../../src/runtime/oci/user.ts';
import { mkfifo } from '../../src/host/ffi.ts';
import { encodeHeader, END_OF_ARCHIVE, padding, type TarHeader, tarHeader } from '../../src/tar/header.ts';

let base: string;
let outside: string;

beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'archive-hostile-'));
  outside = join(base, 'outside');
  mkdirSync(join(outside, 'dir'), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'sentinel', { mode: 0o600 });
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

const snapshot = (): unknown => {
  const { mode, uid, mtimeMs } = statSync(join(outside, 'secret'));
  return [
    readdirSync(outside),
    readdirSync(join(outside, 'dir')),
    readFileSync(join(outside, 'secret'), 'utf8'),
    mode,
    uid,
    mtimeMs,
  ];
};

const part = fc.constantFrom('a', 'b', 'link', '..', '.', 'secret', 'dir');
const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const place = fc.oneof(
  path,
  path.map((text) => `/${text}`),
);

/** Entries that climb, replace each other, and go through links of the archive's own making. */
const entry = fc.record({
  name: place,
  type: fc.constantFrom('file', 'directory', 'symlink', 'link', 'fifo', 'char') as fc.Arbitrary<TarHeader['type']>,
  linkname: fc.oneof(place, fc.constantFrom('..', '../../outside', '../../../../../../../..')),
  mode: fc.constantFrom(0o777, 0o4755, 0),
  uid: fc.constantFrom(0, 99),
  text: fc.constantFrom('', 'evil'),
});

test('whatever an archive says, nothing outside of the container changes', async () => {
  const before = snapshot();
  let round = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 8 }), async (entries) => {
      const root = join(base, `root-${round++}`);
      mkdirSync(join(root, 'data'), { recursive: true });
      // Links that lead outside for anybody who looks them up from the host's root.
      symlinkSync(outside, join(root, 'data/link'));
      symlinkSync('../../outside', join(root, 'b'));
      const parts = entries.flatMap(({ text, ...fields }) => {
        const body = Buffer.from(fields.type === 'file' ? text : '');
        const linkname = fields.linkname.startsWith('..') ? fields.linkname : `${outside}/${fields.linkname}`;
        return [
          encodeHeader(tarHeader({ ...fields, linkname, size: body.length })),
          body,
          new Uint8Array(padding(body.length)),
        ];
      });
      const view = new ContainerView(root);
      try {
        const reader = new TreeReader(view, '/data', { noOverwriteDirNonDir: false, owner: undefined });
        await reader.read(Readable.from([Buffer.concat([...parts, END_OF_ARCHIVE])])).catch(() => {});
        const found = view.find('/', true);
        for await (const _ of packTree(view, found, ''));
      } finally {
        view.close();
        rmSync(root, { recursive: true, force: true });
      }
      expect(snapshot()).toEqual(before);
    }),
    { numRuns: 400, seed: 20261130 },
  );
});

test('user databases of an image are read inside its root only, and never without end', () => {
  const root = join(base, 'image');
  mkdirSync(join(root, 'etc'), { recursive: true });
  const passwd = join(root, 'etc/passwd');
  const web = (): number | undefined => {
    try {
      return resolveUser('web', [], databasesIn(root)).uid;
    } catch {
      return undefined;
    }
  };
  writeFileSync(join(outside, 'dir', 'passwd'), 'web:x:1:1::/:\n');
  symlinkSync(join(outside, 'dir', 'passwd'), passwd);
  expect(web()).toBeUndefined();
  rmSync(passwd);
  rmSync(join(outside, 'dir', 'passwd'));
  mkfifo(passwd);
  expect(web()).toBeUndefined();
  rmSync(passwd);
  writeFileSync(passwd, Buffer.concat([Buffer.from('web:x:1:1::/:\n'), Buffer.alloc(9 << 20, 'x')]));
  expect(lstatSync(passwd).size).toBeGreaterThan(8 << 20);
  expect(web()).toBeUndefined();
  writeFileSync(passwd, 'web:x:33:1::/:\n');
  expect(web()).toBe(33);
});
