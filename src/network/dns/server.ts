/** A DNS server on the gateway's address of a network, where who asks is known by where the query comes from, or in the namespace of one container. */
import { type BindOptions, createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { decode, encode, type Packet } from 'dns-packet';
import type { Logger } from 'pino';
import { type Asker, decide, replyTo } from './answer.ts';
import { forward, framed, Frames } from './forward.ts';
import type { Names } from './names.ts';

/** What fits in a datagram for a client that announced nothing (RFC 1035). */
const PLAIN_LIMIT = 512;
const TRUNCATED = 1 << 9;
const IDLE_MS = 10_000;
const CONNECTIONS = 256;
const RECEIVE_BYTES = 1 << 20;

/** Descriptors of two sockets that are bound to one port. */
export interface BoundPair {
  udp: number;
  tcp: number;
}

export interface DnsServerDeps {
  names: Names;
  askerOf(address: string): Asker | undefined;
  log: Logger;
}

export class DnsServer {
  #deps: DnsServerDeps;
  #udp: DatagramSocket | undefined;
  #tcp: Server | undefined;
  #connections = new Set<Socket>();
  #turn = 0;

  constructor(deps: DnsServerDeps) {
    this.#deps = deps;
  }

  /** Listens on both transports at one port, the wanted one if it is free. Returns the port. */
  async listen(address: string, wanted: number): Promise<number> {
    for (let tries = 0; ; tries++) {
      try {
        const type = address.includes(':') ? 'udp6' : 'udp4';
        const there = { address, port: tries === 0 ? wanted : 0, exclusive: true };
        return await this.#open(type, there, (port) => ({ host: address, port, exclusive: true }));
      } catch (error) {
        await this.close();
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || tries >= 8) throw error;
      }
    }
  }

  /** Answers at IPv4 sockets that are bound already, and owns them from now. Returns their port. */
  async adopt({ udp, tcp }: BoundPair): Promise<number> {
    try {
      return await this.#open('udp4', { fd: udp }, () => ({ fd: tcp }));
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #open(
    type: 'udp4' | 'udp6',
    there: BindOptions,
    beside: (port: number) => ListenOptions | { fd: number },
  ): Promise<number> {
    const udp = createSocket({ type, recvBufferSize: RECEIVE_BYTES });
    this.#udp = udp;
    await new Promise<void>((resolve, reject) => {
      udp.once('error', reject);
      udp.bind(there, resolve);
    });
    const { port } = udp.address();
    const tcp = createServer();
    this.#tcp = tcp;
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen(beside(port), resolve);
    });
    this.#serveBoth(udp, tcp);
    return port;
  }

  #serveBoth(udp: DatagramSocket, tcp: Server): void {
    const failed = (error: Error): void => this.#deps.log.warn({ err: error }, 'DNS socket');
    udp.removeAllListeners('error').on('error', failed);
    tcp.removeAllListeners('error').on('error', failed);
    udp.on('message', (message, from) => {
      void this.#answer(message, from.address, 'udp').then((reply) => {
        if (reply && this.#udp === udp) udp.send(reply, from.port, from.address, () => {});
      });
    });
    tcp.maxConnections = CONNECTIONS;
    tcp.on('connection', (socket) => this.#serve(socket));
  }

  #serve(socket: Socket): void {
    const frames = new Frames();
    const from = socket.remoteAddress ?? '';
    this.#connections.add(socket);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      for (const message of frames.push(chunk))
        void this.#answer(message, from, 'tcp').then((reply) => {
          if (reply && !socket.destroyed) socket.write(framed(reply));
        });
    });
  }

  /** Never rejects. Undefined for what deserves no answer: garbage, strangers. */
  async #answer(message: Buffer, from: string, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    try {
      const asker = this.#deps.askerOf(from);
      if (!asker) return undefined;
      const query = decode(message);
      if (query.type !== 'query') return undefined;
      const verdict = decide(query, asker, this.#deps.names, this.#turn++);
      if ('reply' in verdict) return this.#encode(verdict.reply, transport);
      return await forward(message, verdict.forward, transport).catch(() =>
        this.#encode(replyTo(query, 'SERVFAIL'), transport),
      );
    } catch {
      return undefined;
    }
  }

  #encode(reply: Packet, transport: 'udp' | 'tcp'): Buffer {
    const whole = encode(reply);
    if (transport === 'tcp' || whole.length <= PLAIN_LIMIT) return whole;
    return encode({ ...reply, flags: (reply.flags ?? 0) | TRUNCATED, answers: [] });
  }

  async close(): Promise<void> {
    const [udp, tcp] = [this.#udp, this.#tcp];
    this.#udp = undefined;
    this.#tcp = undefined;
    for (const socket of this.#connections) socket.destroy();
    await Promise.all([
      udp && new Promise<void>((resolve) => closeQuietly(() => udp.close(resolve), resolve)),
      tcp && new Promise<void>((resolve) => tcp.close(() => resolve())),
    ]);
  }
}

/** A socket that never came up throws when closed. */
function closeQuietly(close: () => void, done: () => void): void {
  try {
    close();
  } catch {
    done();
  }
}
