/**
 * Published ports on the host. Each is held by a bound socket, so that another program, or another container, that wants
 * it gets the error it expects. What still arrives at such a socket (the firewall is off or was emptied, IPv6 clients of
 * an IPv4 container, ports kept behind the host's firewall) is passed on to the container by it.
 */
import { closeSync } from 'node:fs';
import { createSocket, type RemoteInfo, type Socket as DatagramSocket } from 'node:dgram';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { DaemonError, internal } from '../errors.ts';
import { isErrno } from '../host/ffi.ts';
import { boundSocket } from '../host/network-ffi.ts';
import { UndoStack } from '../lib/undo.ts';
import { addressBytes, bracketed } from './address.ts';
import { EPHEMERAL, hostAddresses, isDirect, type PortWish } from './ports.ts';
import type { PublishedPort } from './record.ts';

/** A holder of one port. `target` may come later than the socket. */
interface Holder {
  port: PublishedPort;
  close(): Promise<void>;
}

const CONNECT_MS = 10_000;
const DATAGRAM_IDLE_MS = 90_000;
const DATAGRAM_CLIENTS = 1024;

export interface ReservationOptions {
  /** The default address of published ports. */
  ip: string;
  ipv6: boolean;
}

const clash = (ip: string, port: number, cause?: unknown): DaemonError =>
  internal(`Bind for ${bracketed(ip)}:${port} failed: port is already allocated`, { code: 'port-in-use', cause });

export class Reservations {
  #holders = new Map<string, Holder>();
  #nextEphemeral: number = EPHEMERAL.first;
  #options: ReservationOptions;

  constructor(options: ReservationOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#holders.size;
  }

  /** Reserves all wishes or none. Rejects with code `port-in-use`. */
  async reserve(wishes: readonly PortWish[]): Promise<PublishedPort[]> {
    const undo = new UndoStack();
    const ports: PublishedPort[] = [];
    try {
      for (const wish of wishes) {
        const got = await this.#one(wish);
        undo.push('port', () => this.release(got));
        ports.push(...got);
      }
      return ports;
    } catch (error) {
      await undo.unwind(() => {});
      throw error;
    }
  }

  /** Takes up the ports of a record again; those that another program took meanwhile are returned. */
  async restore(ports: readonly PublishedPort[]): Promise<PublishedPort[]> {
    const lost: PublishedPort[] = [];
    for (const port of ports) if (!isDirect(port)) await this.#hold(port).catch(() => lost.push(port));
    return lost;
  }

  async release(ports: readonly PublishedPort[]): Promise<void> {
    await Promise.all(
      ports.map(async (port) => {
        const holder = this.#holders.get(keyOf(port));
        if (!holder) return;
        this.#holders.delete(keyOf(port));
        await holder.close();
      }),
    );
  }

  async close(): Promise<void> {
    await this.release([...this.#holders.values()].map((holder) => holder.port));
  }

  async #one(wish: PortWish): Promise<PublishedPort[]> {
    const all = hostAddresses(wish, this.#options);
    const isRouted = (address: string): boolean => wish.direct?.has(address.includes(':') ? 6 : 4) ?? false;
    const taken = await this.#take(
      wish,
      all.filter((address) => !isRouted(address)),
    );
    return all.flatMap((hostIp) => {
      const { port, protocol } = wish;
      return isRouted(hostIp)
        ? [{ port, protocol, hostIp, hostPort: 0, target: '' }]
        : taken.filter((held) => held.hostIp === hostIp);
    });
  }

  async #take(wish: PortWish, addresses: readonly string[]): Promise<PublishedPort[]> {
    if (addresses.length === 0) return [];
    const ephemeral = wish.first === 0;
    const count = ephemeral ? EPHEMERAL.last - EPHEMERAL.first + 1 : wish.last - wish.first + 1;
    let refusal: unknown;
    for (let index = 0; index < count; index++) {
      const hostPort = ephemeral ? this.#ephemeral() : wish.first + index;
      try {
        return await this.#pair(wish, addresses, hostPort);
      } catch (error) {
        if (!(error instanceof DaemonError) || error.code !== 'port-in-use') throw error;
        refusal = error;
      }
    }
    if (!ephemeral && count === 1) throw refusal;
    throw internal('all ports are allocated', { code: 'port-in-use', cause: refusal });
  }

