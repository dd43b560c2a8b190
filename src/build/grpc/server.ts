/** A gRPC server over node:http2 on sockets it is handed: unary calls, and streams in either direction or both. */
import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import {
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
  create,
} from '@bufbuild/protobuf';
import type { Logger } from 'pino';
import { asDaemonError, cancelled, invalid, notImplemented } from '../../errors.ts';
import { drained } from './drain.ts';
import { encodeFrame } from './frame.ts';
import { Incoming } from './incoming.ts';
import { codeOf, DetailedError, encodeDetails, encodeMessage, OK } from './status.ts';

export interface Call {
  headers: IncomingHttpHeaders;
  /** Fires when the client cancelled the call or went away. */
  signal: AbortSignal;
}

type Input<M extends DescMethod> = MessageShape<M['input']>;
type Output<M extends DescMethod> = MessageInitShape<M['output']>;

/** Takes the answers to a call as they come; resolves when there may be more. */
type Send = (message: Uint8Array) => Promise<void> | void;

/** What runs for a method: messages in, messages out, both as bytes. */
type Handler = (messages: Incoming, call: Call, send: Send) => Promise<void>;

const pathOf = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

const decode = <M extends DescMethod>({ input }: M, bytes: Uint8Array): Input<M> =>
  fromBinary(input, bytes) as Input<M>;

const encode = <M extends DescMethod>({ output }: M, message: Output<M>): Uint8Array =>
  toBinary(output, create(output, message));

/** The only message of a call, or the first. */
async function oneOf<M extends DescMethod>(method: M, messages: Incoming): Promise<Input<M>> {
  const { done, value } = await messages.next();
  if (done) throw invalid('the call has no message');
  return decode(method, value);
}

const WINDOW = 8 << 20;

export class GrpcServer {
  #handlers = new Map<string, Handler>();
  #server: Http2Server;
  #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
    this.#server = createServer({ settings: { initialWindowSize: WINDOW, maxConcurrentStreams: 1000 } });
    this.#server.on('session', (session) => {
      session.setLocalWindowSize(WINDOW);
      session.on('error', (error) => log.debug({ err: error }, 'a gRPC connection failed'));
    });
    this.#server.on('stream', (stream, headers) => void this.#answer(stream as ServerHttp2Stream, headers));
    this.#server.on('sessionError', (error) => log.debug({ err: error }, 'a gRPC connection failed'));
  }

  unary<M extends DescMethod>(method: M, run: (input: Input<M>, call: Call) => Promise<Output<M>>): this {
    return this.#on(method, async (messages, call, send) =>
      send(encode(method, await run(await oneOf(method, messages), call))),
    );
  }

  serverStream<M extends DescMethod>(method: M, run: (input: Input<M>, call: Call) => AsyncIterable<Output<M>>): this {
    return this.#on(method, async (messages, call, send) => {
      const input = await oneOf(method, messages);
      for await (const message of run(input, call)) await send(encode(method, message));
    });
  }

  duplex<M extends DescMethod>(
    method: M,
    run: (inputs: AsyncIterable<Input<M>>, call: Call) => AsyncIterable<Output<M>>,
  ): this {
    return this.#on(method, async (messages, call, send) => {
      const inputs = (async function* () {
        for await (const bytes of messages) yield decode(method, bytes);
      })();
      for await (const message of run(inputs, call)) await send(encode(method, message));
    });
  }

  #on(method: DescMethod, handler: Handler): this {
    this.#handlers.set(pathOf(method), handler);
    return this;
  }

  /** Takes a connection that will speak HTTP/2; resolves when it closed. */
  async serve(socket: Duplex): Promise<void> {
    const closed = new Promise<void>((resolve) => socket.once('close', resolve));
    this.#server.emit('connection', socket);
    await closed;
  }

  async #answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders & { ':path'?: string }): Promise<void> {
    const controller = new AbortController();
    stream.on('error', () => {});
    const gone = (): Error => cancelled('the client cancelled the call');
    let isOver = false;
    stream.once('close', () => {
      if (!isOver) controller.abort(gone());
    });
    const messages = new Incoming(stream, gone);
    const path = headers[':path'] ?? '';
    let failure: unknown;
    try {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto' }, { waitForTrailers: true });
      stream.once('wantTrailers', () => {
        if (!stream.destroyed) stream.sendTrailers(trailersOf(failure));
      });
      const handler = this.#handlers.get(path);
      if (!handler) throw notImplemented(`unknown method ${path}`);
      await handler(messages, { headers, signal: controller.signal }, (message) => {
        if (stream.destroyed) throw gone();
        if (!stream.write(encodeFrame(message))) return drained(stream);
      });
    } catch (error) {
      failure = error;
      if (!controller.signal.aborted) this.#log.debug({ err: error, path }, 'a gRPC call failed');
    }
    isOver = true;
    if (!stream.destroyed) stream.end();
  }

  async close(): Promise<void> {
    this.#server.close();
  }
}

function trailersOf(failure: unknown): Record<string, string> {
  if (failure === undefined) return { 'grpc-status': String(OK) };
  const [code, { message }] = [codeOf(failure), asDaemonError(failure)];
  const status = { 'grpc-status': String(code), 'grpc-message': encodeMessage(message) };
  if (!(failure instanceof DetailedError)) return status;
  return { ...status, 'grpc-status-details-bin': encodeDetails(code, failure) };
}
