import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { renameSync, statSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, request as httpRequest } from 'node:http';
import { createServer } from 'node:net';
import { type Duplex, Readable } from 'node:stream';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { byteStream, frame, hijack, jsonBody, jsonStream, RAW_STREAM, websocket } from '../../src/api/kit.ts';
import { listen } from '../../src/api/server.ts';
import { conflict, notFound } from '../../src/errors.ts';
import { eventually } from '../support/eventually.ts';
import { rawClient, serve, type Served, testApp } from './api-support.ts';

const opened: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) await one.stop();
});
const start = async (...args: Parameters<typeof testApp>): Promise<Served> => {
  const served = await serve(testApp(...args));
  opened.push(served);
  return served;
};

/** Reads all of a connection's input; resolves at the client's half-close. */
async function inputOf(connection: Duplex): Promise<string> {
  let text = '';
  for await (const chunk of connection.iterator({ destroyOnReturn: false })) text += String(chunk);
  return text;
}

const UPGRADE = 'Connection: Upgrade\r\nUpgrade: tcp\r\n';
const head = (line: string, ...headers: string[]): string =>
  [`${line} HTTP/1.1`, 'Host: d', ...headers, '', ''].join('\r\n');

describe('a taken connection', () => {
  const attach = (): Promise<Served> =>
    start((api) => {
      api.post('/containers/:name/attach', (c) => {
        if (c.req.param('name') === 'none') throw notFound('No such container: none');
        return hijack(c, { contentType: RAW_STREAM }, async (connection) => {
          const input = await inputOf(connection);
          connection.write(`got ${input}`);
        });
      });
      api.post('/exec/:id/start', async (c) => {
        const options = await jsonBody<{ Tty: boolean }>(c);
        // As before 1.42: the type says raw, and yet there are frames.
        return hijack(c, { contentType: RAW_STREAM, framed: true }, async (connection) => {
          connection.write(frame(1, Buffer.from(`tty ${options.Tty}, `)));
          connection.write(frame(2, Buffer.from(`input ${await inputOf(connection)}`)));
          if (c.req.param('id') === 'bad') throw conflict('it broke');
        });
      });
    });

  test('answers 101 UPGRADED to Upgrade, takes early input, and writes on after the half-close', async () => {
    const { path } = await attach();
    const client = rawClient(
      path,
      `${head('POST /v1.51/containers/web/attach?stdin=1', ...UPGRADE.trim().split('\r\n'))}early`,
    );
    await eventually(() => client.text().includes('\r\n\r\n'));
    client.socket.end(' and late');
    const text = await client.ended;
    expect(text).toMatch(/^HTTP\/1\.1 101 UPGRADED\r\n/);
    expect(text).toMatch(
      /\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application\/vnd\.docker\.raw-stream\r\n/,
    );
    expect(text.toLowerCase()).toContain('\r\napi-version: 1.51\r\n');
    expect(text.endsWith('\r\n\r\ngot early and late')).toBe(true);
  });

  test('answers 200 OK without Upgrade, and what follows the head is input all the same', async () => {
    const { path } = await attach();
    const client = rawClient(path, head('POST /containers/web/attach?stdin=1'));
    await eventually(() => client.text().includes('\r\n\r\n'));
    client.socket.end('input');
    const text = await client.ended;
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text.endsWith('\r\n\r\ngot input')).toBe(true);
  });

  test('takes input from a chunked body of a client that does not upgrade', async () => {
    const { path } = await attach();
    const client = rawClient(
      path,
      head('POST /containers/web/attach?stdin=1', 'Transfer-Encoding: chunked'),
      '5\r\ninput\r\n',
    );
    await eventually(() => client.text().includes('\r\n\r\n'));
    client.socket.write('0\r\n\r\n');
    const text = await client.ended;
    expect(text.endsWith('\r\n\r\ngot input')).toBe(true);
  });

  test('has its options in the body and its input behind it, even in one packet', async () => {
    const { path } = await attach();
    const request = head(
      'POST /exec/e1/start',
      ...UPGRADE.trim().split('\r\n'),
      'Content-Type: application/json',
      'Content-Length: 13',
    );
    const client = rawClient(path, `${request}{"Tty":false}early`);
    client.socket.end();
    expect((await client.ended).split('\r\n\r\n')[1]).toBe(
      '\x01\0\0\0\0\0\0\x0btty false, \x02\0\0\0\0\0\0\x0binput early',
    );
  });

  test('may have its body in a later packet than its head', async () => {
    const { path } = await attach();
    const client = rawClient(path, head('GET /_ping'));
    await eventually(() => client.text().endsWith('OK'));
    client.socket.write(
      head(
        'POST /exec/e1/start',
        ...UPGRADE.trim().split('\r\n'),
        'Content-Type: application/json',
        'Content-Length: 13',
      ),
    );
    // Read as two packets: nothing tells that the first has been read, but a turn of the server's loop.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    client.socket.write('{"Tty":false}');
    await eventually(() => client.text().includes('tty false, '));
    client.socket.end('late');
    expect((await client.ended).endsWith('input late')).toBe(true);
  });

  test('tells an error in the stream when it comes after the answer began, and as an answer before', async () => {
    const { path } = await attach();
    const request = head(
      'POST /exec/bad/start',
      ...UPGRADE.trim().split('\r\n'),
      'Content-Type: application/json',
      'Content-Length: 2',
    );
    const client = rawClient(path, `${request}{}`);
    client.socket.end();
    expect((await client.ended).endsWith('\x01\0\0\0\0\0\0\x0ait broke\r\n')).toBe(true);
    const refused = rawClient(path, head('POST /containers/none/attach', ...UPGRADE.trim().split('\r\n')));
    const text = await refused.ended;
    expect(text).toMatch(/^HTTP\/1\.1 404 Not Found\r\n/);
    expect(text.endsWith('{"message":"No such container: none"}')).toBe(true);
    refused.socket.destroy();
  });

  test('fires `gone` when output finds no client any more', async () => {
    let gone: AbortSignal | undefined;
    const { path } = await start((api) =>
      api.post('/containers/:name/attach', (c) => {
        gone = c.get('gone');
        return hijack(c, { contentType: RAW_STREAM }, async (connection) => {
          connection.resume();
          connection.once('end', () => connection.write('output'));
          await once(connection, 'close');
        });
      }),
    );
    const client = rawClient(path, head('POST /containers/web/attach', ...UPGRADE.trim().split('\r\n')));
    await eventually(() => client.text().includes('101'));
    expect(gone!.aborted).toBe(false);
    client.socket.destroy();
    await eventually(() => gone!.aborted);
  });

  test('is not made of an Upgrade that Java clients offer on every request', async () => {
    const { path } = await start();
    const request = head('GET /_ping', 'Connection: Upgrade', 'Upgrade: h2c');
    const client = rawClient(path, request);
    await eventually(() => client.text().includes('HTTP/1.1 200 OK'));
    client.socket.write(request);
    await eventually(() => client.text().split('HTTP/1.1 200 OK').length === 3);
    client.socket.destroy();
  });

  test('can be a websocket', async () => {
    const { path } = await start((api) =>
      api.get('/containers/:name/attach/ws', (c) =>
        websocket(c, (socket) => {
          socket.on('message', (data) => socket.send(Buffer.from(`echo ${String(data)}`)));
        }),
      ),
    );
    const socket = new WebSocket(`ws+unix://${path}:/v1.51/containers/web/attach/ws?stream=1`);
    await once(socket, 'open');
    socket.send('hello');
    const [data, isBinary] = (await once(socket, 'message')) as [Buffer, boolean];
    expect([String(data), isBinary]).toEqual(['echo hello', true]);
    socket.terminate();
    const plain = rawClient(path, head('GET /containers/web/attach/ws'));
    await eventually(() => plain.text().includes('HTTP/1.1 400'));
    plain.socket.destroy();
  });
});

