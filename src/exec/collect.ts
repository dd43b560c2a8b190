/** Both outputs of a run as one text, up to a limit. */
import { Duplex } from 'node:stream';
import type { StreamBroker } from '../streams/broker.ts';

const FRAME_HEADER = 8;

/** Attaches at once; settles when the run has ended. What goes beyond the limit is read and dropped. */
export async function collectOutput(streams: StreamBroker, limit: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  const connection = new Duplex({
    read() {},
    write(chunk: Buffer, _, done) {
      // Frames are larger than the output in them by their headers alone.
      if (size < limit * 2 + FRAME_HEADER) chunks.push(chunk);
      size += chunk.length;
      done();
    },
  });
  await streams.attach({ stdin: false, stdout: true, stderr: true }).serve(connection);
  connection.destroy();
  return payloads(Buffer.concat(chunks)).subarray(0, limit).toString('utf8');
}

/** Frames of Docker's multiplexed stream without their headers. */
function payloads(framed: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at + FRAME_HEADER <= framed.length;) {
    const length = framed.readUInt32BE(at + 4);
    parts.push(framed.subarray(at + FRAME_HEADER, at + FRAME_HEADER + length));
    at += FRAME_HEADER + length;
  }
  return Buffer.concat(parts);
}
