import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeLines } from '../../src/logs/json-file/decode.ts';
import { encodeLines, encodePart } from '../../src/logs/json-file/encode.ts';
import { LineSplitter, MAX_PART, allShort, partsOf } from '../../src/logs/line-splitter.ts';
import { decodeRecords, encodeRecords, recordHead, wholeRecords } from '../../src/logs/local/codec.ts';
import { formatGo, formatNano, parseNano } from '../../src/logs/time.ts';

const TIME = '2026-11-30T23:04:05.123456789Z';
const NANO = parseNano(TIME);

/** Cuts `bytes` at pieces of these lengths, over and over. */
function* pieces(bytes: Buffer, lengths: number[]): Generator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const end = at + lengths[turn % lengths.length]!;
    yield bytes.subarray(at, end);
    at = end;
  }
}

describe('lines of a log', () => {
  it('are the same wherever the stream is cut', () => {
    const text = fc.array(fc.constantFrom('a', '\n', 'é', '€', '𝄞', 'x'.repeat(5000)), { maxLength: 40 });
    fc.assert(
      fc.property(
        text,
        fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 4 }),
        (tokens, lengths) => {
          const input = Buffer.from(tokens.join(''));
          const splitter = new LineSplitter();
          const parts: Buffer[] = [];
          for (const piece of pieces(input, lengths)) {
            const { lines, parts: early } = splitter.push(piece);
            parts.push(...partsOf(lines), ...early);
          }
          parts.push(splitter.end());
          expect(Buffer.concat(parts).equals(input)).toBe(true);
          for (const part of parts) {
            expect(part.length).toBeLessThanOrEqual(MAX_PART + 1);
            expect(part.subarray(0, -1).includes(10)).toBe(false);
            // Never cut within a character.
            expect(part.toString('utf8')).not.toContain('\ufffd');
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it('are known to be short without looking at each', () => {
    expect(allShort(Buffer.from('a\nb\n'))).toBe(true);
    expect(allShort(Buffer.from(`${'x'.repeat(MAX_PART)}\n`.repeat(3)))).toBe(true);
    expect(allShort(Buffer.from(`a\n${'x'.repeat(MAX_PART + 1)}\na\n`))).toBe(false);
  });
});

describe('the json-file format', () => {
  it('is what dockerd writes, byte for byte', () => {
    const lines = Buffer.from('plain\ntab\t"quoted" back\\slash <&> \x01\n');
    expect(encodeLines(lines, 'stdout', '', TIME).toString()).toBe(
      `{"log":"plain\\n","stream":"stdout","time":"${TIME}"}\n` +
        `{"log":"tab\\t\\"quoted\\" back\\\\slash \\u003c\\u0026\\u003e \\u0001\\n","stream":"stdout","time":"${TIME}"}\n`,
    );
    expect(encodePart(Buffer.from('part'), 'stderr', '{"a":"b"}', TIME).toString()).toBe(
      `{"log":"part","stream":"stderr","attrs":{"a":"b"},"time":"${TIME}"}\n`,
    );
  });

  it('gives any text back, and stays JSON', () => {
    const line = fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => text.replaceAll('\n', ' '));
    const odd = fc.constantFrom('","stream":"stderr","time":"x"}', '\\', '\\n', '"', 'a\\', '$&', '{"log":"');
    fc.assert(
      fc.property(
        fc.array(fc.oneof(line, odd), { minLength: 1, maxLength: 8 }),
        fc.constantFrom('', '{"tag":"t"}'),
        (lines, attributes) => {
          const encoded = encodeLines(
            Buffer.from(lines.map((text) => `${text}\n`).join('')),
            'stderr',
            attributes,
            TIME,
          );
          const parsed = encoded
            .toString()
            .trimEnd()
            .split('\n')
            .map((json) => JSON.parse(json).log as string);
          expect(parsed).toEqual(lines.map((text) => `${text}\n`));
          const { entries, consumed } = decodeLines(Buffer.from(encoded));
          expect(consumed).toBe(encoded.length);
          expect(entries.map((entry) => Buffer.from(entry.line).toString())).toEqual(parsed);
          expect(entries.every((entry) => entry.stream === 'stderr' && entry.timeNano === NANO)).toBe(true);
        },
      ),
    );
  });

  it('is read past a line that a crash cut short, and leaves an unfinished one for later', () => {
    const good = encodeLines(Buffer.from('good\n'), 'stdout', '', TIME);
    const { entries, consumed } = decodeLines(
      Buffer.concat([Buffer.from('{"log":"cut sho\n'), good, good.subarray(0, 20)]),
    );
    expect(entries.map((entry) => Buffer.from(entry.line).toString())).toEqual(['good\n']);
    expect(consumed).toBe(16 + good.length);
  });
});

describe('the local format', () => {
  it('gives lines, parts and empty lines back, and knows its own whole records', () => {
    const parts = ['one\n', '\n', 'part', 'x'.repeat(16_384), 'é\n'].map((text) => Buffer.from(text));
    const { bytes, ends } = encodeRecords(parts, recordHead('stderr', NANO));
    expect(ends.at(-1)).toBe(bytes.length);
    expect(wholeRecords(bytes.subarray(0, -3))).toBe(ends.at(-2));
    const { entries, consumed } = decodeRecords(Buffer.from(bytes));
    expect(consumed).toBe(bytes.length);
    expect(entries.map((entry) => Buffer.from(entry.line).toString())).toEqual(parts.map(String));
    expect(entries.every((entry) => entry.stream === 'stderr' && entry.timeNano === NANO)).toBe(true);
  });
});

describe('times', () => {
  it('keep their nanoseconds in both directions', () => {
    expect(NANO % 1_000_000_000n).toBe(123_456_789n);
    expect(formatNano(NANO)).toBe(TIME);
    expect(formatGo(parseNano('2026-11-30T23:04:05.12Z'))).toBe('2026-11-30T23:04:05.12Z');
    expect(formatGo(parseNano('2026-11-30T23:04:10Z'))).toBe('2026-11-30T23:04:10Z');
    expect(formatNano(parseNano('2026-11-30T23:04:10Z'))).toBe('2026-11-30T23:04:10.000000000Z');
  });
});
