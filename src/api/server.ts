/** The sockets that the API answers on: unix, inherited (fd://), and TCP. */
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import { invalid } from '../errors.ts';
import { endGently, upgrades } from './connection.ts';
import { isForeign, isLoopback, refuseForeign } from './foreign.ts';
import type { Api } from './context.ts';
import { tlsOptions } from './tls.ts';
import { listenUnix } from './unix-socket.ts';
import { routePath } from './versions.ts';

export interface ListenOptions {
  config: Pick<Config, 'hosts' | 'group' | 'tls' | 'tlsVerify' | 'tlsCaCert' | 'tlsCert' | 'tlsKey'>;
  app: Api;
  log: Logger;
  /** Takes connections that begin with HTTP/2's preface (BuildKit clients), paused; without it they are refused. */
  onHttp2?: (socket: Duplex, head: Buffer) => void;
}

export interface Listening {
  /** Where it listens, as unix:///path, tcp://host:port, fd://n. */
  addresses: string[];
  /** Takes no more connections, waits for answers under way up to `graceMs` (a second unless told), then cuts what is left. */
  close(graceMs?: number): Promise<void>;
}

/** Time for the whole head of a request: against clients that send it byte by byte. Bodies and streams take what they take. */
const HEADERS_MS = 30_000;
/** Go clients keep connections for reuse; one that is closed under a request would look like an error to them. */
const KEEP_ALIVE_MS = 10 * 60_000;
/** Registry credentials come in headers. */
const LARGEST_HEAD = 256 << 10;
/** What is kept for a client that does not read, beside the one chunk that was too much: there may be thousands of them. */
const UNSENT = 16 << 10;
const CLOSE_GRACE_MS = 1000;
const MOST_CONNECTIONS = 16_384;
const FIRST_INHERITED_FD = 3;

/** Listens on every host of the configuration, or on none: what was opened is closed when one fails. */
export async function listen(options: ListenOptions): Promise<Listening> {
  const opened: Opened[] = [];
  const close = async (graceMs = CLOSE_GRACE_MS): Promise<void> => {
    await Promise.all(opened.map((one) => closeServer(one, graceMs)));
  };
  try {
    for (const host of options.config.hosts)
      for (const target of targetsOf(host)) opened.push(await open(target, options));
  } catch (error) {
    await close(0);
    throw error;
  }
  return { addresses: opened.map(({ address }) => address), close };
}

type Target = { kind: 'unix'; path: string } | { kind: 'fd'; fd: number } | { kind: 'tcp'; host: string; port: number };

interface Opened {
  server: Server;
  address: string;
  /** Connections that HTTP let go of; the server no longer counts them. */
  taken: Set<Duplex>;
}

export function targetsOf(host: string): Target[] {
  const [, scheme, rest] = /^([a-z]+):\/\/(.*)$/.exec(host) ?? [];
  if (scheme === 'unix' && rest?.startsWith('/')) return [{ kind: 'unix', path: rest }];
  if (scheme === 'fd') return inheritedFds(rest ?? '').map((fd) => ({ kind: 'fd', fd }));
  if (scheme === 'tcp') {
    const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:/]*)):(\d{1,5})$/.exec(rest ?? '') ?? [];
    const number = Number(port);
    if (port !== undefined && number <= 65535)
      return [{ kind: 'tcp', host: bracketed ?? (plain || '127.0.0.1'), port: number }];
  }
  throw invalid(`invalid host ${host}: use unix:///path, tcp://host:port or fd://`);
}

/** Sockets handed over by a service manager, as sd_listen_fds(3) says. */
function inheritedFds(which: string): number[] {
  const count = process.env.LISTEN_PID === String(process.pid) ? Number(process.env.LISTEN_FDS ?? 0) : 0;
  const all = Array.from({ length: count }, (_, index) => FIRST_INHERITED_FD + index);
  const names = (process.env.LISTEN_FDNAMES ?? '').split(':');
  const chosen =
    which === '' || which === '*' ? all : all.filter((fd, index) => which === String(fd) || which === names[index]);
  if (!chosen.length) throw invalid(`no sockets were handed over for fd://${which}`);
  return chosen;
}

async function open(target: Target, options: ListenOptions): Promise<Opened> {
  const secure = target.kind === 'tcp' ? tlsOptions(options.config) : undefined;
  if (target.kind === 'tcp' && !secure) {
    if (!isLoopback(target.host))
      throw invalid(
        `refusing to listen on tcp://${target.host} without TLS: whoever reaches it is root; use --tlsverify`,
      );
    options.log.warn(
      { host: target.host, port: target.port },
      'listening without TLS: every local user can become root',
    );
  }
  const taken = new Set<Duplex>();
  const server = makeServer(options, { secure, guarded: target.kind === 'tcp' && !secure }, taken);
  if (target.kind === 'unix') await listenUnix(server, target.path, options.config.group, options.log);
  else
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(target.kind === 'fd' ? { fd: target.fd } : { host: target.host, port: target.port }, () => {
        server.off('error', reject);
        resolve();
      });
    });
  server.on('error', (error) => options.log.error({ err: error }, 'a listener failed'));
  return { server, taken, address: addressOf(target, server) };
}

