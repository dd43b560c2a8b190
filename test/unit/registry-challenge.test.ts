import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bestChallenge, parseChallenges } from '../../src/image/registry/challenge.ts';
import { isTransient, RegistryRefusal, retryAfter } from '../../src/image/registry/failure.ts';
import { endpointsOf, isInsecure } from '../../src/image/registry/endpoints.ts';
import { withRetries } from '../../src/image/registry/retry.ts';
import { Slots } from '../../src/image/registry/slots.ts';
import type { Clock } from '../../src/lib/clock.ts';

describe('challenges', () => {
  it('reads what registries send', () => {
    const header = 'Bearer realm="https://auth.example/token",service="a \\"b\\"", scope="repository:x/y:pull,push"';
    expect(parseChallenges(header)).toEqual([
      {
        scheme: 'bearer',
        parameters: { realm: 'https://auth.example/token', service: 'a "b"', scope: 'repository:x/y:pull,push' },
      },
    ]);
    expect(parseChallenges('Basic realm=test').map(({ scheme }) => scheme)).toEqual(['basic']);
    expect(bestChallenge(parseChallenges('Basic realm="x", Negotiate, Bearer realm="y"'))?.parameters.realm).toBe('y');
    expect(parseChallenges(undefined)).toEqual([]);
    expect(parseChallenges('"\\'.repeat(5000))).toEqual([]);
  });
});

describe('retries', () => {
  const paused: number[] = [];
  const clock: Clock = {
    now: () => 0,
    after: (ms, callback) => {
      paused.push(ms);
      queueMicrotask(callback);
      return () => {};
    },
  };
  const { signal } = new AbortController();

  it('waits as long as the registry says, else doubles, and gives up after its attempts', async () => {
    const failures = [
      new RegistryRefusal(429, '', 'slow down', 7000),
      ...Array(3).fill(new RegistryRefusal(503, '', 'busy')),
    ];
    const work = async (attempt: number) => {
      throw failures[attempt - 1]!;
    };
    await expect(withRetries({ attempts: 4, backoffMs: 100, clock, signal }, work)).rejects.toThrow('busy');
    expect(paused).toEqual([7000, 200, 400]);
  });

  it('asks once more only for what may pass', () => {
    for (const status of [429, 500, 502, 503, 504, 408])
      expect(isTransient(new RegistryRefusal(status, '', ''))).toBe(true);
    for (const status of [400, 401, 403, 404, 501])
      expect(isTransient(new RegistryRefusal(status, '', ''))).toBe(false);
    expect(retryAfter('120', 0)).toBe(120_000);
    expect(retryAfter('Thu, 01 Jan 1970 00:00:05 GMT', 2000)).toBe(3000);
    expect(retryAfter('soon', 0)).toBeUndefined();
  });
});

describe('turns', () => {
  it('go in order, and one who leaves the queue costs nobody a turn', async () => {
    const slots = new Slots(() => 1);
    const leaving = new AbortController();
    const staying = new AbortController();
    const release = await slots.take(staying.signal);
    const second = slots.take(leaving.signal);
    const third = slots.take(staying.signal);
    leaving.abort();
    await expect(second).rejects.toThrow('cancelled');
    release();
    release();
    const last = await third;
    let fourth = false;
    const waiting = slots.take(staying.signal).then(() => (fourth = true));
    await Promise.resolve();
    expect(fourth).toBe(false);
    last();
    await waiting;
  });

  it('are as many as a reload says, from the next one on', async () => {
    let most = 1;
    const slots = new Slots(() => most);
    const { signal } = new AbortController();
    const first = await slots.take(signal);
    const waiting = [slots.take(signal), slots.take(signal)];
    most = 2;
    first();
    const [second, third] = await Promise.all(waiting);
    most = 1;
    let isIn = false;
    const fourth = slots.take(signal).then(() => (isIn = true));
    second!();
    await Promise.resolve();
    expect(isIn).toBe(false);
    third!();
    await fourth;
  });
});

describe('insecure registries', () => {
  it('are those on loopback, by name with the port, and by network', async () => {
    for (const domain of ['127.0.0.1:5000', '127.9.9.9', '[::1]:5000']) expect(await isInsecure(domain, [])).toBe(true);
    expect(await isInsecure('10.1.2.3:5000', [])).toBe(false);
    expect(await isInsecure('10.1.2.3:5000', ['10.1.0.0/16'])).toBe(true);
    expect(await isInsecure('[fd00::7]:5000', ['fd00::/8'])).toBe(true);
    expect(await isInsecure('10.1.2.3:5000', ['10.1.2.3:5000'])).toBe(true);
    expect(await isInsecure('10.1.2.3:5001', ['10.1.2.3:5000'])).toBe(false);
  });
});

describe('endpoints', () => {
  let certificates: string;
  beforeEach(() => (certificates = mkdtempSync(join(tmpdir(), 'certs.d-'))));
  afterEach(() => rmSync(certificates, { recursive: true }));
  const origins = async (domain: string, use: 'pull' | 'push' = 'pull'): Promise<string[]> => {
    const config = { registryMirrors: ['http://mirror.test:5000/hub/'], insecureRegistries: ['10.1.0.0/16'] };
    const found = await endpointsOf(domain, { config, certificates }, use);
    return found.map(({ origin, prefix }) => origin + prefix);
  };
  const has = (domain: string, files: Record<string, string>): void => {
    mkdirSync(join(certificates, domain), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(certificates, domain, name), text);
  };

  it('are mirrors for pulls from Docker Hub, and without TLS only what may be insecure', async () => {
    const hub = 'https://registry-1.docker.io';
    expect(await origins('docker.io')).toEqual(['http://mirror.test:5000/hub', hub]);
    expect(await origins('docker.io', 'push')).toEqual([hub]);
    expect(await origins('10.1.2.3:5000')).toEqual(['https://10.1.2.3:5000', 'http://10.1.2.3:5000']);
    expect(await origins('10.2.2.3:5000')).toEqual(['https://10.2.2.3:5000']);
  });

  it('have the certificates of their folder, each key with its own', async () => {
    const config = { registryMirrors: [], insecureRegistries: [] };
    const tls = async () => (await endpointsOf('10.9.9.9:5000', { config, certificates }, 'pull'))[0]!.tls;
    expect(await tls()).toEqual({ ca: [] });
    has('10.9.9.9:5000', { 'a.crt': 'one', 'b.crt': 'two', 'me.cert': 'mine', 'me.key': 'secret', notes: '' });
    const found = await tls();
    expect({ ...found, ca: found.ca.toSorted() }).toEqual({ ca: ['one', 'two'], cert: 'mine', key: 'secret' });
    rmSync(join(certificates, '10.9.9.9:5000/me.key'));
    await expect(tls()).rejects.toThrow('missing key me.key for client certificate me.cert');
    has('10.9.9.9:5000', { 'me.key': 'secret', 'other.key': 'x' });
    await expect(tls()).rejects.toThrow('missing client certificate other.cert for key other.key');
  });
});
