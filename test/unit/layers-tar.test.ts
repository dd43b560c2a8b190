import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DaemonError } from '../../src/errors.ts';
import { componentsOf } from '../../src/tar/extract.ts';
import {
  decodePax,
  encodeHeader,
  END_OF_ARCHIVE,
  padding,
  parsePaxTime,
  type TarHeader,
  tarHeader,
} from '../../src/tar/header.ts';
import { TarParser } from '../../src/tar/parser.ts';
import { readTar } from '../../src/tar/read.ts';

interface Seen {
  header: TarHeader;
  content: Buffer;
}

/** Parses bytes cut into pieces of the given sizes. */
function parse(bytes: Buffer, cuts: readonly number[] = []): Seen[] {
  const seen: Seen[] = [];
  const parser = new TarParser(
    {
      entry: (header) => seen.push({ header, content: Buffer.alloc(0) }),
      data: (chunk) => (seen.at(-1)!.content = Buffer.concat([seen.at(-1)!.content, chunk])),
      done: () => {},
    },
    { encoding: 'latin1' },
  );
  let at = 0;
  for (const cut of cuts) {
    parser.write(bytes.subarray(at, at + cut));
    at = Math.min(at + cut, bytes.length);
  }
  parser.write(bytes.subarray(at));
  parser.end();
  return seen;
}

const name = fc.string({
  unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)),
  minLength: 1,
  maxLength: 300,
});
const entry = fc.record({
  name: name.filter((text) => !text.endsWith('/')),
  type: fc.constantFrom(
    'file' as const,
    'directory' as const,
    'symlink' as const,
    'link' as const,
    'char' as const,
    'fifo' as const,
  ),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.nat(2 ** 32 - 2),
  gid: fc.nat(70_000),
  mtimeNs: fc.bigInt({ min: -(10n ** 18n), max: 4n * 10n ** 18n }),
  linkname: name,
  content: fc.uint8Array({ maxLength: 3000 }),
  xattrs: fc.dictionary(fc.constantFrom('user.a', 'security.capability'), fc.uint8Array({ maxLength: 80 })),
});

describe('tar', () => {
  it('comes back as it was written, wherever the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(entry, { maxLength: 5 }),
        fc.array(fc.integer({ min: 1, max: 2000 }), { maxLength: 10 }),
        (entries, cuts) => {
          const written = entries.map(({ content, xattrs, ...rest }) => {
            const linked = rest.type === 'symlink' || rest.type === 'link';
            const bytes = Buffer.from(rest.type === 'file' ? content : []);
            const header = tarHeader({
              ...rest,
              linkname: linked ? rest.linkname : '',
              size: bytes.length,
              xattrs: new Map(Object.entries(xattrs).map(([key, value]) => [key, Buffer.from(value)])),
            });
            return { header: { ...header, uname: '', gname: '' }, content: bytes };
          });
          const archive = Buffer.concat([
            ...written.flatMap(({ header, content }) => [
              encodeHeader(header, 'latin1'),
              content,
              Buffer.alloc(padding(content.length)),
            ]),
            END_OF_ARCHIVE,
          ]);
          expect(parse(archive, cuts)).toEqual(written);
        },
      ),
      { numRuns: 150, seed: 7 },
    );
  });

  it('never fails but with a refusal, whatever the bytes', () => {
    const good = Buffer.concat([
      encodeHeader(tarHeader({ name: 'x'.repeat(150), size: 600, uid: 2 ** 25 })),
      Buffer.alloc(1024),
      END_OF_ARCHIVE,
    ]);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }),
        fc.nat(good.length),
        (changes, length) => {
          const bytes = Buffer.from(good);
          for (const [at, value] of changes) bytes[at] = value;
          try {
            parse(bytes.subarray(0, length));
          } catch (error) {
            expect(error).toBeInstanceOf(DaemonError);
          }
        },
      ),
      { numRuns: 300, seed: 7 },
    );
    expect(() => decodePax(Buffer.from('99999 path=x\n'))).toThrow('invalid PAX record');
    expect(() => parsePaxTime('soon')).toThrow('invalid PAX time');
    expect(parsePaxTime('-1.5')).toBe(-1_500_000_000n);
  });

  it('is read entry by entry, with what nobody read skipped', async () => {
    const file = (text: string): Buffer[] => [
      encodeHeader(tarHeader({ name: text, size: text.length })),
      Buffer.from(text),
      Buffer.alloc(padding(text.length)),
    ];
    const archive = Buffer.concat([...file('skipped'), ...file('read'), END_OF_ARCHIVE]);
    const read: string[] = [];
    async function* source(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < archive.length; at += 100) yield archive.subarray(at, at + 100);
    }
    await readTar(source(), async (header, content) => {
      if (header.name === 'read') for await (const chunk of content) read.push(Buffer.from(chunk).toString());
    });
    expect(read.join('')).toBe('read');
  });

  it('has names that stay inside', () => {
    expect(componentsOf('/a/./b//c/../d/')).toEqual(['a', 'b', 'd']);
    expect(componentsOf('./')).toEqual([]);
    for (const name of ['..', 'a/../..', '/../etc/passwd'])
      expect(() => componentsOf(name)).toThrow('invalid path in archive');
  });
});
