/** What could slip past an authorization plugin: odd bodies, odd paths, other protocols, second requests of one connection. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { hijack, jsonBody, jsonStream, RAW_STREAM } from '../../src/api/kit.ts';
import { eventually } from '../support/eventually.ts';
import { rawClient, type Served, serve, testApp } from './api-support.ts';

let plugin: Server;
let directory: string;
let socket: string;
let served: Served;
let seen: { method: string; uri: string; body: string | undefined }[];
let handled: unknown[];
let answers: { uri: string; status: number; type: string | undefined }[];

/** Answers about secrets are held back. */
function judgeAnswer(asked: Record<string, any>): object {
  const { RequestUri: uri, ResponseStatusCode: status, ResponseHeaders } = asked;
  answers.push({ uri, status, type: ResponseHeaders['Content-Type'] });
  return { Allow: !uri.includes('secret') || status >= 400, Msg: 'secret' };
}

/** Requests that would start something privileged are refused; all others pass. */
function judge(asked: Record<string, string>): object {
  const body = asked.RequestBody && Buffer.from(asked.RequestBody, 'base64').toString();
  seen.push({ method: asked.RequestMethod!, uri: asked.RequestUri!, body });
  return { Allow: !body?.includes('Privileged'), Msg: 'privileged' };
}

beforeEach(async () => {
  seen = [];
  handled = [];
  answers = [];
  plugin = createServer((request, answer) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const asked = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, string>;
      answer.end(JSON.stringify((request.url!.endsWith('Req') ? judge : judgeAnswer)(asked)));
    });
  });
  directory = mkdtempSync(join(tmpdir(), 'reactord-authz-'));
  socket = join(directory, 'plugin.sock');
  await new Promise<void>((resolve) => plugin.listen(socket, resolve));
  const app = testApp(
    (api) => {
      api.post('/containers/create', async (c) => {
        handled.push(await jsonBody(c));
        return c.json({ Id: 'x' }, 201);
      });
      api.post('/exec/:id/start', async (c) => {
        handled.push(await jsonBody(c, undefined, { optional: true }));
        return c.body(null, 200);
      });
      api.get('/:name/stream', (c) => {
        const { name } = c.req.param();
        async function* source() {
          handled.push(name);
          yield { line: 1 };
        }
        return jsonStream(c, source());
      });
      api.post('/containers/:name/attach', (c) => {
        const { name } = c.req.param();
        const refused = (): void => void handled.push(`${name} held back`);
        return hijack(c, { contentType: RAW_STREAM, refused }, async (connection) => {
          handled.push(name);
          connection.end('words');
        });
      });
    },
    { authorizationPlugins: [socket] },
  );
  served = await serve(app);
});
afterEach(async () => {
  await served.stop();
  plugin.closeAllConnections();
  await new Promise((resolve) => plugin.close(resolve));
  rmSync(directory, { recursive: true });
});

const JSON_TYPE = 'Content-Type: application/json';
const request = (target: string, headers: string[], body: string | Buffer): Buffer =>
  Buffer.concat([
    Buffer.from([`POST ${target} HTTP/1.1`, 'Host: x', ...headers, '', ''].join('\r\n')),
    Buffer.from(body),
  ]);
const sized = (body: string | Buffer): string => `Content-Length: ${Buffer.byteLength(body)}`;
const evil = '{"HostConfig":{"Privileged":true}}';

/** The status of each answer, when there are so many or the server hung up. */
async function statusOf(parts: Buffer[]): Promise<string[]> {
  const client = rawClient(served.path, ...parts);
  const statuses = (): string[] => [...client.text().matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1]!);
  let hungUp = false;
  void client.ended.then(() => (hungUp = true));
  await eventually(() => hungUp || statuses().length >= parts.length);
  client.socket.destroy();
  return statuses();
}

const CREATE = '/v1.51/containers/create';
const chunked = `${evil.length.toString(16)}\r\n${evil}\r\n0\r\n\r\n`;
const large = JSON.stringify({ pad: 'x'.repeat(2 << 20), HostConfig: { Privileged: true } });

