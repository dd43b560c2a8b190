/**
 * `reactord ui`: serves the visualizer's page on loopback, behind a one-time token, and passes its reads on to the daemon's socket. Who may use the
 * socket may look; the daemon itself exposes nothing.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { notFound } from '../errors.ts';
import { bundled } from '../lib/worker-file.ts';
import { DaemonClient, socketOf } from './client.ts';

const TYPES: Record<string, string> = { html: 'text/html; charset=utf-8', js: 'text/javascript', css: 'text/css' };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; worker-src 'self' blob:";
const COOKIE = 'reactord-ui';

/** What the page may read; everything else is refused, whatever the method. */
const READS = [/^\/reactord\/(actors|facts|feed|reach)/, /^\/containers\/json/, /^\/(version|info|_ping)$/];

const pageDirectory = (): string => fileURLToPath(new URL(bundled ? './ui/' : '../../dist/ui/', import.meta.url));

function page(): Map<string, { type: string; body: Buffer }> {
  const directory = pageDirectory();
  const files = ['index.html', 'page.js', 'page.css', 'panels.css', 'drawing.css'];
  if (!existsSync(join(directory, 'index.html'))) throw notFound('the page is not built: run bin/bundle');
  return new Map(
    files.map((name) => [`/${name}`, { type: TYPES[name.split('.')[1]!]!, body: readFileSync(join(directory, name)) }]),
  );
}

const equal = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

const cookieOf = (call: IncomingMessage): string =>
  (call.headers.cookie ?? '')
    .split('; ')
    .find((pair) => pair.startsWith(`${COOKIE}=`))
    ?.slice(COOKIE.length + 1) ?? '';

/** Streams one read from the daemon to the page. */
function proxy(socketPath: string, call: IncomingMessage, answer: ServerResponse): void {
  const upstream = request(
    { socketPath, path: call.url!.replace(/^\/api/, ''), method: 'GET', agent: false },
    (reply) => {
      answer.writeHead(reply.statusCode ?? 502, {
        'content-type': reply.headers['content-type'] ?? 'application/json',
        'cache-control': 'no-store',
      });
      reply.pipe(answer);
      reply.on('error', () => answer.destroy());
    },
  );
  upstream.on('error', (error) => {
    if (!answer.headersSent) answer.writeHead(502, { 'content-type': 'application/json' });
    answer.end(JSON.stringify({ message: `the daemon cannot be reached: ${error.message}` }));
  });
  answer.on('close', () => upstream.destroy());
  upstream.end();
}

export interface UiServer {
  /** Address with the one-time token. */
  url: string;
  close(): void;
}

export function serveUi(socketPath: string, port: number): Promise<UiServer> {
  const files = page();
  let token: string | undefined = randomBytes(24).toString('base64url');
  const session = randomBytes(24).toString('base64url');
  const server = createServer((call, answer) => {
    const url = new URL(call.url ?? '/', 'http://localhost');
    const refuse = (status: number, text: string): void => {
      answer.writeHead(status, { 'content-type': 'text/plain' });
      answer.end(`${text}\n`);
    };
    // Another site's page in the same browser must not read through us by rebinding a name to loopback.
    if (!/^(127\.0\.0\.1|localhost|\[::1\]):\d+$/.test(call.headers.host ?? '')) return refuse(403, 'wrong host');
    if (call.method !== 'GET') return refuse(405, 'this view is read-only');
    const given = url.searchParams.get('token');
    if (given && token && equal(given, token)) {
      token = undefined;
      answer.writeHead(303, { location: '/', 'set-cookie': `${COOKIE}=${session}; HttpOnly; SameSite=Strict; Path=/` });
      return answer.end();
    }
    if (!equal(cookieOf(call), session))
      return refuse(403, 'open the address that `reactord ui` printed; its token works once');
    if (url.pathname.startsWith('/api/')) {
      const path = url.pathname.slice('/api'.length);
      return READS.some((read) => read.test(path))
        ? proxy(socketPath, call, answer)
        : refuse(403, 'not a read of the visualizer');
    }
    const file = files.get(url.pathname === '/' ? '/index.html' : url.pathname);
    if (!file) return refuse(404, 'no such page');
    answer.writeHead(200, {
      'content-type': file.type,
      'content-security-policy': POLICY,
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-cache',
    });
    answer.end(file.body);
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(port, '127.0.0.1', () => {
      const { port: bound } = server.address() as AddressInfo;
      resolve({
        url: `http://127.0.0.1:${bound}/?token=${token}`,
        close: () => {
          server.close();
          server.closeAllConnections();
        },
      });
    });
  });
}

export async function ui(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: { host: { type: 'string', short: 'H' }, port: { type: 'string', default: '0' } },
  });
  const client = new DaemonClient(socketOf(values.host));
  // A clear word now, rather than an empty page later.
  await client.get('/version');
  const server = await serveUi(client.socket, Number(values.port));
  process.stdout.write(`${server.url}\n`);
  await new Promise<void>((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
  server.close();
  return 0;
}
