/**
 * Authorization plugins: each is asked before a request is handled and before its answer goes out. A plugin sees the very
 * bytes that the handler will read; a body too large to show is refused, not skipped (CVE-2024-41110, CVE-2026-34040).
 * Protocol: https://docs.docker.com/engine/extend/plugins_authorization/
 */
import { request as httpRequest } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { MiddlewareHandler } from 'hono';
import { forbidden, internal, invalid } from '../errors.ts';
import { withDeadline } from '../lib/deadline.ts';
import { readBody } from './body.ts';
import { capturedBodies, incomingOf, permits, requestKey } from './connection.ts';
import type { ApiContext, ApiEnv } from './context.ts';

const SOCKETS = '/run/docker/plugins';
const ASK_MS = 10_000;
const LARGEST_BODY = 1 << 20;
const LARGEST_ANSWER = 1 << 20;
const MEDIA_TYPE = 'application/vnd.docker.plugins.v1.1+json';
/** Credentials that no plugin is shown. */
const SECRET_HEADERS = new Set(['x-registry-auth', 'x-registry-config']);

interface Verdict {
  Allow?: boolean;
  Msg?: string;
  Err?: string;
}

/** Plugins by name (a socket of the plugin directory) or by the socket's absolute path. */
export function authorization(plugins: readonly string[]): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const asked = await describeRequest(c);
    for (const plugin of plugins) judge(plugin, await ask(plugin, 'AuthZPlugin.AuthZReq', asked, c.get('gone')));
    // The last plugin to see the request is the first to see its answer.
    const judgeAnswer = async (answer: object): Promise<void> => {
      for (const plugin of plugins.toReversed())
        judge(plugin, await ask(plugin, 'AuthZPlugin.AuthZRes', { ...asked, ...answer }, c.get('gone')));
    };
    permits.set(requestKey(c), (status, type) =>
      judgeAnswer({ ResponseStatusCode: status, ResponseHeaders: { 'Content-Type': type } }),
    );
    await next();
    // Streams and taken connections were judged before they began.
    if (c.res.headers.has('x-hono-already-sent')) return;
    await judgeAnswer(await describeResponse(c));
  };
}

async function describeRequest(c: ApiContext): Promise<Record<string, unknown>> {
  const url = new URL(c.req.url);
  const socket = incomingOf(c)?.socket as Partial<TLSSocket> | undefined;
  const user = socket?.getPeerCertificate?.()?.subject?.CN;
  const shown: Record<string, unknown> = {
    User: user ? String(user) : '',
    UserAuthNMethod: user ? 'TLS' : '',
    RequestMethod: c.req.method,
    RequestUri: url.pathname + url.search,
    RequestHeaders: headersOf(c.req.raw.headers),
  };
  const isJson = (c.req.header('content-type') ?? '').toLowerCase().startsWith('application/json');
  // /auth carries a password.
  if (!isJson || c.req.path === '/auth') return shown;
  const body = await readBody(c, LARGEST_BODY);
  if (!body)
    throw invalid(`request body is larger than the ${LARGEST_BODY} bytes that authorization plugins can be shown`);
  capturedBodies.set(requestKey(c), body);
  return { ...shown, RequestBody: body.toString('base64') };
}

async function describeResponse(c: ApiContext): Promise<Record<string, unknown>> {
  const isJson = (c.res.headers.get('content-type') ?? '').startsWith('application/json');
  const body = isJson ? Buffer.from(await c.res.clone().arrayBuffer()) : undefined;
  return {
    ResponseStatusCode: c.res.status,
    ResponseHeaders: headersOf(c.res.headers),
    ...(body ? { ResponseBody: body.toString('base64') } : {}),
  };
}

function headersOf(headers: Headers): Record<string, string> {
  const shown: Record<string, string> = {};
  headers.forEach((value, name) => {
    if (!SECRET_HEADERS.has(name)) shown[name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase())] = value;
  });
  return shown;
}

function judge(plugin: string, verdict: Verdict): void {
  if (verdict.Err) throw internal(`plugin ${plugin} failed with error: ${verdict.Err}`, { code: 'authorization' });
  if (verdict.Allow !== true)
    throw forbidden(`authorization denied by plugin ${plugin}: ${verdict.Msg ?? ''}`, { code: 'authorization' });
}

/** A plugin that cannot be asked has not allowed anything. */
async function ask(plugin: string, call: string, body: object, gone: AbortSignal): Promise<Verdict> {
  const socketPath = plugin.startsWith('/') ? plugin : `${SOCKETS}/${plugin}.sock`;
  try {
    const text = await withDeadline(`plugin ${plugin}`, ASK_MS, gone, (signal) => post(socketPath, call, body, signal));
    return JSON.parse(text) as Verdict;
  } catch (error) {
    throw internal(`plugin ${plugin} failed with error: ${(error as Error).message}`, { cause: error });
  }
}

const post = (socketPath: string, call: string, body: object, signal: AbortSignal): Promise<string> =>
  new Promise((resolve, reject) => {
    const headers = { 'Content-Type': MEDIA_TYPE, Accept: MEDIA_TYPE };
    const asking = httpRequest(
      { socketPath, path: `/${call}`, method: 'POST', headers, signal, agent: false },
      (answer) => {
        const chunks: Buffer[] = [];
        let size = 0;
        answer.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > LARGEST_ANSWER) asking.destroy(new Error('its answer is too long'));
          else chunks.push(chunk);
        });
        answer.on('error', reject);
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          if (answer.statusCode === 200) resolve(text);
          else reject(new Error(`it answered ${answer.statusCode}: ${text.slice(0, 200)}`));
        });
      },
    );
    asking.on('error', reject);
    asking.end(JSON.stringify(body));
  });
