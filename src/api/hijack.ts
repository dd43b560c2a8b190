/**
 * Takes a request's connection away from HTTP, for attach and exec: input comes in, output goes out, in both directions
 * until either side ends. With `Upgrade` the answer is 101 and everything after the request is input. Without it the answer
 * is 200, and what the client sends afterwards is input as well (as old clients do).
 *
 * Half-close: the client's FIN is 'end' of `connection` and leaves the other direction open; when `run` is through, our
 * side ends, and the socket goes when the client's side did too, or after a grace.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Duplex, type Readable } from 'node:stream';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { internal } from '../errors.ts';
import { endGently, incomingOf, upgrades, whenPermitted } from './connection.ts';
import type { ApiContext } from './context.ts';
import { frame, MULTIPLEXED, STDOUT } from './stream.ts';

export interface HijackOptions {
  contentType: string;
  /** Output goes in frames; as the type tells, unless told (before 1.42 the type is raw for both). */
  framed?: boolean;
  /** An authorization plugin held the answer back. */
  refused?: () => void;
}

/**
 * `connection` holds the client's whole input, early bytes included. When `run` rejects, its message goes to the client in
 * the stream's own form. Write with back pressure: `connection.write()` tells when to wait for 'drain'. Who reads nothing must
 * still `resume()` it. A client that left looks like one that only closed its input until the next write fails: then
 * `close` comes, and `gone` fires.
 */
export function hijack(
  c: ApiContext,
  options: HijackOptions,
  run: (connection: Duplex) => Promise<void>,
): Response | Promise<Response> {
  const incoming = incomingOf(c);
  if (!incoming) throw internal('this request has no connection to take over');
  const answer = { status: upgrades.has(incoming) ? 101 : 200, contentType: options.contentType };
  return whenPermitted(
    c,
    answer,
    () => begin(c, incoming, options, run),
    () => options.refused?.(),
  );
}

function begin(
  c: ApiContext,
  incoming: IncomingMessage,
  options: HijackOptions,
  run: (connection: Duplex) => Promise<void>,
): Response {
  const connection = takeOver(c, incoming, options.contentType);
  // Whoever leaves in a hurry resets the connection; `close` follows and is what everybody listens to.
  connection.on('error', () => {});
  void serve(connection, options.framed ?? options.contentType === MULTIPLEXED, run);
  return RESPONSE_ALREADY_SENT;
}

async function serve(connection: Duplex, framed: boolean, run: (connection: Duplex) => Promise<void>): Promise<void> {
  try {
    await run(connection);
  } catch (error) {
    const words = Buffer.from(`${error instanceof Error ? error.message : String(error)}\r\n`);
    if (connection.writable) connection.write(framed ? frame(STDOUT, words) : words);
  }
  endGently(connection);
}

function takeOver(c: ApiContext, incoming: IncomingMessage, contentType: string): Duplex {
  const outgoing = c.env.outgoing as ServerResponse;
  const upgraded = upgrades.get(incoming);
  const socket = upgraded?.socket ?? incoming.socket;
  const head = answerHead(c, contentType, upgraded ? (incoming.headers.upgrade ?? 'tcp') : undefined);
  // The response object is what tells `gone`; it no longer sees the socket's end by itself.
  socket.once('close', () => outgoing.emit('close'));
  if (upgraded) {
    // The very stream that was assigned: with a body still to come it is not the request's socket.
    outgoing.detachSocket(upgraded.socket as Socket);
    if (upgraded.head.length) socket.unshift(upgraded.head);
    socket.write(head);
    return socket;
  }
  if (incoming.headers['transfer-encoding'] && !incoming.complete) {
    // Input comes as a chunked body: HTTP goes on in that direction alone.
    outgoing.detachSocket(incoming.socket);
    socket.write(head);
    return oneWay(incoming, socket);
  }
  outgoing.detachSocket(incoming.socket);
  // Without its listeners the HTTP parser lets the bytes go; `data` listeners of ours get them from here on.
  for (const event of ['data', 'end', 'drain', 'timeout']) socket.removeAllListeners(event);
  socket.write(head);
  return socket;
}

/** The status line and headers; written by hand, for `101 UPGRADED` is no answer that node:http knows. */
function answerHead(c: ApiContext, contentType: string, protocol: string | undefined): string {
  const lines = protocol
    ? ['HTTP/1.1 101 UPGRADED', 'Connection: Upgrade', `Upgrade: ${protocol}`]
    : ['HTTP/1.1 200 OK', 'Connection: close'];
  lines.push(`Content-Type: ${contentType}`);
  for (const [name, value] of Object.entries((c.env.outgoing as ServerResponse).getHeaders()))
    lines.push(`${name}: ${String(value)}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** One stream out of the two directions. */
function oneWay(input: Readable, output: Duplex): Duplex {
  // The declared type knows the pair only under its web names.
  const joined = Duplex.from({ readable: input, writable: output } as unknown as NodeJS.ReadWriteStream);
  output.once('close', () => joined.destroy());
  return joined;
}
