/** What the server knows of a request's connection beside the request itself. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ApiContext } from './kit.ts';

export interface Upgraded {
  socket: Duplex;
  /** What came after the request in the same packet: early input. */
  head: Buffer;
}

/** Requests that the HTTP parser let go of, to speak something else. */
export const upgrades = new WeakMap<IncomingMessage, Upgraded>();

/** Bodies read before the handler, for an authorization plugin: the handler must see these very bytes. */
export const capturedBodies = new WeakMap<object, Buffer>();

export const incomingOf = (c: ApiContext): IncomingMessage | undefined =>
  c.env?.incoming as IncomingMessage | undefined;

/** Stands for the request in the maps above, with a connection or without one. */
export const requestKey = (c: ApiContext): object => incomingOf(c) ?? c.req.raw;

/** Fires `gone` of a request by hand: of one without a connection, whose answer nobody reads any more. */
export const leavers = new WeakMap<object, () => void>();
