import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { listen, type Listening } from '../../src/api/server.ts';
import { testApp } from './api-support.ts';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

describe.skipIf(!hasOpenssl)('TCP with TLS', () => {
  let directory: string;
  const file = (name: string): string => join(directory, name);
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  const authority = (name: string): void =>
    openssl(
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30'],
      ...['-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.pem`],
    );
  const certificate = (name: string, ca: string, ...more: string[]): void => {
    openssl(
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', `/CN=${name}`],
      ...['-keyout', `${name}.key`, '-out', `${name}.csr`, ...more],
    );
    openssl(
      ...['x509', '-req', '-in', `${name}.csr`, '-CA', `${ca}.pem`, '-CAkey', `${ca}.key`, '-CAcreateserial'],
      ...['-days', '30', '-out', `${name}.pem`, '-copy_extensions', 'copyall'],
    );
  };

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'reactord-tls-'));
    for (const ca of ['ca', 'stranger']) authority(ca);
    certificate('server', 'ca', '-addext', 'subjectAltName=IP:127.0.0.1');
    certificate('client', 'ca');
    certificate('intruder', 'stranger');
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const start = (more: object): Promise<Listening> => {
    const { app, log, config } = testApp();
    const files = { tlsCaCert: file('ca.pem'), tlsCert: file('server.pem'), tlsKey: file('server.key') };
    return listen({ app, log, config: { ...config, hosts: ['tcp://127.0.0.1:0'], ...files, ...more } });
  };

  const ping = (listening: Listening, more: RequestOptions): Promise<number> =>
    new Promise((resolve, reject) => {
      const options = { ca: readFileSync(file('ca.pem')), agent: false, ...more };
      const url = `${listening.addresses[0]!.replace('tcp:', 'https:')}/_ping`;
      const asking = request(url, options, (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode!));
      });
      asking.on('error', reject);
      asking.end();
    });
  const identity = (name: string): RequestOptions => ({
    cert: readFileSync(file(`${name}.pem`)),
    key: readFileSync(file(`${name}.key`)),
  });

  test('tlsverify lets in only clients with a certificate of our authority', async () => {
    const listening = await start({ tls: true, tlsVerify: true });
    try {
      expect(await ping(listening, identity('client'))).toBe(200);
      await expect(ping(listening, {})).rejects.toThrow();
      await expect(ping(listening, identity('intruder'))).rejects.toThrow();
    } finally {
      await listening.close(0);
    }
  });

  test('tls alone asks for no certificate', async () => {
    const listening = await start({ tls: true });
    try {
      expect(await ping(listening, {})).toBe(200);
    } finally {
      await listening.close(0);
    }
  });

  test('a certificate that cannot be read is told by its flag', async () => {
    await expect(start({ tls: true, tlsKey: '/nowhere/key.pem' })).rejects.toThrow(/could not read --tlskey: ENOENT/);
  });
});