  #ephemeral(): number {
    const port = this.#nextEphemeral;
    this.#nextEphemeral = port >= EPHEMERAL.last ? EPHEMERAL.first : port + 1;
    return port;
  }

  /** The same port on every address. */
  async #pair(wish: PortWish, addresses: readonly string[], hostPort: number): Promise<PublishedPort[]> {
    const held: PublishedPort[] = [];
    try {
      for (const hostIp of addresses) {
        const port: PublishedPort = { port: wish.port, protocol: wish.protocol, hostIp, hostPort, target: '' };
        // Where IPv6 is switched off, "every address" is every IPv4 address.
        if (await this.#hold(port, { optional: hostIp === '::' && addresses.length > 1 })) held.push(port);
      }
      return held;
    } catch (error) {
      await this.release(held);
      throw error;
    }
  }

  async #hold(port: PublishedPort, { optional = false } = {}): Promise<boolean> {
    const key = keyOf(port);
    for (const { port: other } of this.#holders.values())
      if (collides(port, other)) throw clash(port.hostIp, port.hostPort);
    // Taken in the same turn, before the socket is bound: two who ask at once cannot both have it.
    const holder: Holder = { port, close: async () => {} };
    this.#holders.set(key, holder);
    try {
      if (port.protocol === 'tcp') holder.close = await holdTcp(port);
      else if (port.protocol === 'udp') holder.close = await holdUdp(port);
      else holder.close = holdSctp(port);
    } catch (error) {
      this.#holders.delete(key);
      const code = (error as NodeJS.ErrnoException).code;
      if (optional && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL')) return false;
      if (code === 'EADDRINUSE') throw clash(port.hostIp, port.hostPort, error);
      throw internal(
        `failed to bind host port for ${bracketed(port.hostIp)}:${port.hostPort}/${port.protocol}: ${code === 'EADDRNOTAVAIL' ? 'cannot assign requested address' : (error as Error).message}`,
        { cause: error, code: 'port-unavailable' },
      );
    }
    return true;
  }
}

const keyOf = (port: PublishedPort): string => `${port.protocol}/${port.hostIp}/${port.hostPort}`;

const isAny = (ip: string): boolean => ip === '0.0.0.0' || ip === '::';

function collides(a: PublishedPort, b: PublishedPort): boolean {
  if (a.protocol !== b.protocol || a.hostPort !== b.hostPort || a.hostIp.includes(':') !== b.hostIp.includes(':'))
    return false;
  return a.hostIp === b.hostIp || isAny(a.hostIp) || isAny(b.hostIp);
}

async function holdTcp(port: PublishedPort): Promise<() => Promise<void>> {
  const open = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    if (!port.target) return void client.destroy();
    const inner = connect({ host: port.target, port: port.port, allowHalfOpen: true, noDelay: true });
    const timer = setTimeout(() => inner.destroy(), CONNECT_MS);
    inner.once('connect', () => clearTimeout(timer));
    for (const [socket, other] of [
      [client, inner],
      [inner, client],
    ] as const) {
      open.add(socket);
      socket.on('error', () => other.destroy());
      socket.once('close', () => {
        clearTimeout(timer);
        open.delete(socket);
        other.destroySoon();
      });
      socket.pipe(other);
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: port.hostIp, port: port.hostPort, ipv6Only: true, exclusive: true }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  server.on('error', () => {});
  server.unref();
  return () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of open) socket.destroy();
    });
}

/** Passes nothing on; where the kernel has no SCTP the port is held among our containers only. */
function holdSctp(port: PublishedPort): () => Promise<void> {
  try {
    const fd = boundSocket('sctp', addressBytes(port.hostIp), port.hostPort);
    return async () => closeSync(fd);
  } catch (error) {
    if (!isErrno(error, 'EPROTONOSUPPORT', 'ESOCKTNOSUPPORT')) throw error;
    return async () => {};
  }
}

async function holdUdp(port: PublishedPort): Promise<() => Promise<void>> {
  const outer = createSocket({
    type: port.hostIp.includes(':') ? 'udp6' : 'udp4',
    ipv6Only: port.hostIp.includes(':'),
  });
  const clients = new Map<string, { inner: DatagramSocket; timer: NodeJS.Timeout }>();
  const drop = (key: string): void => {
    const client = clients.get(key);
    if (!client) return;
    clients.delete(key);
    clearTimeout(client.timer);
    client.inner.close();
  };
  const clientFor = (from: RemoteInfo): DatagramSocket | undefined => {
    const key = `${from.address}/${from.port}`;
    const known = clients.get(key);
    if (known) return (known.timer.refresh(), known.inner);
    if (clients.size >= DATAGRAM_CLIENTS) return undefined;
    const inner = createSocket(port.target.includes(':') ? 'udp6' : 'udp4');
    inner.on('message', (message) => outer.send(message, from.port, from.address, () => {}));
    inner.on('error', () => drop(key));
    inner.unref();
    clients.set(key, { inner, timer: setTimeout(() => drop(key), DATAGRAM_IDLE_MS).unref() });
    return inner;
  };
  await new Promise<void>((resolve, reject) => {
    outer.once('error', reject);
    outer.bind({ address: port.hostIp, port: port.hostPort, exclusive: true }, () => {
      outer.off('error', reject);
      resolve();
    });
  });
  outer.on('error', () => {});
  outer.on('message', (message, from) => {
    if (port.target) clientFor(from)?.send(message, port.port, port.target, () => {});
  });
  outer.unref();
  return () =>
    new Promise((resolve) => {
      for (const key of [...clients.keys()]) drop(key);
      outer.close(() => resolve());
    });
}
