import { describe, expect, test } from 'vitest';
import {
  filtersOf,
  flag,
  integer,
  jsonBody,
  jsonStream,
  noContent,
  registryAuth,
  timestamp,
} from '../../src/api/kit.ts';
import { conflict, deadlineExceeded, notModified } from '../../src/errors.ts';
import { eventually } from '../support/eventually.ts';
import { testApp } from './api-support.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const post = (body: string | undefined, headers: Record<string, string> = JSON_TYPE): RequestInit => ({
  method: 'POST',
  headers,
  body,
});
const message = async (answer: Response): Promise<[number, string]> => [
  answer.status,
  ((await answer.json()) as { message: string }).message,
];

describe('every answer', () => {
  test('tells the API version, the system and the server, errors too', async () => {
    const { app } = testApp();
    for (const path of ['/_ping', '/v1.30/info', '/nowhere', '/v1.1/_ping']) {
      const { headers } = await app.request(path);
      expect([headers.get('api-version'), headers.get('ostype'), headers.get('server')]).toEqual([
        '1.51',
        'linux',
        'reactord/1.2.3 (linux)',
      ]);
    }
  });

  test('is 404 for an unknown path, a wrong method, and HEAD where nobody asks for it', async () => {
    const { app } = testApp();
    expect(await message(await app.request('/nowhere'))).toEqual([404, 'page not found']);
    expect(await message(await app.request('/v1.51/nowhere'))).toEqual([404, 'page not found']);
    expect(await message(await app.request('/info', { method: 'DELETE' }))).toEqual([404, 'page not found']);
    expect((await app.request('/info', { method: 'HEAD' })).status).toBe(404);
  });

  test('refuses versions that are too old or too new', async () => {
    const { app } = testApp();
    expect(await message(await app.request('/v1.10/_ping'))).toEqual([
      400,
      'client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version',
    ]);
    expect(await message(await app.request('/v1.99/_ping'))).toEqual([
      400,
      'client version 1.99 is too new. Maximum supported API version is 1.51',
    ]);
    expect((await app.request('/v1.24/_ping')).status).toBe(200);
  });

  test('of an error has the status of its kind, and 304 has no body', async () => {
    const { app } = testApp((api) => {
      api.get('/conflict', () => Promise.reject(conflict('taken')));
      api.get('/same', () => Promise.reject(notModified('same')));
      api.get('/late', () => Promise.reject(deadlineExceeded('late')));
      api.get('/bug', () => Promise.reject(new TypeError('ours')));
    });
    expect(await message(await app.request('/conflict'))).toEqual([409, 'taken']);
    expect(await message(await app.request('/late'))).toEqual([500, 'late']);
    expect(await message(await app.request('/bug'))).toEqual([500, 'ours']);
    const same = await app.request('/same');
    expect([same.status, await same.text()]).toEqual([304, '']);
  });
});

describe('a command', () => {
  test('is told on the bus when it comes and when it is answered, without its query', async () => {
    const { app, facts } = testApp((api) => {
      api.post('/containers/:name/start', (c) => noContent(c));
      api.delete('/containers/:name', () => Promise.reject(conflict('running')));
    });
    await app.request('/v1.51/containers/web/start?secret=1', { method: 'POST' });
    await app.request('/containers/web', { method: 'DELETE' });
    await app.request('/info');
    const told = facts.filter((fact) => fact.topic === 'command');
    expect(told.map(({ action, id, data }) => [action, id, data?.method, data?.status])).toEqual([
      ['accept', '/containers/web/start', 'POST', undefined],
      ['answer', '/containers/web/start', 'POST', 204],
      ['accept', '/containers/web', 'DELETE', undefined],
      ['refuse', '/containers/web', 'DELETE', 409],
    ]);
    expect(told[1]!.cause).toBe(told[0]!.seq);
  });
});

