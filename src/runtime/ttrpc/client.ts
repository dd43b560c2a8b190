/**
 * Calls over one ttrpc connection. Replies come in any order; a reply nobody waits for any more is dropped. When the
 * connection ends, every call that waits fails with code `connection-closed`.
 */
import { type Socket, connect } from 'node:net';
import {
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
  create,
  fromBinary,
  toBinary,
} from '@bufbuild/protobuf';
import { type DaemonError, asDaemonError, cancelled, deadlineExceeded, internal, unavailable } from '../../errors.ts';
import { RequestSchema, ResponseSchema } from '../../generated/proto/containerd/ttrpc_pb.ts';
import { type Channel, openChannel } from './channel.ts';
import { type Frame, FrameType } from './frame.ts';
import { errorOfStatus } from './status.ts';

export interface CallOptions {
  /** Milliseconds; without it the call waits for ever. */
  deadline?: number;
  signal?: AbortSignal;
}

export interface ConnectOptions {
  /** Milliseconds for the connection to stand. */
  deadline: number;
  /** Sent with every request. */
  metadata?: Readonly<Record<string, string>>;
  /** Name to call the service by, when the peer has its methods under another version. */
  service?: string;
}

interface Pending {
  resolve(payload: Uint8Array): void;
  reject(error: Error): void;
}

/** Stream ids of a client are odd and fit 31 bits. */
const LAST_STREAM = 2 ** 31 - 1;
/** What the server's own deadline comes before ours, so that its answer, with the reason, arrives in time. */
const HEAD_START_MS = 500;

export class TtrpcClient {
  #channel: Channel;
  #pending = new Map<number, Pending>();
  #stream = 1;
  #metadata: { key: string; value: string }[];
  #service: string | undefined;
  readonly closed: Promise<Error | undefined>;

  private constructor(socket: Socket, options: Omit<ConnectOptions, 'deadline'>) {
    this.#service = options.service;
    this.#metadata = Object.entries(options.metadata ?? {}).map(([key, value]) => ({ key, value }));
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.closed = promise;
    this.#channel = openChannel(socket, {
      frame: (frame) => this.#answer(frame),
      closed: (cause) => {
        const error = unavailable('ttrpc: closed', { code: 'connection-closed', cause });
        for (const call of this.#pending.values()) call.reject(error);
        this.#pending.clear();
        resolve(cause);
      },
    });
  }

  /** Connects to a unix socket. */
  static connect(path: string, options: ConnectOptions): Promise<TtrpcClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path });
      const fail = (error: Error): void => {
        clearTimeout(timer);
        socket.destroy();
        reject(error);
      };
      const timer = setTimeout(
        () => fail(deadlineExceeded(`connecting to ${path} did not finish within ${options.deadline} ms`)),
        options.deadline,
      );
      const onError = (error: NodeJS.ErrnoException): void =>
        fail(unavailable(`connecting to ${path}: ${error.message}`, { code: error.code, cause: error }));
      socket.once('error', onError);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', onError);
        resolve(new TtrpcClient(socket, options));
      });
    });
  }

  get isClosed(): boolean {
    return this.#channel.closed;
  }

  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    input: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    const name = method.name;
    const request = toBinary(
      RequestSchema,
      create(RequestSchema, {
        service: this.#service ?? method.parent.typeName,
        method: name,
        payload: toBinary(method.input, create(method.input, input)),
        timeoutNano: BigInt(Math.max((options.deadline ?? 0) - HEAD_START_MS, options.deadline ? 1 : 0)) * 1_000_000n,
        metadata: this.#metadata,
      }),
    );
    const response = fromBinary(ResponseSchema, await this.#send(name, request, options));
    if (response.status?.code) throw errorOfStatus(response.status.code, response.status.message);
    return fromBinary(method.output, response.payload);
  }

  #send(name: string, request: Uint8Array, options: CallOptions): Promise<Uint8Array> {
    if (this.#channel.closed) return Promise.reject(unavailable('ttrpc: closed', { code: 'connection-closed' }));
    if (options.signal?.aborted) return Promise.reject(cancelled(`${name} was cancelled`));
    const stream = this.#stream;
    this.#stream = stream + 2 > LAST_STREAM ? 1 : stream + 2;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', onAbort);
        this.#pending.delete(stream);
      };
      const fail = (error: DaemonError): void => {
        settle();
        reject(error);
      };
      const onAbort = (): void => fail(cancelled(`${name} was cancelled`));
      const late = (): void =>
        fail(deadlineExceeded(`${name} did not finish within ${options.deadline} ms`, { code: 'no-reply' }));
      const timer = options.deadline ? setTimeout(late, options.deadline) : undefined;
      options.signal?.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(stream, {
        resolve: (payload) => {
          settle();
          resolve(payload);
        },
        reject: (error) => fail(asDaemonError(error)),
      });
      this.#channel.send(stream, FrameType.request, request);
    });
  }

  #answer(frame: Frame): void {
    const call = this.#pending.get(frame.stream);
    if (!call || frame.type !== FrameType.response) return;
    if (frame.oversized) call.reject(internal('ttrpc: the reply is longer than a message may be'));
    else call.resolve(frame.payload);
  }

  close(): void {
    this.#channel.close();
  }
}
