/** What a fuzz target is: where its inputs come from, and what must hold whatever they are. */
import fc from 'fast-check';
import { DaemonError, type ErrorKind } from '../../src/errors.ts';

export interface Target<T = any> {
  name: string;
  input: fc.Arbitrary<T>;
  /** Throws when the input did harm; a refusal is no harm. */
  run(input: T): unknown;
  dispose?(): unknown;
}

/** Runs a parser: it answers, or refuses in one of these ways. Anything else it throws is our bug. */
export function refusing<T>(work: () => T, kinds: readonly ErrorKind[] = ['invalid']): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof DaemonError && kinds.includes(error.kind)) return undefined;
    throw error;
  }
}

/** Texts made of the words of a grammar and of anything else between them. */
export function words(...tokens: string[]): fc.Arbitrary<string> {
  const odd = [
    '',
    '\0',
    '\n',
    '\u2028',
    '\ud800',
    'é',
    '__proto__',
    'constructor',
    '-1',
    '0',
    '4294967296',
    '1e999',
    '%00',
    '${',
    '\\',
  ];
  const part = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...tokens) },
    { weight: 1, arbitrary: fc.constantFrom(...odd) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 8 }) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom(...tokens), fc.integer({ min: 2, max: 40 }))
        .map(([text, n]) => text.repeat(n)),
    },
  );
  return fc.array(part, { maxLength: 16 }).map((parts) => parts.join(''));
}

/** Valid bytes with a few of them changed, cut, doubled or moved; now and then no valid bytes at all. */
export function mutated(...samples: Uint8Array[]): fc.Arbitrary<Buffer> {
  const change = fc.record({
    kind: fc.constantFrom('set', 'flip', 'cut', 'insert', 'copy', 'number'),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    from: fc.double({ min: 0, max: 1, noNaN: true }),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }),
    number: fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff),
  });
  const some = fc
    .tuple(fc.constantFrom(...samples), fc.array(change, { maxLength: 6 }))
    .map(([sample, changes]) => changes.reduce(applied, Buffer.from(sample)));
  return fc.oneof(
    { weight: 9, arbitrary: some },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 1024 }).map((bytes) => Buffer.from(bytes)) },
  );
}

interface Change {
  kind: string;
  at: number;
  from: number;
  bytes: Uint8Array;
  number: number;
}

function applied(bytes: Buffer, change: Change): Buffer {
  const at = Math.floor(change.at * bytes.length);
  const from = Math.floor(change.from * bytes.length);
  const patched = (patch: Uint8Array): Buffer =>
    Buffer.concat([bytes.subarray(0, at), patch, bytes.subarray(at + patch.length)]);
  switch (change.kind) {
    case 'set':
      return patched(change.bytes);
    case 'flip':
      return patched(Buffer.from([(bytes[at] ?? 0) ^ (1 << (change.bytes[0]! & 7))]));
    case 'cut':
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(at, from))]);
    case 'insert':
      return Buffer.concat([bytes.subarray(0, at), change.bytes, bytes.subarray(at)]);
    case 'copy':
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(from, from + 600), bytes.subarray(at)]);
    default: {
      const number = Buffer.alloc(4);
      number.writeUInt32BE(change.number);
      return patched(number);
    }
  }
}

/** Cuts bytes into the pieces they could arrive in. */
export function pieces(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const parts: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    if (at >= bytes.length) break;
    parts.push(bytes.subarray(at, at + size));
    at += size;
  }
  return at < bytes.length ? [...parts, bytes.subarray(at)] : parts;
}

export const cuts: fc.Arbitrary<number[]> = fc.array(fc.integer({ min: 1, max: 700 }), { maxLength: 8 });
