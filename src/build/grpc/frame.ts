/** gRPC's message framing: a flag, a length, a message (gRPC over HTTP/2, "Length-Prefixed-Message"). Pure. */
import { invalid } from '../../errors.ts';

const HEAD = 5;
/** No message of BuildKit's comes near it. */
const LARGEST = 64 << 20;

export function encodeFrame(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEAD + message.byteLength);
  frame[0] = 0;
  frame.writeUInt32BE(message.byteLength, 1);
  frame.set(message, HEAD);
  return frame;
}

/** Takes bytes as they come and gives whole messages. */
export class FrameReader {
  #parts: Buffer[] = [];
  #size = 0;

  push(chunk: Buffer): Buffer[] {
    this.#parts.push(chunk);
    this.#size += chunk.length;
    const messages: Buffer[] = [];
    for (;;) {
      if (this.#size < HEAD) return messages;
      const joined = this.#join();
      if (joined[0]! !== 0) throw invalid('compressed gRPC messages are not supported');
      const length = joined.readUInt32BE(1);
      if (length > LARGEST) throw invalid(`a gRPC message of ${length} bytes is too large`);
      if (this.#size < HEAD + length) return messages;
      messages.push(joined.subarray(HEAD, HEAD + length));
      this.#parts = [joined.subarray(HEAD + length)];
      this.#size -= HEAD + length;
    }
  }

  /** The head must lie in one piece; a long body is joined once it is complete enough to matter. */
  #join(): Buffer {
    const [first] = this.#parts;
    if (this.#parts.length === 1) return first!;
    if (first!.length >= HEAD && first!.readUInt32BE(1) + HEAD > this.#size) return first!;
    const joined = Buffer.concat(this.#parts);
    this.#parts = [joined];
    return joined;
  }

  /** Bytes of a message that never became whole. */
  get rest(): number {
    return this.#size;
  }
}