describe('a body', () => {
  const { app } = testApp((api) => {
    api.post('/echo', async (c) => c.json(await jsonBody<object>(c)));
    api.post('/maybe', async (c) => c.json((await jsonBody<object>(c, undefined, { optional: true })) ?? 'none'));
    api.post('/checked', async (c) => c.json(await jsonBody(c, 'error-response')));
  });

  test.each([
    [
      'a wrong type',
      post('{}', { 'content-type': 'text/plain' }),
      "unsupported Content-Type header (text/plain): must be 'application/json'",
    ],
    ['no body', post(undefined), 'invalid JSON: got EOF while reading request body'],
    ['bad JSON', post('{"a":'), /^invalid JSON: /],
    ['trailing data', post('{"a":1} {"b":2}'), 'unexpected content after JSON'],
  ])('with %s is refused', async (_, init, words) => {
    const [status, told] = await message(await app.request('/echo', init));
    expect(status).toBe(400);
    expect(told).toMatch(words);
  });

  test('may have a charset, white space around, and fields nobody knows', async () => {
    const answer = await app.request(
      '/echo',
      post(' {"a":1}\n', { 'content-type': 'Application/JSON; charset=utf-8' }),
    );
    expect(await answer.json()).toEqual({ a: 1 });
    expect(await (await app.request('/checked', post('{"message":"x","more":1}'))).json()).toEqual({
      message: 'x',
      more: 1,
    });
    expect(await message(await app.request('/checked', post('{"message":1}')))).toEqual([
      400,
      'invalid JSON: message must be string',
    ]);
  });

  test('may be missing where it is optional, but not be wrong', async () => {
    expect(await (await app.request('/maybe', { method: 'POST' })).json()).toBe('none');
    expect(await (await app.request('/maybe', post(''))).json()).toBe('none');
    // As Go's decoder has it, null is a document with nothing in it.
    expect(await (await app.request('/echo', post('null'))).json()).toEqual({});
    expect((await app.request('/maybe', post('{}', { 'content-type': 'text/html' }))).status).toBe(400);
  });
});

test('query parameters are read as dockerd reads them', async () => {
  const { app } = testApp((api) =>
    api.get('/query', (c) =>
      c.json({
        flags: ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => flag(c, name)),
        fallback: flag(c, 'missing', true),
        number: integer(c, 'n'),
        since: String(timestamp(c, 'since')),
        labels: filtersOf(c, ['label']).get('label'),
        auth: registryAuth(c) ?? null,
      }),
    ),
  );
  const auth = Buffer.from('{"username":"u","password":"p?>"}').toString('base64url');
  const filters = encodeURIComponent('{"label":{"x=y":true}}');
  const answer = await app.request(`/query?a=&b=0&c=False&d=none&e=1&f=yes&n=-5&since=12.5&filters=${filters}`, {
    headers: { 'x-registry-auth': auth },
  });
  expect(await answer.json()).toEqual({
    flags: [false, false, false, false, true, true],
    fallback: true,
    number: -5,
    since: '12500000000',
    labels: ['x=y'],
    auth: { username: 'u', password: 'p?>' },
  });
  for (const bad of ['n=abc', 'n=1.5', 'since=yesterday', 'filters=%7B', 'filters=%7B%22no%22%3A%5B%5D%7D'])
    expect([bad, (await app.request(`/query?${bad}`)).status]).toEqual([bad, 400]);
});

test('a stream that fails ends with an error line', async () => {
  async function* lines(): AsyncGenerator<object> {
    yield { status: 'Pulling' };
    throw conflict('broken');
  }
  const { app } = testApp((api) => api.post('/pull', (c) => jsonStream(c, lines())));
  expect(await (await app.request('/pull', { method: 'POST' })).text()).toBe(
    '{"status":"Pulling"}\r\n{"errorDetail":{"message":"broken"},"error":"broken"}\r\n',
  );
});

