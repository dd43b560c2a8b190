/** A ttrpc connection: frames over a stream socket, and one end, whatever ended it. */
import type { Socket } from 'node:net';
import { type Frame, FrameDecoder, encodeFrame } from './frame.ts';

export interface Channel {
  send(stream: number, type: number, payload: Uint8Array): void;
  readonly closed: boolean;
  close(): void;
}

export function openChannel(
  socket: Socket,
  on: { frame: (frame: Frame) => void; closed: (cause: Error | undefined) => void },
): Channel {
  const decoder = new FrameDecoder();
  let closed = false;
  let cause: Error | undefined;
  socket.on('data', (chunk: Buffer) => {
    for (const frame of decoder.push(chunk)) if (!closed) on.frame(frame);
  });
  socket.on('error', (error) => (cause = error));
  socket.on('end', () => socket.end());
  socket.on('close', () => {
    closed = true;
    on.closed(cause);
  });
  return {
    send(stream, type, payload) {
      if (!closed) socket.write(encodeFrame(stream, type, payload));
    },
    get closed() {
      return closed;
    },
    close() {
      socket.destroy();
    },
  };
}
