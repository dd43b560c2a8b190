/** A gRPC client over node:http2 on a connection it is handed. Every call has a deadline or a signal. */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type IncomingHttpHeaders } from 'node:http2';
import type { Duplex } from 'node:stream';
import {
  create,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { cancelled, unavailable } from '../../errors.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { drained } from './drain.ts';
import { encodeFrame } from './frame.ts';
import { Incoming } from './incoming.ts';
import { decodeDetails, decodeMessage, type Detail, errorOf, OK } from './status.ts';

export type Metadata = Record<string, string | string[]>;

/** One open call. `received` ends when the server ended well, and throws its error otherwise. */
export interface OpenCall<M extends DescMethod> {
  /** Resolves when the transport took the message. */
  send(message: MessageInitShape<M['input']>): Promise<void>;
  /** No more messages from us. */
  end(): void;
  received: AsyncIterable<MessageShape<M['output']>>;
  cancel(): void;
}

const WINDOW = 8 << 20;
const PING_MS = 30_000;

export class GrpcClient {
  #session: ClientHttp2Session;
  readonly closed: Promise<void>;

  constructor(socket: Duplex) {
    this.#session = connect('http://localhost', {
      createConnection: () => socket,
      settings: { initialWindowSize: WINDOW, enablePush: false },
    });
    this.#session.on('error', () => {});
    this.#session.once('connect', () => this.#session.setLocalWindowSize(WINDOW));
    this.closed = new Promise((resolve) => this.#session.once('close', resolve));
    socket.once('close', () => this.#session.destroy());
  }

  get isClosed(): boolean {
    return this.#session.closed || this.#session.destroyed;
  }

  open<M extends DescMethod>(method: M, options: { metadata?: Metadata; signal: AbortSignal }): OpenCall<M> {
    const { signal } = options;
    if (signal.aborted) throw cancelled('the call was cancelled');
    if (this.isClosed) throw unavailable('the client closed its session');
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': `/${method.parent.typeName}/${method.name}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...options.metadata,
    });
    stream.on('error', () => {});
    const cancel = (): void => stream.close(8);
    signal.addEventListener('abort', cancel, { once: true });
    stream.once('close', () => signal.removeEventListener('abort', cancel));
    return {
      cancel,
      end: () => void stream.end(),
      async send(message) {
        if (stream.destroyed || stream.writableEnded) return;
        const bytes = toBinary(method.input, create(method.input, message) as MessageShape<M['input']>);
        if (!stream.write(encodeFrame(bytes))) await drained(stream);
      },
      received: receive(method, stream, new Answer(stream, signal)),
    };
  }

  async unary<M extends DescMethod>(
    method: M,
    message: MessageInitShape<M['input']>,
    options: { deadline: number; signal?: AbortSignal; metadata?: Metadata },
  ): Promise<MessageShape<M['output']>> {
    return withDeadline(method.name, options.deadline, options.signal, async (signal) => {
      const call = this.open(method, { metadata: options.metadata, signal });
      await call.send(message);
      call.end();
      let answer: MessageShape<M['output']> | undefined;
      for await (const one of call.received) answer ??= one;
      if (!answer) throw unavailable(`${method.name} ended without an answer`);
      return answer;
    });
  }

  close(): void {
    if (!this.#session.destroyed) this.#session.close();
    const timer = setTimeout(() => this.#session.destroy(), PING_MS);
    timer.unref();
    this.#session.once('close', () => clearTimeout(timer));
  }
}

/** What comes back on a call: messages, then how it ended. */
class Answer {
  readonly messages: Incoming;
  /** Known once the server said it, which may be long before the messages have been read. */
  status: { code: number; message: string; details: Detail[] } | undefined;
  #stream: ClientHttp2Stream;
  #signal: AbortSignal;

  constructor(stream: ClientHttp2Stream, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
    this.messages = new Incoming(stream, () => this.broken());
    stream.once('response', (headers) => this.#read(headers));
    stream.once('trailers', (headers) => this.#read(headers));
  }

  #read(headers: IncomingHttpHeaders): void {
    const code = headers['grpc-status'];
    if (code === undefined) return;
    this.status = {
      code: Number(code),
      message: decodeMessage(String(headers['grpc-message'] ?? '')),
      details: decodeDetails(headers['grpc-status-details-bin']),
    };
  }

  /** There is no status and will be none. */
  broken(): Error {
    if (this.#signal.aborted) return cancelled('the call was cancelled');
    const { errored } = this.#stream;
    return errored
      ? unavailable(`the session failed: ${errored.message}`, { cause: errored })
      : unavailable('the client closed its session');
  }
}

async function* receive<M extends DescMethod>(
  method: M,
  stream: ClientHttp2Stream,
  answer: Answer,
): AsyncGenerator<MessageShape<M['output']>> {
  try {
    for await (const bytes of answer.messages) yield fromBinary(method.output, bytes) as MessageShape<M['output']>;
  } catch (error) {
    // How the server says that it ended stands above how the connection did.
    if (!answer.status) throw error;
  } finally {
    if (!stream.destroyed && !(stream.readableEnded && stream.writableEnded)) stream.close(8);
  }
  const { status } = answer;
  if (!status) throw answer.broken();
  if (status.code !== OK) throw errorOf(status.code, status.message, status.details);
}