describe('the daemon about itself', () => {
  test('answers a ping with the headers that clients negotiate by', async () => {
    const { app } = testApp();
    const got = await app.request('/_ping');
    expect(await got.text()).toBe('OK');
    expect(Object.fromEntries(got.headers)).toMatchObject({
      'builder-version': '2',
      'docker-experimental': 'false',
      swarm: 'inactive',
      pragma: 'no-cache',
      'cache-control': 'no-cache, no-store, must-revalidate',
    });
    const head = await app.request('/_ping', { method: 'HEAD' });
    expect([head.status, await head.text(), head.headers.get('api-version')]).toEqual([200, '', '1.51']);
  });

  test('tells its version and state', async () => {
    const { app } = testApp(undefined, { insecureRegistries: ['my.reg:5000', '10.0.0.0/8'] });
    expect(await (await app.request('/version')).json()).toMatchObject({
      Platform: { Name: 'reactord' },
      Version: '1.2.3',
      ApiVersion: '1.51',
      MinAPIVersion: '1.24',
      Os: 'linux',
      Arch: 'amd64',
    });
    expect(await (await app.request('/info')).json()).toMatchObject({
      Containers: 3,
      ContainersRunning: 1,
      Images: 2,
      Driver: 'overlay2',
      Swarm: { LocalNodeState: 'inactive' },
      Runtimes: { runc: { path: 'runc' } },
      NCPU: 2,
      RegistryConfig: {
        InsecureRegistryCIDRs: ['::1/128', '127.0.0.0/8', '10.0.0.0/8'],
        IndexConfigs: { 'my.reg:5000': { Secure: false } },
      },
    });
  });

  test('shows a changed configuration after a reload', async () => {
    const { app, bus, config } = testApp();
    const labels = async (): Promise<unknown> =>
      ((await (await app.request('/info')).json()) as { Labels: unknown }).Labels;
    expect(await labels()).toEqual([]);
    Object.assign(config, { labels: ['a=1'] });
    bus.publish({ topic: 'event', type: 'daemon', action: 'reload', id: '' });
    expect(await labels()).toEqual(['a=1']);
  });

  test('counts disk use of the kinds that were asked for', async () => {
    const { app } = testApp();
    expect(await (await app.request('/system/df?type=image')).json()).toEqual({
      LayersSize: 42,
      Images: [],
      Containers: null,
      Volumes: null,
      BuildCache: null,
    });
    expect(await (await app.request('/v1.41/system/df')).json()).toMatchObject({ BuilderSize: 7 });
    expect(await message(await app.request('/system/df?type=cow'))).toEqual([400, 'unknown object type: cow']);
  });

  test('is in no swarm and has no plugins', async () => {
    const { app } = testApp();
    for (const path of ['/swarm', '/nodes', '/services?x=1', '/tasks/abc', '/secrets', '/configs'])
      expect((await message(await app.request(path)))[0]).toBe(503);
    expect(await (await app.request('/plugins')).json()).toEqual([]);
    expect(await message(await app.request('/plugins/a/b:c/json'))).toEqual([404, 'plugin "a/b:c" not found']);
    expect((await app.request('/plugins/pull?remote=x', { method: 'POST' })).status).toBe(501);
  });
});

