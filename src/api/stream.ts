/** How bytes leave for a client: frames of attached output, and answers that go on for as long as their source does. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Writable } from 'node:stream';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { release } from '../lib/memory.ts';
import { leavers, outgoingOf, requestKey, setHeader, whenPermitted } from './connection.ts';
import type { ApiContext } from './context.ts';

export const STDIN = 0;
export const STDOUT = 1;
export const STDERR = 2;
/** Read by clients as an error of the daemon, not of the container. */
export const SYSTEM_ERROR = 3;

export type StreamNumber = 0 | 1 | 2 | 3;

export const MULTIPLEXED = 'application/vnd.docker.multiplexed-stream';
export const RAW_STREAM = 'application/vnd.docker.raw-stream';

/** A frame of Docker's multiplexed stream: [stream, 0, 0, 0, u32 BE length] and the payload. */
export function frame(stream: StreamNumber, payload: Uint8Array): Uint8Array {
  const framed = Buffer.allocUnsafe(8 + payload.byteLength);
  framed.writeUInt32BE(stream * 0x1000000, 0);
  framed.writeUInt32BE(payload.byteLength, 4);
  framed.set(payload, 8);
  return framed;
}

/** Resolves when the client took what was written; false when it is gone. */
export async function drained(outgoing: Writable): Promise<boolean> {
  if (outgoing.destroyed || outgoing.closed) return false;
  const controller = new AbortController();
  const { signal } = controller;
  await Promise.race([once(outgoing, 'drain', { signal }), once(outgoing, 'close', { signal })]).catch(() => {});
  controller.abort();
  return !outgoing.destroyed && !outgoing.closed;
}

export interface AnswerOptions {
  lastWords?: (error: unknown) => string;
  /** Nobody else has the chunks: their memory is freed when they were sent. */
  own?: boolean;
}

/**
 * Sends `source` as the answer: headers, then each chunk, waiting when the client is slow. When the client leaves,
 * or the source fails, the source's iterator is returned. A failing source cuts the connection, so that no client takes
 * the part for the whole; `lastWords` may end the answer properly instead.
 */
export function streamAnswer(
  c: ApiContext,
  source: AsyncIterable<Uint8Array | string>,
  contentType: string,
  options: AnswerOptions = {},
): Response | Promise<Response> {
  const unread = (): unknown => source[Symbol.asyncIterator]().return?.();
  return whenPermitted(c, { status: 200, contentType }, () => begin(c, source, contentType, options), unread);
}

function begin(
  c: ApiContext,
  source: AsyncIterable<Uint8Array | string>,
  contentType: string,
  options: AnswerOptions,
): Response {
  setHeader(c, 'Content-Type', contentType);
  const outgoing = outgoingOf(c);
  if (!outgoing) return c.body(webStream(source, () => leavers.get(requestKey(c))?.(), options));
  outgoing.writeHead(200);
  void pump(c, outgoing, source, options);
  return RESPONSE_ALREADY_SENT;
}

async function pump(
  c: ApiContext,
  outgoing: ServerResponse,
  source: AsyncIterable<Uint8Array | string>,
  { lastWords, own }: AnswerOptions,
): Promise<void> {
  const gone = c.get('gone');
  const iterator = source[Symbol.asyncIterator]();
  // A source that waits for its next item would not notice that nobody reads any more.
  const leave = (): void => void Promise.resolve(iterator.return?.()).catch(() => {});
  gone.addEventListener('abort', leave, { once: true });
  // With the first bytes where those are there at once, else alone.
  const headers = setImmediate(() => outgoing.flushHeaders());
  try {
    for (let item = await iterator.next(); !item.done; item = await iterator.next()) {
      clearImmediate(headers);
      if (gone.aborted) break;
      const { value } = item;
      const isRoomLeft = own && typeof value !== 'string' ? writeOwn(outgoing, value) : outgoing.write(value);
      if (!isRoomLeft && !(await drained(outgoing))) break;
    }
    clearImmediate(headers);
    outgoing.end();
  } catch (error) {
    if (lastWords && !gone.aborted) outgoing.end(lastWords(error));
    else {
      if (!gone.aborted) c.get('log').warn({ err: error, path: c.req.path }, 'an answer broke off');
      // What was sent goes out (in this tick's end), but not the last chunk that would make it look whole.
      setImmediate(() => outgoing.socket?.destroySoon());
    }
  } finally {
    gone.removeEventListener('abort', leave);
    leave();
  }
}

const writeOwn = (outgoing: Writable, chunk: Uint8Array): boolean =>
  outgoing.write(chunk, (error) => error || release(chunk));

/** The same for an answer without a connection, as tests ask for it. */
function webStream(
  source: AsyncIterable<Uint8Array | string>,
  leave: () => void,
  { lastWords }: AnswerOptions,
): ReadableStream<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const item = await iterator.next();
        if (item.done) return controller.close();
        controller.enqueue(typeof item.value === 'string' ? Buffer.from(item.value) : item.value);
      } catch (error) {
        if (!lastWords) return controller.error(error);
        controller.enqueue(Buffer.from(lastWords(error)));
        controller.close();
      }
    },
    cancel() {
      leave();
      void Promise.resolve(iterator.return?.()).catch(() => {});
    },
  });
}
