/** Asks the servers of the host on behalf of a container, over the transport it used itself. Bytes pass unread. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { deadlineExceeded, unavailable } from '../../errors.ts';

/** For each server; then the next one is asked. */
const SERVER_MS = 4_000;
/** Queries on their way at once, as dockerd has it: a storm must not eat the daemon's descriptors. */
const AT_ONCE = 1024;

let pending = 0;

const withId = (query: Buffer, id: number): Buffer => {
  const copy = Buffer.from(query);
  copy.writeUInt16BE(id, 0);
  return copy;
};

export async function forward(query: Buffer, servers: readonly string[], transport: 'udp' | 'tcp'): Promise<Buffer> {
  if (pending >= AT_ONCE) throw unavailable('too many DNS queries wait for an answer');
  pending++;
  try {
    let failure: unknown = unavailable('no DNS server is configured');
    // Three, as resolvers do.
    for (const server of servers.slice(0, 3)) {
      try {
        return await (transport === 'udp' ? askUdp(query, server) : askTcp(query, server));
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  } finally {
    pending--;
  }
}

/** A socket and a random id for each query, so that nobody can guess what to forge. */
function askUdp(query: Buffer, server: string): Promise<Buffer> {
  const id = randomInt(65_536);
  return new Promise((resolve, reject) => {
    const socket = createSocket(server.includes(':') ? 'udp6' : 'udp4');
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      socket.close();
      settle();
    };
    const timer = setTimeout(() => end(() => reject(deadlineExceeded(`${server} did not answer`))), SERVER_MS);
    socket.once('error', (error) => end(() => reject(error)));
    socket.on('message', (message) => {
      if (message.length >= 12 && message.readUInt16BE(0) === id)
        end(() => resolve(withId(message, query.readUInt16BE(0))));
    });
    socket.connect(53, server, () => socket.send(withId(query, id)));
  });
}

function askTcp(query: Buffer, server: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server, port: 53 });
    const frames = new Frames();
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    const timer = setTimeout(() => end(() => reject(deadlineExceeded(`${server} did not answer`))), SERVER_MS);
    socket.on('error', (error) => end(() => reject(error)));
    socket.on('close', () => end(() => reject(unavailable(`${server} closed the connection`))));
    socket.on('data', (chunk: Buffer) => {
      const [answer] = frames.push(chunk);
      if (answer) end(() => resolve(answer));
    });
    socket.write(framed(query));
  });
}

/** DNS over TCP: two bytes of length before each message (RFC 1035, 4.2.2). */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

export class Frames {
  #rest: Buffer = Buffer.alloc(0);

  /** The messages that became whole. At most 64 KiB wait, which is a message's greatest length. */
  push(chunk: Buffer): Buffer[] {
    this.#rest = this.#rest.length ? Buffer.concat([this.#rest, chunk]) : chunk;
    const messages: Buffer[] = [];
    while (this.#rest.length >= 2) {
      const length = this.#rest.readUInt16BE(0);
      if (this.#rest.length < 2 + length) break;
      messages.push(this.#rest.subarray(2, 2 + length));
      this.#rest = this.#rest.subarray(2 + length);
    }
    return messages;
  }
}
