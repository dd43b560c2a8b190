import { describe, expect, it } from 'vitest';
import { internal, notFound } from '../../src/errors.ts';
import { distributionRoutes } from '../../src/api/routes/distribution.ts';
import { transferRoutes } from '../../src/api/routes/transfer.ts';
import type { Transfers } from '../../src/image/transfers.ts';
import { testApp } from './api-support.ts';

type Call = [name: string, ...unknown[]];

/** Transfers that note how they were called and do what they are told. */
function appWith(behaviour: Partial<Transfers>) {
  const calls: Call[] = [];
  const noting = new Proxy(behaviour, {
    get: (target, name: keyof Transfers) => (subject: unknown, options: object) => {
      calls.push([name, subject, options]);
      return (target[name] as ((subject: unknown, options: object) => unknown) | undefined)?.(subject, options);
    },
  }) as Transfers;
  const { app } = testApp((api) => {
    transferRoutes(api, noting);
    distributionRoutes(api, noting);
  });
  return { app, calls };
}

const POST = { method: 'POST' };
const auth = { username: 'u', password: 'p' };
const withAuth = { 'x-registry-auth': Buffer.from(JSON.stringify(auth)).toString('base64url') };
const DIGEST = `sha256:${'ab'.repeat(32)}`;

describe('POST /images/create', () => {
  it('streams progress lines, and an error that comes late as a line of the stream', async () => {
    const { app } = appWith({
      async pull(_, { onProgress }) {
        onProgress!({ status: 'Pulling from library/x', id: 'latest' });
        throw internal('unexpected EOF');
      },
    });
    const answer = await app.request('/v1.51/images/create?fromImage=x&tag=latest', POST);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(await answer.text()).toBe(
      '{"status":"Pulling from library/x","id":"latest"}\r\n{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}\r\n',
    );
  });

  it('answers an error before the first line with its status', async () => {
    const { app } = appWith({ pull: () => Promise.reject(notFound('pull access denied for x')) });
    const answer = await app.request('/images/create?fromImage=x&tag=1', POST);
    expect([answer.status, await answer.json()]).toEqual([404, { message: 'pull access denied for x' }]);
    const invalid = await app.request('/images/create?fromImage=X', POST);
    expect(invalid.status).toBe(400);
  });

  it('reads tag, digest, platform and credentials, and takes a bare name for all tags', async () => {
    const { app, calls } = appWith({});
    for (const query of ['fromImage=x:1', 'fromImage=x&tag=2', `fromImage=x&tag=${DIGEST}`, 'fromImage=x:&tag='])
      await app.request(`/images/create?${query}&platform=linux/arm64`, { ...POST, headers: withAuth });
    expect(calls.map(([name, subject]) => [name, subject])).toEqual([
      ['pull', 'docker.io/library/x:1'],
      ['pull', 'docker.io/library/x:2'],
      ['pull', `docker.io/library/x@${DIGEST}`],
      ['pullAll', { domain: 'docker.io', path: 'library/x' }],
    ]);
    expect(calls[0]![2]).toMatchObject({ platform: 'linux/arm64', auth });
  });

  it('leaves imports to others', async () => {
    const { app, calls } = appWith({});
    expect((await app.request('/images/create?fromSrc=-', POST)).status).toBe(404);
    expect(calls).toEqual([]);
  });
});

describe('the other routes', () => {
  it('take names with slashes', async () => {
    const { app, calls } = appWith({ distribution: async () => ({ Descriptor: {}, Platforms: [] }) as never });
    await app.request('/images/host:5000/a/b/push?tag=t', { ...POST, headers: withAuth });
    expect((await app.request('/distribution/host:5000/a/b:t/json')).status).toBe(200);
    expect(calls.map(([name, subject]) => [name, subject])).toEqual([
      ['push', 'host:5000/a/b:t'],
      ['distribution', 'host:5000/a/b:t'],
    ]);
    await app.request(`/images/x/push?platform=${encodeURIComponent('{"os":"linux","architecture":"arm64"}')}`, POST);
    expect(calls.at(-1)).toMatchObject(['push', 'docker.io/library/x', { platform: 'linux/arm64' }]);
  });

  it('check logins and searches', async () => {
    const { app, calls } = appWith({
      login: async () => ({ Status: 'Login Succeeded', IdentityToken: '' }),
      search: async () => [],
    });
    const headers = { 'content-type': 'application/json' };
    const login = await app.request('/auth', {
      ...POST,
      headers,
      body: JSON.stringify({ ...auth, serveraddress: 'host' }),
    });
    expect(await login.json()).toEqual({ Status: 'Login Succeeded', IdentityToken: '' });
    const filters = encodeURIComponent('{"is-official":["true"],"stars":["3"]}');
    await app.request(`/images/search?term=busybox&limit=5&filters=${filters}`);
    expect(calls[1]).toMatchObject(['search', 'busybox', { limit: 5, official: true, stars: 3 }]);
    const odd = await app.request(`/images/search?term=x&filters=${encodeURIComponent('{"is-official":["maybe"]}')}`);
    expect(await odd.json()).toEqual({ message: "invalid filter 'is-official=[maybe]'" });
  });
});
