/** The API as one function from requests to answers; it knows no sockets (server.ts has them). */
import { Hono, type MiddlewareHandler } from 'hono';
import type { Logger } from 'pino';
import type { Bus } from '../bus/bus.ts';
import { causedBy } from '../bus/cause.ts';
import type { Config } from '../config/config.ts';
import { DaemonError, unavailable } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Room } from '../reactor/room.ts';
import type { Reactor } from '../reactor/reactor.ts';
import type { Store } from '../store/port.ts';
import { authorization } from './authz.ts';
import { leavers, outgoingOf, requestKey, setHeader } from './connection.ts';
import type { Api, ApiContext, ApiEnv } from './context.ts';
import { eventRoutes } from './routes/events.ts';
import { pluginRoutes } from './routes/plugins.ts';
import { swarmRoutes } from './routes/swarm.ts';
import { type SystemInfo, systemRoutes } from './routes/system.ts';
import { httpStatus } from './status.ts';
import { API_VERSION, checkVersion, requestedVersion, routePath } from './versions.ts';

export interface AppParts {
  config: Config;
  log: Logger;
  bus: Bus;
  store: Store;
  clock: Clock;
  reactor: Reactor;
  rooms: readonly Pick<Room, 'routes'>[];
  system: SystemInfo;
  /** Resolves when images, volumes and networks are known again: until then nobody is told that they are not there. */
  ready?: Promise<void>;
  /** Aborted when the daemon stops: who asks is answered yet, but nothing is begun any more. */
  stopping?: AbortSignal;
}

/** What is answered from the first moment on. */
const ALWAYS = /^\/(_ping|version|info|events|reactord\/)/;

function whenReady(ready: Promise<void>, stopping: AbortSignal | undefined): MiddlewareHandler<ApiEnv> {
  let now = false;
  ready.then(
    () => (now = true),
    () => {},
  );
  return async (c, next) => {
    if (!now && !ALWAYS.test(c.req.path)) await ready;
    if (stopping?.aborted && c.req.method !== 'GET' && c.req.method !== 'HEAD')
      throw unavailable('the daemon is stopping');
    await next();
  };
}

export function createApp(parts: AppParts): Api {
  const api: Api = new Hono<ApiEnv>({ getPath: routePath });
  api.onError((error, c) => refuse(c, error, parts.log));
  api.notFound((c) => c.json({ message: 'page not found' }, 404));
  api.use(request(parts));
  if (parts.ready) api.use(whenReady(parts.ready, parts.stopping));
  if (parts.config.authorizationPlugins.length) api.use(authorization(parts.config.authorizationPlugins));
  systemRoutes(api, parts);
  eventRoutes(api, parts);
  swarmRoutes(api);
  pluginRoutes(api);
  for (const room of parts.rooms) room.routes?.(api);
  return api;
}

function refuse(c: ApiContext, error: Error, log: Logger): Response {
  if (!(error instanceof DaemonError)) {
    log.error({ err: error, method: c.req.method, path: c.req.path }, 'a request failed by our fault');
    return c.json({ message: error.message || 'internal error' }, 500);
  }
  const status = httpStatus(error);
  if (status === 304) return c.body(null, 304);
  if (status === 500) log.warn({ err: error, method: c.req.method, path: c.req.path }, 'a request failed');
  return c.json({ message: error.message }, status);
}

/** HEAD exists only where a client asks for it; hono would answer it wherever there is GET. */
const HEAD_PATHS = /^\/_ping$|^\/containers\/.+\/archive$/;

/** What every request needs: the common headers, its version, the client's absence, and a fact when it is a command. */
function request({ bus, clock, log, system }: AppParts): MiddlewareHandler<ApiEnv> {
  const server = `reactord/${system.version} (linux)`;
  return async (c, next) => {
    commonHeaders(c, server);
    const version = requestedVersion(c.req.url);
    c.set('apiVersion', version === undefined ? API_VERSION : checkVersion(version));
    c.set('gone', goneSignal(c));
    c.set('log', log);
    c.set('command', 0);
    const { method } = c.req;
    if (method === 'GET') return next();
    if (method === 'HEAD') return HEAD_PATHS.test(c.req.path) ? next() : c.notFound();
    // Only the path: queries and bodies may hold secrets (build arguments, credentials).
    const { path } = c.req;
    const startedAt = clock.now();
    const { seq } = bus.publish({ topic: 'command', type: 'api', action: 'accept', id: path, data: { method, path } });
    c.set('command', seq);
    await causedBy({ seq, request: seq }, next);
    const status = c.res.headers.has('x-hono-already-sent') ? 200 : c.res.status;
    bus.publish({
      topic: 'command',
      type: 'api',
      action: status < 400 ? 'answer' : 'refuse',
      id: path,
      data: { method, path, status, ms: clock.now() - startedAt },
      cause: seq,
    });
  };
}

function commonHeaders(c: ApiContext, server: string): void {
  setHeader(c, 'Api-Version', API_VERSION);
  setHeader(c, 'Ostype', 'linux');
  setHeader(c, 'Server', server);
}

function goneSignal(c: ApiContext): AbortSignal {
  const controller = new AbortController();
  const outgoing = outgoingOf(c);
  if (!outgoing) leavers.set(requestKey(c), () => controller.abort());
  outgoing?.once('close', () => {
    if (!outgoing.writableFinished) controller.abort();
  });
  return controller.signal;
}
