/** The serving side of ttrpc on a unix socket: unary methods only. A handler that throws answers with its message. */
import { rmSync } from 'node:fs';
import { type Server, type Socket, createServer } from 'node:net';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { RequestSchema, ResponseSchema } from '../../generated/proto/containerd/ttrpc_pb.ts';
import { openChannel } from './channel.ts';
import { type Frame, FrameType } from './frame.ts';
import { Code } from './status.ts';

/** Takes the request's bytes, gives the reply's; undefined when the method does not exist. */
export type TtrpcHandler = (service: string, method: string, payload: Uint8Array) => Uint8Array | undefined;

export interface TtrpcServer {
  close(): Promise<void>;
}

const respond = (code: number, message: string, payload: Uint8Array = new Uint8Array()): Uint8Array =>
  toBinary(ResponseSchema, create(ResponseSchema, { status: { code, message }, payload }));

function answer(frame: Frame, handler: TtrpcHandler): Uint8Array {
  if (frame.oversized) return respond(Code.invalidArgument, 'the message is too long');
  try {
    const request = fromBinary(RequestSchema, frame.payload);
    const reply = handler(request.service, request.method, request.payload);
    if (reply) return respond(Code.ok, '', reply);
    return respond(Code.unimplemented, `service ${request.service} has no ${request.method}`);
  } catch (error) {
    return respond(Code.invalidArgument, error instanceof Error ? error.message : String(error));
  }
}

/** Listens at `path`; a socket that an earlier process left there is replaced. */
export async function serveTtrpc(
  path: string,
  handler: TtrpcHandler,
  onError: (error: Error) => void,
): Promise<TtrpcServer> {
  rmSync(path, { force: true });
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    const channel = openChannel(socket, {
      frame: (frame) => {
        if (frame.type === FrameType.request) {
          channel.send(frame.stream, FrameType.response, answer(frame, handler));
        }
      },
      closed: () => sockets.delete(socket),
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  server.on('error', onError);
  return {
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