function addressOf(target: Target, server: Server): string {
  if (target.kind === 'unix') return `unix://${target.path}`;
  if (target.kind === 'fd') return `fd://${target.fd}`;
  const bound = server.address();
  const port = typeof bound === 'object' && bound ? bound.port : target.port;
  return `tcp://${target.host.includes(':') ? `[${target.host}]` : target.host}:${port}`;
}

/** Addresses that take connections over. Others with an Upgrade header (Java's clients offer h2c everywhere) stay plain HTTP. */
const TAKES_OVER = /^\/(?:containers\/.+\/attach|exec\/.+\/start|session|grpc)$/;

function upgradeWanted(incoming: IncomingMessage): boolean {
  const protocol = incoming.headers.upgrade?.toLowerCase();
  if (protocol === 'websocket') return true;
  return TAKES_OVER.test(routePath({ url: `http://localhost${incoming.url ?? '/'}` } as Request));
}

interface Access {
  secure: ReturnType<typeof tlsOptions>;
  /** Nobody is asked who he is. */
  guarded: boolean;
}

function makeServer(options: ListenOptions, { secure, guarded }: Access, taken: Set<Duplex>): Server {
  const { app, log } = options;
  const handle = getRequestListener((request, env) => app.fetch(request, env as HttpBindings), {
    // Docker's clients send an empty Host when they ask to take the connection over.
    hostname: 'localhost',
    errorHandler: (error) => {
      log.warn({ err: error }, 'a request could not be read');
      return Response.json({ message: error instanceof Error ? error.message : 'bad request' }, { status: 400 });
    },
  });
  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    if (guarded && isForeign(incoming)) refuseForeign(outgoing);
    else await handle(incoming, outgoing);
  };
  const settings = {
    ...secure,
    maxHeaderSize: LARGEST_HEAD,
    headersTimeout: HEADERS_MS,
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: 5000,
    noDelay: true,
    highWaterMark: UNSENT,
    shouldUpgradeCallback: upgradeWanted,
  };
  const server: Server = secure ? createTlsServer(settings, answer) : createServer(settings, answer);
  server.maxConnections = MOST_CONNECTIONS;
  server.on('upgrade', (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => {});
    taken.add(socket);
    socket.once('close', () => taken.delete(socket));
    upgrades.set(incoming, { socket, head });
    // An answer that takes nothing over (an error, say) goes out as usual, and ends the connection.
    const outgoing = new ServerResponse(incoming);
    outgoing.shouldKeepAlive = false;
    outgoing.assignSocket(socket);
    outgoing.once('finish', () => {
      outgoing.detachSocket(socket);
      endGently(socket);
    });
    void answer(incoming, outgoing);
  });
  server.on('clientError', (error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket) =>
    refuseBytes(error, socket, options, taken),
  );
  return server;
}

function refuseBytes(
  error: NodeJS.ErrnoException & { rawPacket?: Buffer },
  socket: Duplex,
  { onHttp2 }: ListenOptions,
  taken: Set<Duplex>,
): void {
  if (error.code === 'HPE_PAUSED_H2_UPGRADE' && onHttp2 && error.rawPacket) {
    taken.add(socket);
    socket.once('close', () => taken.delete(socket));
    // HTTP/1's own listeners would stop the reading when the stream pauses; a flowing one would drop what is put back.
    for (const event of ['data', 'end', 'drain', 'timeout', 'pause', 'resume']) socket.removeAllListeners(event);
    socket.pause();
    onHttp2(socket, error.rawPacket);
    return;
  }
  // `_httpMessage`: an answer is under way on it, and ours would land in its middle.
  const busy = (socket as { _httpMessage?: { headersSent: boolean } })._httpMessage?.headersSent;
  if (error.code === 'ECONNRESET' || !socket.writable || busy) return void socket.destroy();
  const status =
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? '408 Request Timeout'
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? '431 Request Header Fields Too Large'
        : '400 Bad Request';
  const body = JSON.stringify({ message: status.slice(4).toLowerCase() });
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

async function closeServer({ server, taken }: Opened, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => {
    server.closeAllConnections();
    for (const socket of taken) socket.destroy();
  }, graceMs);
  await closed;
  clearTimeout(timer);
}