describe('a stream', () => {
  test('sends its headers at once, is chunked, and ends its source when the client leaves', async () => {
    let returned = false;
    let release!: () => void;
    const released = new Promise<void>((resolve) => (release = resolve));
    const source: AsyncIterable<object> = {
      [Symbol.asyncIterator]: () => ({
        next: async () => {
          await released;
          return { done: true, value: undefined };
        },
        return: async () => {
          returned = true;
          release();
          return { done: true, value: undefined };
        },
      }),
    };
    const { path } = await start((api) => api.get('/stream', (c) => jsonStream(c, source)));
    const client = rawClient(path, head('GET /stream'));
    await eventually(() => client.text().includes('\r\n\r\n'));
    expect(client.text().toLowerCase()).toContain('transfer-encoding: chunked');
    expect(client.text().toLowerCase()).toContain('api-version: 1.51');
    client.socket.destroy();
    await eventually(() => returned);
  });

  test('waits for a slow client instead of piling up', async () => {
    let made = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (; made < 10_000; made++) yield Buffer.alloc(64 << 10);
    }
    const { path } = await start((api) => api.get('/bytes', (c) => byteStream(c, endless(), 'application/x-tar')));
    const client = rawClient(path, head('GET /bytes'));
    client.socket.pause();
    let before = -1;
    // It has stopped when a whole turn of polling made nothing more.
    await eventually(() => {
      const stopped = made > 0 && made === before;
      before = made;
      return stopped;
    });
    expect(made).toBeLessThan(200);
    client.socket.destroy();
  });

  test('frees the memory of chunks that are its own when they are sent, not before', async () => {
    const chunks = Array.from({ length: 30 }, (_, i) => Buffer.alloc(200_000, `${i}.`));
    const whole = Buffer.concat(chunks);
    const { path } = await start((api) =>
      api.get('/bytes', (c) => byteStream(c, Readable.from(chunks), 'application/x-tar', { own: true })),
    );
    const request = httpRequest({ socketPath: path, path: '/bytes' }).end();
    const [answer] = (await once(request, 'response')) as [IncomingMessage];
    const came: Buffer[] = [];
    for await (const piece of answer) came.push(piece as Buffer);
    expect(Buffer.concat(came).equals(whole)).toBe(true);
    await eventually(() => chunks.every(({ byteLength }) => byteLength === 0));
  });

  test('that fails cuts the connection', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('part');
      throw conflict('broken');
    }
    const { path } = await start((api) => api.get('/bytes', (c) => byteStream(c, broken(), 'application/x-tar')));
    const client = rawClient(path, head('GET /bytes'));
    const text = await client.ended;
    expect(text).toContain('part');
    expect(text).not.toContain('\r\n0\r\n');
  });
});