test.each<[string, Buffer]>([
  ['plainly', request(CREATE, [JSON_TYPE, sized(evil)], evil)],
  ['in chunks', request(CREATE, [JSON_TYPE, 'Transfer-Encoding: chunked'], chunked)],
  ['larger than is shown', request(CREATE, [JSON_TYPE, sized(large)], large)],
  [
    'larger than is shown, in chunks',
    request(CREATE, [JSON_TYPE, 'Transfer-Encoding: chunked'], `${large.length.toString(16)}\r\n${large}\r\n0\r\n\r\n`),
  ],
  ['in capitals', request(CREATE, ['Content-Type: APPLICATION/JSON', sized(evil)], evil)],
  ['with a charset', request(CREATE, ['Content-Type: application/json;charset=utf-8', sized(evil)], evil)],
  ['as text', request(CREATE, ['Content-Type: text/plain', sized(evil)], evil)],
  ['without a type', request(CREATE, [sized(evil)], evil)],
  ['with two types', request(CREATE, ['Content-Type: text/plain', JSON_TYPE, sized(evil)], evil)],
  ['with two types, the other way', request(CREATE, [JSON_TYPE, 'Content-Type: text/plain', sized(evil)], evil)],
  ['with a type like JSON', request(CREATE, ['Content-Type: application/json5', sized(evil)], evil)],
  ['compressed', request(CREATE, [JSON_TYPE, 'Content-Encoding: gzip', sized(gzipSync(evil))], gzipSync(evil))],
  ['as a form', request(CREATE, ['Content-Type: application/x-www-form-urlencoded', sized(evil)], evil)],
  ['after a document', request(CREATE, [JSON_TYPE, sized(`{}${evil}`)], `{}${evil}`)],
  ['with a length that lies', request(CREATE, [JSON_TYPE, 'Content-Length: 2', 'Transfer-Encoding: chunked'], chunked)],
  ['with double slashes', request('//v1.51//containers//create', [JSON_TYPE, sized(evil)], evil)],
  ['with dots', request('/v1.51/images/../containers/create', [JSON_TYPE, sized(evil)], evil)],
  ['with an encoded path', request('/v1.51/%63ontainers/create', [JSON_TYPE, sized(evil)], evil)],
  ['without a version', request('/containers/create', [JSON_TYPE, sized(evil)], evil)],
  ['with another host', request(`http://evil${CREATE}`, [JSON_TYPE, sized(evil)], evil)],
  ['with an Upgrade', request(CREATE, [JSON_TYPE, 'Connection: Upgrade', 'Upgrade: tcp', sized(evil)], evil)],
  ['where the body is optional', request('/exec/x/start', [sized(evil)], evil)],
  [
    'where the body is optional, to be taken over',
    request('/exec/x/start', ['Connection: Upgrade', 'Upgrade: tcp', JSON_TYPE, sized(evil)], evil),
  ],
])('a privileged body sent %s is not handled unseen (CVE-2024-41110, CVE-2026-34040)', async (_, bytes) => {
  const [status] = await statusOf([bytes]);
  expect(Number(status ?? 400)).toBeGreaterThanOrEqual(400);
  expect(handled).toEqual([]);
});

test('the second request of a connection is judged like the first (CVE-2024-41110)', async () => {
  const good = request(CREATE, [JSON_TYPE, sized('{}')], '{}');
  const bad = request(CREATE, [JSON_TYPE, sized(evil)], evil);
  expect(await statusOf([good, bad, good])).toEqual(['201', '403', '201']);
  expect(handled).toEqual([{}, {}]);
});

test('what is handled is byte for byte what was shown', async () => {
  const body = '{"Image":"a\\u0000\\ud800","Image":"b", "é":1e400}';
  await statusOf([request(CREATE, [JSON_TYPE, sized(body)], body)]);
  expect(seen.map((one) => one.body)).toEqual([body]);
  expect(handled).toEqual([JSON.parse(body)]);
});

test('an answer that goes out piece by piece, or takes the connection over, is judged before its first byte', async () => {
  const get = (path: string): Buffer => Buffer.from(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
  expect(await statusOf([get('/open/stream'), get('/secret/stream')])).toEqual(['200', '403']);
  const upgrade = ['Connection: Upgrade', 'Upgrade: tcp', 'Content-Length: 0'];
  for (const headers of [[], upgrade]) {
    expect(await statusOf([request('/containers/open/attach', headers, '')])).toEqual([headers.length ? '101' : '200']);
    expect(await statusOf([request('/containers/secret/attach', headers, '')])).toEqual(['403']);
  }
  expect(handled).toEqual(['open', 'open', 'secret held back', 'open', 'secret held back']);
  expect(answers.filter(({ status }) => status < 400)).toEqual([
    { uri: '/open/stream', status: 200, type: 'application/json' },
    { uri: '/secret/stream', status: 200, type: 'application/json' },
    { uri: '/containers/open/attach', status: 200, type: RAW_STREAM },
    { uri: '/containers/secret/attach', status: 200, type: RAW_STREAM },
    { uri: '/containers/open/attach', status: 101, type: RAW_STREAM },
    { uri: '/containers/secret/attach', status: 101, type: RAW_STREAM },
  ]);
});

test('connections that begin with HTTP/2 are refused where nobody could judge them', async () => {
  const client = rawClient(served.path, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  expect(await client.ended).toMatch(/^HTTP\/1\.1 400 |^$/);
  expect(seen).toEqual([]);
});
