/** A gRPC server over node:http2 on sockets it is handed: unary calls, and streams in either direction or both. */
import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Duplex, Readable } from 'node:stream';
import {
  type DescMessage,
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
import { encodeFrame, FrameReader } from './frame.ts';
import { codeOf, DetailedError, encodeDetails, encodeMessage, OK } from './status.ts';

export interface Call {
  headers: IncomingHttpHeaders;
  /** Fires when the client cancelled the call or went away. */
  signal: AbortSignal;
}

type Input<M extends DescMethod> = MessageShape<M['input']>;
type Output<M extends DescMethod> = MessageInitShape<M['output']>;
type Raw = AsyncIterable<Uint8Array>;

/** What runs for a method: messages in, messages out, both as bytes. */
type Handler = (messages: Raw, call: Call) => Raw;

const pathOf = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

async function* decoded<D extends DescMessage>(schema: D, messages: Raw): AsyncGenerator<MessageShape<D>> {
  for await (const bytes of messages) yield fromBinary(schema, bytes);
}

async function* encoded<D extends DescMessage>(schema: D, messages: AsyncIterable<MessageInitShape<D>>): Raw {
  for await (const message of messages) yield toBinary(schema, create(schema, message) as MessageShape<D>);
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
    return this.duplex(method, async function* (inputs, call) {
      for await (const input of inputs) return yield await run(input, call);
      throw invalid('the call has no message');
    });
  }

  serverStream<M extends DescMethod>(method: M, run: (input: Input<M>, call: Call) => AsyncIterable<Output<M>>): this {
    return this.duplex(method, async function* (inputs, call) {
      for await (const input of inputs) return yield* run(input, call);
      throw invalid('the call has no message');
    });
  }

  duplex<M extends DescMethod>(
    method: M,
    run: (inputs: AsyncIterable<Input<M>>, call: Call) => AsyncIterable<Output<M>>,
  ): this {
    this.#handlers.set(pathOf(method), (messages, call) =>
      encoded(method.output, run(decoded(method.input, messages) as AsyncIterable<Input<M>>, call)),
    );
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
    stream.once('close', () => controller.abort(cancelled('the client cancelled the call')));
    const path = headers[':path'] ?? '';
    let failure: unknown;
    try {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto' }, { waitForTrailers: true });
      stream.once('wantTrailers', () => {
        if (!stream.destroyed) stream.sendTrailers(trailersOf(failure));
      });
      const handler = this.#handlers.get(path);
      if (!handler) throw notImplemented(`unknown method ${path}`);
      for await (const message of handler(messagesOf(stream), { headers, signal: controller.signal })) {
        if (stream.destroyed) break;
        if (!stream.write(encodeFrame(message))) await drained(stream);
      }
    } catch (error) {
      failure = error;
      if (!controller.signal.aborted) this.#log.debug({ err: error, path }, 'a gRPC call failed');
    }
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

/** The messages of a stream of either side. Who stops reading leaves the stream open: the answer may still be on its way. */
export async function* messagesOf(stream: Readable): Raw {
  const reader = new FrameReader();
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) yield* reader.push(chunk as Buffer);
  if (reader.rest) throw invalid('the stream ended in the middle of a message');
}