describe('a socket', () => {
  test('belongs to root and the group, is taken over when stale, and not from the living', async () => {
    const parts = testApp();
    const served = await serve(parts);
    opened.push(served);
    expect((statSync(served.path).mode & 0o777).toString(8)).toBe('660');
    const config = { ...parts.config, hosts: [`unix://${served.path}`] };
    await expect(listen({ ...parts, config })).rejects.toThrow(/another process listens there/);
    const file = `${served.path}.file`;
    writeFileSync(file, '');
    await expect(listen({ ...parts, config: { ...config, hosts: [`unix://${file}`] } })).rejects.toThrow(
      /is no socket/,
    );
    // A socket whose owner died: nobody answers on it.
    const stale = `${served.path}.stale`;
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(stale, resolve));
    dead.close();
    const again = await listen({ ...parts, config: { ...config, hosts: [`unix://${stale}`] } });
    await again.close(0);
  });

  test('can be handed over by a service manager (fd://), and stays in place at the end', async () => {
    const { path } = await start();
    const socket = `${path}.handed`;
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(`${path}.held`, resolve));
    const { fd } = (holder as unknown as { _handle: { fd: number } })._handle;
    // LISTEN_PID must name the very process: the shell that sets it becomes it.
    const script = `LISTEN_PID=$$ LISTEN_FDS=1 exec "${process.execPath}" "${import.meta.dirname}/api-inherited-child.ts"`;
    const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit', fd] });
    // The holder must not take connections itself; its end would take the name away, but for the new one.
    renameSync(`${path}.held`, socket);
    holder.close();
    try {
      expect(String((await once(child.stdout!, 'data'))[0])).toBe('fd://3\n');
      const client = rawClient(socket, head('GET /_ping'));
      await eventually(() => client.text().endsWith('OK'));
      client.socket.destroy();
    } finally {
      child.kill();
      await once(child, 'exit');
    }
    expect(statSync(socket).isSocket()).toBe(true);
  }, 20_000);

  test('is refused on TCP without TLS beyond loopback', async () => {
    const parts = testApp();
    const hosts = (...hosts: string[]) => ({ ...parts, config: { ...parts.config, hosts } });
    await expect(listen(hosts('tcp://0.0.0.0:0'))).rejects.toThrow(/without TLS/);
    const listening = await listen(hosts('tcp://127.0.0.1:0'));
    expect(listening.addresses[0]).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+$/);
    await listening.close(0);
  });

  test('on TCP without TLS refuses web pages and rebound names (CVE-2025-9074)', async () => {
    const parts = testApp();
    const listening = await listen({ ...parts, config: { ...parts.config, hosts: ['tcp://127.0.0.1:0'] } });
    const url = new URL(listening.addresses[0]!.replace('tcp:', 'http:'));
    const ping = (headers: Record<string, string>): Promise<number> =>
      new Promise((resolve, reject) => {
        const asking = httpRequest(
          { host: url.hostname, port: url.port, path: '/_ping', headers, agent: false },
          (answer) => {
            answer.resume();
            resolve(answer.statusCode!);
          },
        );
        asking.on('error', reject);
        asking.end();
      });
    try {
      for (const host of ['localhost', `127.0.0.1:${url.port}`, '[::1]:2375', ''])
        expect(await ping({ host })).toBe(200);
      expect(await ping({ host: 'rebound.example' })).toBe(403);
      expect(await ping({ host: '127.example' })).toBe(403);
      expect(await ping({ origin: 'http://page.example' })).toBe(403);
      expect(await ping({ 'sec-fetch-site': 'cross-site' })).toBe(403);
    } finally {
      await listening.close(0);
    }
  });

  test.each([
    ['what is no HTTP', 'hello\r\n\r\n', /^HTTP\/1\.1 400 Bad Request\r\n[^]*\{"message":"bad request"\}$/],
    ['HTTP/2 where nobody speaks it', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', /^HTTP\/1\.1 400/],
    ['a head without end', `GET /_ping HTTP/1.1\r\nX: ${'x'.repeat(300_000)}`, /^HTTP\/1\.1 431/],
  ])('refuses %s and goes on', async (_, bytes, answer) => {
    const { path } = await start();
    const client = rawClient(path, bytes);
    expect(await client.ended).toMatch(answer);
    client.socket.destroy();
    const after = rawClient(path, head('HEAD /_ping'));
    await eventually(() => after.text().includes('HTTP/1.1 200'));
    after.socket.destroy();
  });

  test('hands HTTP/2 over to whoever speaks it', async () => {
    const seen: string[] = [];
    const served = await serve(testApp(), {
      onHttp2: (socket, first) => {
        seen.push(String(first));
        socket.on('data', (chunk) => seen.push(String(chunk)));
        socket.resume();
        socket.write('settings');
      },
    });
    opened.push(served);
    const client = rawClient(served.path, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    await eventually(() => client.text() === 'settings');
    client.socket.write('more');
    await eventually(() => seen.join('') === 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore');
    client.socket.destroy();
  });

  test('closes gracefully: answers under way end, endless ones are cut', async () => {
    async function* endless(signal: AbortSignal): AsyncGenerator<object> {
      yield { a: 1 };
      await once(signal, 'abort');
    }
    const served = await start((api) => api.get('/endless', (c) => jsonStream(c, endless(c.get('gone')))));
    const client = rawClient(served.path, head('GET /endless'));
    await eventually(() => client.text().includes('{"a":1}'));
    await served.close(0);
    await client.ended;
    await expect(once(rawClient(served.path).socket, 'connect')).rejects.toThrow(/ENOENT|ECONNREFUSED/);
  });
});

describe('authorization plugins', () => {
  let seen: { path: string; body: Record<string, string> }[];
  let verdict: (call: string) => object;
  const plugin = async (): Promise<string> => {
    const server = createHttpServer((request, answer) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        seen.push({ path: request.url!, body: JSON.parse(Buffer.concat(chunks).toString()) as Record<string, string> });
        answer.end(JSON.stringify(verdict(request.url!)));
      });
    });
    const { path } = await start();
    await new Promise<void>((resolve) => server.listen(`${path}.plugin`, resolve));
    opened.push({
      stop: async () => {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      },
    });
    return `${path}.plugin`;
  };
  beforeAll(() => {
    seen = [];
  });

  const call = (path: string, headers: Record<string, string>, body: string): Promise<[number, string]> =>
    new Promise((resolve, reject) => {
      const asking = httpRequest(
        { socketPath: path, path: '/v1.51/containers/create', method: 'POST', headers, agent: false },
        (answer) => {
          let text = '';
          answer.on('data', (chunk) => (text += String(chunk)));
          answer.on('end', () => resolve([answer.statusCode!, text]));
        },
      );
      asking.on('error', reject);
      asking.end(body);
    });

  test('see the bytes that are handled, no credentials, and can refuse the request and the answer (CVE-2024-41110)', async () => {
    const socket = await plugin();
    let handled: unknown;
    const { path } = await start(
      (api) =>
        api.post('/containers/create', async (c) => {
          handled = await jsonBody(c);
          return c.json({ Id: 'x' }, 201);
        }),
      { authorizationPlugins: [socket] },
    );
    const headers = { 'content-type': 'application/json', 'x-registry-auth': 'secret' };
    verdict = () => ({ Allow: true });
    expect(await call(path, headers, '{"Image":"a"}')).toEqual([201, '{"Id":"x"}']);
    expect(handled).toEqual({ Image: 'a' });
    expect(seen.map((one) => one.path)).toEqual(['/AuthZPlugin.AuthZReq', '/AuthZPlugin.AuthZRes']);
    expect(seen[0]!.body).toMatchObject({ RequestMethod: 'POST', RequestUri: '/v1.51/containers/create' });
    expect(Buffer.from(seen[0]!.body.RequestBody!, 'base64').toString()).toBe('{"Image":"a"}');
    expect(Buffer.from(seen[1]!.body.ResponseBody!, 'base64').toString()).toBe('{"Id":"x"}');
    expect(JSON.stringify(seen)).not.toContain('secret');

    handled = undefined;
    verdict = () => ({ Allow: false, Msg: 'no' });
    const denied = { message: `authorization denied by plugin ${socket}: no` };
    expect(await call(path, headers, '{}')).toEqual([403, JSON.stringify(denied)]);
    expect(handled).toBeUndefined();
    verdict = (which) => ({ Allow: which.endsWith('Req'), Msg: 'no' });
    expect((await call(path, headers, '{}'))[0]).toBe(403);
    // What is too large to be shown is not handled unseen.
    verdict = () => ({ Allow: true });
    handled = undefined;
    expect((await call(path, headers, JSON.stringify({ a: 'x'.repeat(1 << 20) })))[0]).toBe(400);
    expect(handled).toBeUndefined();
  });

  test('that cannot be asked allow nothing', async () => {
    const { path } = await start(undefined, { authorizationPlugins: ['/nowhere/plugin.sock'] });
    const client = rawClient(path, head('GET /info'));
    await eventually(() => client.text().includes('HTTP/1.1 500'));
    client.socket.destroy();
  });
});
