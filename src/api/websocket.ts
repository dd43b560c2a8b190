/** Websocket answers, for attach and the visualizer. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { type WebSocket, WebSocketServer } from 'ws';
import { invalid } from '../errors.ts';
import { incomingOf, type Upgraded, upgrades, whenPermitted } from './connection.ts';
import type { ApiContext } from './context.ts';

const LARGEST_MESSAGE = 1 << 20;

let server: WebSocketServer | undefined;

/** Throws invalid when the request is no websocket handshake. `run`'s failure closes the socket with its message. */
export function websocket(
  c: ApiContext,
  run: (socket: WebSocket) => void | Promise<void>,
  /** An authorization plugin held the answer back. */
  refused?: () => void,
): Response | Promise<Response> {
  const incoming = incomingOf(c);
  const upgraded = incoming && upgrades.get(incoming);
  if (!upgraded || incoming.headers.upgrade?.toLowerCase() !== 'websocket')
    throw invalid('this address answers websocket requests only');
  return whenPermitted(
    c,
    { status: 101, contentType: '' },
    () => begin(c, incoming, upgraded, run),
    () => refused?.(),
  );
}

function begin(
  c: ApiContext,
  incoming: IncomingMessage,
  upgraded: Upgraded,
  run: (socket: WebSocket) => void | Promise<void>,
): Response {
  const outgoing = c.env.outgoing as ServerResponse;
  outgoing.detachSocket(upgraded.socket as Socket);
  upgraded.socket.once('close', () => outgoing.emit('close'));
  server ??= new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: LARGEST_MESSAGE });
  server.handleUpgrade(incoming, upgraded.socket, upgraded.head, (socket) => void serve(socket, run));
  return RESPONSE_ALREADY_SENT;
}

async function serve(socket: WebSocket, run: (socket: WebSocket) => void | Promise<void>): Promise<void> {
  socket.on('error', () => socket.terminate());
  try {
    await run(socket);
  } catch (error) {
    // A close reason holds 123 bytes.
    const reason = Buffer.from(error instanceof Error ? error.message : String(error)).subarray(0, 120);
    socket.close(1011, reason.toString('utf8').replace(/�+$/, ''));
  }
}