describe('/events', () => {
  const publish = ({ bus }: ReturnType<typeof testApp>, ...actions: string[]): void => {
    for (const action of actions)
      bus.publish({ topic: 'event', type: 'container', action, id: 'abc', attributes: { name: 'web', app: 'x' } });
  };
  const actions = (text: string): string[] =>
    text
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { Action: string }).Action);

  test('replays what is past and ends when `until` is past too', async () => {
    const parts = testApp();
    publish(parts, 'create', 'start', 'die');
    parts.bus.publish({ topic: 'transition', type: 'container', action: 'EXIT', id: 'abc' });
    const filters = encodeURIComponent('{"event":["start","die"],"label":["app=x"]}');
    const journal = parts.facts.at(-1)!.timeNano;
    const until = `${journal / 1_000_000_000n}.${String(journal % 1_000_000_000n).padStart(9, '0')}`;
    const answer = await parts.app.request(`/events?since=0&until=${until}&filters=${filters}`);
    expect(actions(await answer.text())).toEqual(['start', 'die']);
  });

  test('goes on live after the replay, resumes after a position, and loses nothing when its reader is slow', async () => {
    const parts = testApp();
    publish(parts, 'create', 'start');
    const answer = await parts.app.request('/events?after=1');
    const reader = answer.body!.getReader();
    const lines: { Action: string; seq: number }[] = [];
    const read = async (): Promise<void> => {
      const { value } = await reader.read();
      const text = Buffer.from(value!).toString().trim();
      lines.push(...text.split('\n').map((line) => JSON.parse(line) as { Action: string; seq: number }));
    };
    await read();
    expect(lines[0]).toMatchObject({ Action: 'start', seq: 2 });
    // More than its queue holds while nobody reads: the rest comes from the journal, in order and once.
    for (let index = 0; index < 1500; index++) publish(parts, `n${index}`);
    while (lines.length < 1501) await read();
    expect(lines.map(({ seq }) => seq)).toEqual(Array.from({ length: 1501 }, (_, index) => index + 2));
    await reader.cancel();
    await eventually(() => parts.bus.stats.subscribers === 0);
  });

  test('serves several hundred subscribers, each by its own filter, and lets go of all of them', async () => {
    const parts = testApp();
    const open = async (filters: object) => {
      const answer = await parts.app.request(`/events?filters=${encodeURIComponent(JSON.stringify(filters))}`);
      const reader = answer.body!.getReader();
      return { reader, first: reader.read() };
    };
    const wanted = [{ event: ['die'] }, { container: ['web'] }, { type: ['container'], label: ['app'] }];
    const clients = await Promise.all(Array.from({ length: 300 }, (_, index) => open(wanted[index % 3]!)));
    await eventually(() => parts.bus.stats.subscribers === 300);
    parts.bus.publish({ topic: 'event', type: 'network', action: 'connect', id: 'n', attributes: { name: 'net' } });
    publish(parts, 'die');
    for (const { first } of clients) expect(actions(Buffer.from((await first).value!).toString())).toEqual(['die']);
    await Promise.all(clients.map(({ reader }) => reader.cancel()));
    await eventually(() => parts.bus.stats.subscribers === 0);
  });

  test('tells a reader what is gone for good, because it was slower than the journal keeps', async () => {
    const parts = testApp();
    const answer = await parts.app.request('/events');
    const reader = answer.body!.getReader();
    const first = reader.read();
    publish(parts, 'first');
    await first;
    for (let index = 0; index < 1500; index++) publish(parts, `n${index}`);
    parts.store.journal.prune({ keep: 10, beforeNano: 0n });
    const seen: string[] = [];
    while (!seen.includes('n1499')) seen.push(...actions(Buffer.from((await reader.read()).value!).toString()));
    expect(seen.slice(0, 2)).toEqual(['events_dropped', 'n1490']);
    await reader.cancel();
  });

  test('tells a reader that resumes before what is kept what is gone', async () => {
    const parts = testApp();
    for (let index = 1; index <= 20; index++) publish(parts, `n${index}`);
    parts.store.journal.prune({ keep: 5, beforeNano: 0n });
    const until = Date.now() / 1000 + 1;
    const lines = async (after: number) =>
      (await (await parts.app.request(`/events?after=${after}&until=${until}`)).text())
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { Action: string; Actor: { Attributes: object } });
    const [lost, first] = await lines(3);
    expect(lost).toMatchObject({ Action: 'events_dropped', Actor: { Attributes: { after: '3', through: '15' } } });
    expect(first?.Action).toBe('n16');
    expect((await lines(15)).map(({ Action }) => Action)[0]).toBe('n16');
  });

  test('without since shows only what comes, and refuses unknown filters', async () => {
    const parts = testApp();
    publish(parts, 'create');
    const answer = await parts.app.request('/events');
    const reader = answer.body!.getReader();
    const first = reader.read();
    publish(parts, 'start');
    expect(actions(Buffer.from((await first).value!).toString())).toEqual(['start']);
    await reader.cancel();
    expect((await parts.app.request('/events?filters=%7B%22nope%22%3A%5B%22x%22%5D%7D')).status).toBe(400);
  });
});
