/** What the server knows of a request's connection beside the request itself. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ApiContext } from './context.ts';

export interface Upgraded {
  socket: Duplex;
  /** What came after the request in the same packet: early input. */
  head: Buffer;
}

/** Requests that the HTTP parser let go of, to speak something else. */
export const upgrades = new WeakMap<IncomingMessage, Upgraded>();

/** Bodies read before the handler, for an authorization plugin: the handler must see these very bytes. */
export const capturedBodies = new WeakMap<object, Buffer>();

/** Asks an authorization plugin about an answer that goes out piece by piece, before its first; throws what denies it. */
export type Permit = (status: number, contentType: string) => Promise<void>;

/** Of requests that plugins judge. */
export const permits = new WeakMap<object, Permit>();

export const incomingOf = (c: ApiContext): IncomingMessage | undefined =>
  c.env?.incoming as IncomingMessage | undefined;

export const outgoingOf = (c: ApiContext): ServerResponse | undefined => c.env?.outgoing as ServerResponse | undefined;

/** On the response itself where there is one: it spares each answer a Headers object. */
export function setHeader(c: ApiContext, name: string, value: string): void {
  const outgoing = outgoingOf(c);
  if (outgoing) outgoing.setHeader(name, value);
  else c.header(name, value);
}

/** Stands for the request in the maps above, with a connection or without one. */
export const requestKey = (c: ApiContext): object => incomingOf(c) ?? c.req.raw;

/** Begins an answer that goes out piece by piece, or a taken connection, when the plugins permit it; else `refused` lets go of what it needs. */
export function whenPermitted<T>(
  c: ApiContext,
  answer: { status: number; contentType: string },
  begin: () => T,
  refused: () => unknown,
): T | Promise<T> {
  const permit = permits.get(requestKey(c));
  if (!permit) return begin();
  return permit(answer.status, answer.contentType).then(begin, async (error: unknown) => {
    await refused();
    throw error;
  });
}

/** Fires `gone` of a request by hand: of one without a connection, whose answer nobody reads any more. */
export const leavers = new WeakMap<object, () => void>();

/** How long a client may take to close its side after we closed ours. */
const LINGER_MS = 10_000;

/**
 * Ends our side and reads the rest of the client's: a socket that is closed with unread input in it is reset, and takes
 * what was sent last away from the client.
 */
export function endGently(connection: Duplex): void {
  connection.end();
  if (connection.destroyed) return;
  connection.resume();
  const timer = setTimeout(() => connection.destroy(), LINGER_MS);
  connection.once('close', () => clearTimeout(timer));
}
