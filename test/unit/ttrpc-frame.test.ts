import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameDecoder, HEADER_SIZE, MAX_PAYLOAD, encodeFrame } from '../../src/runtime/ttrpc/frame.ts';

describe('ttrpc frames', () => {
  it('come out as they went in, however the bytes are cut', () => {
    const frame = fc.record({
      stream: fc.integer({ min: 0, max: 2 ** 31 }),
      type: fc.integer({ min: 1, max: 3 }),
      flags: fc.integer({ min: 0, max: 255 }),
      payload: fc.uint8Array({ maxLength: 300 }),
    });
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        (frames, cuts) => {
          const bytes = Buffer.concat(frames.map((f) => encodeFrame(f.stream, f.type, f.payload, f.flags)));
          const decoder = new FrameDecoder();
          const seen = [];
          for (let at = 0, turn = 0; at < bytes.length; turn++) {
            const end = at + cuts[turn % cuts.length]!;
            seen.push(...decoder.push(bytes.subarray(at, end)));
            at = end;
          }
          expect(
            seen.map(({ oversized, payload, ...rest }) => ({ ...rest, payload: new Uint8Array(payload) })),
          ).toEqual(frames);
        },
      ),
    );
  });

  it('stay in step after a payload that is too long', () => {
    const decoder = new FrameDecoder();
    const head = Buffer.alloc(HEADER_SIZE);
    head.writeUInt32BE(MAX_PAYLOAD + 5, 0);
    head.writeUInt32BE(7, 4);
    const seen = [...decoder.push(head)];
    for (let sent = 0; sent < MAX_PAYLOAD + 5; sent += 1 << 20) {
      seen.push(...decoder.push(Buffer.alloc(Math.min(1 << 20, MAX_PAYLOAD + 5 - sent))));
    }
    seen.push(...decoder.push(encodeFrame(9, 2, Buffer.from('next'))));
    expect(seen.map(({ stream, oversized }) => [stream, oversized])).toEqual([
      [7, true],
      [9, false],
    ]);
  });
});
