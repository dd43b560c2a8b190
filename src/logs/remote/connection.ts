/**
 * Ways to a log server. A stream connection that breaks is made anew while messages wait, up to a limit; what does not
 * fit is lost and counted, for a container must not stand still because a log server does.
 */
import { type Socket as DatagramSocket, createSocket } from 'node:dgram';
import { type Socket, connect as connectSocket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import type { Logger } from 'pino';
import { internal } from '../../errors.ts';
import { withDeadline } from '../../lib/deadline.ts';

export interface Transport {
  write(bytes: Buffer): Promise<void> | undefined;
  close(): Promise<void>;
}

export type StreamAddress = { path: string } | { host: string; port: number };

export interface StreamOptions {
  address: StreamAddress;
  tls?: ConnectionOptions | undefined;
  log: Logger;
  /** Milliseconds between attempts to connect again. */
  retryMs: number;
  /** Attempts in a row; Infinity is for ever. */
  retries: number;
  /** Bytes that wait for a connection. */
  limit?: number;
  /** Do not wait for the first connection, nor fail with it. */
  background?: boolean;
}

const CONNECT_MS = 10_000;
const FLUSH_MS = 2_000;

export async function openStream(options: StreamOptions): Promise<Transport> {
  const stream = new StreamTransport(options);
  if (options.background) stream.start();
  else await stream.connect();
  return stream;
}

class StreamTransport implements Transport {
  #options: StreamOptions;
  #socket: Socket | undefined;
  #waiting: Buffer[] = [];
  #bytes = 0;
  #dropped = 0;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  #connecting: Promise<void> | undefined;

  constructor(options: StreamOptions) {
    this.#options = options;
  }

  start(): void {
    this.#connecting ??= this.#attempts().finally(() => (this.#connecting = undefined));
  }

  async connect(): Promise<void> {
    const { address, tls } = this.#options;
    const name = 'path' in address ? address.path : `${address.host}:${address.port}`;
    const socket = tls ? connectTls({ ...tls, ...address }) : connectSocket(address);
    try {
      await withDeadline(`dial ${name}`, CONNECT_MS, undefined, async (signal) => {
        signal.addEventListener('abort', () => socket.destroy(), { once: true });
        await new Promise<void>((resolve, reject) => {
          socket.once(tls ? 'secureConnect' : 'connect', resolve);
          socket.once('error', (error: Error) => reject(internal(`dial ${name}: ${error.message}`, { cause: error })));
        });
      });
    } catch (error) {
      socket.destroy();
      throw error;
    }
    if (this.#closed) return void socket.destroy();
    this.#use(socket);
  }

  #use(socket: Socket): void {
    this.#socket = socket;
    socket.on('error', (error) => this.#options.log.warn({ err: error }, 'the connection to a log server failed'));
    socket.on('data', () => {});
    socket.once('close', () => {
      this.#socket = undefined;
      if (!this.#closed) this.start();
    });
    for (const bytes of this.#waiting) socket.write(bytes);
    this.#waiting = [];
    this.#bytes = 0;
    if (this.#dropped) this.#options.log.warn({ dropped: this.#dropped }, 'messages to a log server were lost');
    this.#dropped = 0;
  }

  async #attempts(): Promise<void> {
    for (let attempt = 0; attempt < this.#options.retries && !this.#closed; attempt++) {
      try {
        return await this.connect();
      } catch (error) {
        if (attempt === 0) this.#options.log.warn({ err: error }, 'a log server cannot be reached');
      }
      await new Promise<void>((resolve) => (this.#timer = setTimeout(resolve, this.#options.retryMs)));
    }
  }

  write(bytes: Buffer): Promise<void> | undefined {
    const socket = this.#socket;
    if (!socket) return void this.#hold(bytes);
    if (socket.write(bytes)) return undefined;
    return new Promise((resolve) => {
      const done = (): void => {
        socket.off('drain', done).off('close', done);
        resolve();
      };
      socket.on('drain', done).on('close', done);
    });
  }

  #hold(bytes: Buffer): void {
    this.start();
    if (this.#bytes + bytes.length > (this.#options.limit ?? 1 << 20)) this.#dropped++;
    else {
      this.#waiting.push(bytes);
      this.#bytes += bytes.length;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (!socket) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, FLUSH_MS);
      socket.end(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    socket.destroy();
  }
}

export async function openUdp(host: string, port: number, log: Logger): Promise<Transport> {
  const socket: DatagramSocket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  // Errors come when nobody listens there; a datagram is not repeated.
  socket.on('error', (error) => log.debug({ err: error }, 'a datagram to a log server failed'));
  await withDeadline(
    `dial ${host}:${port}`,
    CONNECT_MS,
    undefined,
    () =>
      new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        socket.connect(port, host, () => {
          socket.off('error', reject);
          resolve();
        });
      }),
  ).catch((error: unknown) => {
    socket.close();
    throw error;
  });
  let sending: Promise<void> | undefined;
  return {
    write(bytes) {
      sending = new Promise((resolve) => socket.send(bytes, () => resolve()));
      return sending;
    },
    async close() {
      await sending;
      socket.close();
    },
  };
}
