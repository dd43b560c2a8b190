/**
 * ttrpc frames: a header of ten bytes (length u32, stream id u32, type u8, flags u8, big-endian), then the payload.
 * Pure: bytes in, frames out. Source: containerd/ttrpc, PROTOCOL.md.
 */
export const HEADER_SIZE = 10;
/** Longest payload either side accepts. */
export const MAX_PAYLOAD = 4 << 20;

export const FrameType = { request: 1, response: 2, data: 3 } as const;

export interface Frame {
  stream: number;
  type: number;
  flags: number;
  payload: Uint8Array;
  /** True when the payload was longer than MAX_PAYLOAD: it was skipped, and the framing kept. */
  oversized: boolean;
}

const EMPTY = new Uint8Array(0);

export function encodeFrame(stream: number, type: number, payload: Uint8Array, flags = 0): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_SIZE + payload.length);
  bytes.writeUInt32BE(payload.length, 0);
  bytes.writeUInt32BE(stream, 4);
  bytes[8] = type;
  bytes[9] = flags;
  bytes.set(payload, HEADER_SIZE);
  return bytes;
}

/** Cuts a byte stream, in whatever pieces it comes, into frames. */
export class FrameDecoder {
  #waiting: Uint8Array = EMPTY;
  /** Bytes of an oversized payload still to come. */
  #skip = 0;

  push(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    let bytes = this.#waiting.length
      ? Buffer.concat([this.#waiting, chunk])
      : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    for (;;) {
      if (this.#skip) {
        const skipped = Math.min(this.#skip, bytes.length);
        this.#skip -= skipped;
        bytes = bytes.subarray(skipped);
      }
      if (bytes.length < HEADER_SIZE) break;
      const length = bytes.readUInt32BE(0);
      const oversized = length > MAX_PAYLOAD;
      if (!oversized && bytes.length < HEADER_SIZE + length) break;
      const head = { stream: bytes.readUInt32BE(4), type: bytes[8]!, flags: bytes[9]!, oversized };
      if (oversized) {
        frames.push({ ...head, payload: EMPTY });
        this.#skip = length;
        bytes = bytes.subarray(HEADER_SIZE);
      } else {
        frames.push({ ...head, payload: bytes.subarray(HEADER_SIZE, HEADER_SIZE + length) });
        bytes = bytes.subarray(HEADER_SIZE + length);
      }
    }
    this.#waiting = bytes;
    return frames;
  }
}
