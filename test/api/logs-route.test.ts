import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import type { ApiEnv } from '../../src/api/kit.ts';
import { logRoutes } from '../../src/api/routes/logs.ts';
import { DaemonError } from '../../src/errors.ts';
import type { LogEntry, ReadOptions } from '../../src/logs/port.ts';
import { parseNano } from '../../src/logs/time.ts';

const entry = (stream: 'stdout' | 'stderr', line: string): LogEntry => ({
  stream,
  line: Buffer.from(line),
  timeNano: parseNano('2026-11-30T23:04:05.5Z'),
  attributes: { b: 'x y', a: '1' },
});

function app(tty: boolean, asked: ReadOptions[] = []): Hono<ApiEnv> {
  const api = new Hono<ApiEnv>();
  api.use(async (c, next) => {
    c.set('apiVersion', '1.51');
    c.set('gone', new AbortController().signal);
    await next();
  });
  api.onError((error, c) =>
    c.text(error.message, error instanceof DaemonError && error.kind === 'invalid' ? 400 : 500),
  );
  const info = {
    containerId: 'c',
    name: '/web',
    imageId: '',
    imageName: '',
    created: '',
    command: [],
    env: [],
    labels: {},
    directory: '',
  };
  logRoutes(api, {
    logTarget: (name) => ({ id: name, tty, logConfig: { Type: 'json-file', Config: {} }, info }),
    drivers: {
      async *batches(_config, _info, options, make) {
        asked.push(options);
        yield make([entry('stdout', 'out\n'), entry('stderr', 'err\n')]);
      },
    },
  });
  return api;
}

describe('GET /containers/{name}/logs', () => {
  it('frames the streams, or not for a terminal', async () => {
    const framed = await app(false).request('/containers/web/logs?stdout=1&stderr=1');
    expect(framed.headers.get('content-type')).toBe('application/vnd.docker.multiplexed-stream');
    expect(await framed.text()).toBe('\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n');
    const raw = await app(true).request('/containers/web/logs?stdout=1');
    expect(raw.headers.get('content-type')).toBe('application/vnd.docker.raw-stream');
    expect(await raw.text()).toBe('out\nerr\n');
  });

  it('puts the time and then the attributes before each line', async () => {
    const answer = await app(true).request('/containers/web/logs?stdout=1&timestamps=1&details=1');
    expect((await answer.text()).split('\n')[0]).toBe('2026-11-30T23:04:05.500000000Z a=1,b=x+y out');
  });

  it('passes on what is asked for, and refuses to show no stream at all', async () => {
    const asked: ReadOptions[] = [];
    const logs = app(false, asked);
    await (await logs.request('/containers/web/logs?stderr=1&tail=5&since=1700000000.5&until=0&follow=1')).text();
    expect(asked[0]).toMatchObject({
      stdout: false,
      stderr: true,
      tail: 5,
      sinceNano: 1_700_000_000_500_000_000n,
      untilNano: undefined,
      follow: true,
    });
    await (await logs.request('/containers/web/logs?stdout=1&tail=all')).text();
    expect(asked[1]).toMatchObject({ tail: -1, follow: false });
    const refused = await logs.request('/containers/web/logs');
    expect([refused.status, await refused.text()]).toEqual([
      400,
      'Bad parameters: you must choose at least one stream',
    ]);
  });
});
