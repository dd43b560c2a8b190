/** Registries as an administrator and a user meet them through the real CLI: trust, passwords, mirrors. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { type BuiltImage, pushBusybox } from '../support/fixture-image.ts';
import { PASSWORD, startRegistry, type TestRegistry, USER } from '../support/registry.ts';
import { stopClean } from './stop-clean.ts';

/** An address that is not loopback, so that nothing is forgiven. */
const ADDRESS = '10.55.0.1';

let daemon: TestDaemon;
let plain: TestRegistry;
let secret: TestRegistry;
let built: BuiltImage;
beforeAll(async () => {
  daemon = await startDaemon({ image: false });
  const { netns } = daemon;
  daemon.inside('ip', 'address', 'add', `${ADDRESS}/32`, 'dev', 'lo');
  plain = await startRegistry({ netns, address: ADDRESS });
  secret = await startRegistry({ netns, htpasswd: true });
  built = await pushBusybox(plain, 'library/box:latest');
});
afterAll(async () => {
  await stopClean(daemon);
  await Promise.all([plain, secret].map((registry) => registry?.stop()));
});

/** Takes effect without a new start. */
async function reload(settings: object): Promise<void> {
  const reloads = async (): Promise<number> => {
    const facts = await daemon.api<{ action: string }[]>('GET', '/reactord/facts?limit=2000&topics=event');
    return facts.json.filter(({ action }) => action === 'reload').length;
  };
  const before = await reloads();
  writeFileSync(join(daemon.directory, 'daemon.json'), JSON.stringify(settings));
  process.kill(daemon.pid(), 'SIGHUP');
  await eventually(async () => (await reloads()) > before, { what: 'the reload' });
}

describe('a registry without TLS', () => {
  test('is spoken to only when its network or its name is said to be insecure, which a reload may say', async () => {
    const image = `${plain.host}/library/box`;
    const refused = /http: server gave HTTP response to HTTPS client/;
    expect(daemon.docker('pull', image).stderr).toMatch(refused);
    for (const entry of ['10.55.0.0/16', plain.host]) {
      await reload({ 'insecure-registries': [entry] });
      expect(daemon.ok('pull', image)).toContain(`Digest: ${built.manifest.digest}`);
      expect(daemon.ok('info', '--format', '{{json .RegistryConfig}}')).toContain(entry);
      daemon.ok('rmi', image);
    }
    await reload({ 'insecure-registries': ['10.56.0.0/16'] });
    expect(daemon.docker('pull', image).stderr).toMatch(refused);
  });

  test('may be the mirror of Docker Hub', async () => {
    await reload({ 'registry-mirrors': ['http://127.0.0.1:1', `http://${plain.host}`] });
    expect(daemon.ok('pull', 'box')).toContain('Status: Downloaded newer image for box:latest');
    expect(daemon.ok('image', 'inspect', '-f', '{{.RepoDigests}}', 'box')).toBe(`[box@${built.manifest.digest}]`);
    await reload({});
  });
});

describe('a registry with passwords', () => {
  test('is pushed to and pulled from after a login, and no more after the logout', async () => {
    const name = `${secret.host}/mine/box:1`;
    daemon.ok('tag', 'box', name);
    expect(daemon.docker('push', name).stderr).toContain('no basic auth credentials');
    const login = (password: string) =>
      daemon.dockerWith({ input: password }, 'login', '-u', USER, '--password-stdin', secret.host);
    expect(login('wrong').stderr).toContain('unauthorized');
    expect(login(PASSWORD).stdout).toContain('Login Succeeded');
    expect(daemon.ok('push', name)).toContain(`1: digest: ${built.manifest.digest}`);
    daemon.ok('rmi', name);
    expect(daemon.ok('pull', '--all-tags', `${secret.host}/mine/box`)).toContain(`Digest: ${built.manifest.digest}`);
    daemon.ok('logout', secret.host);
    // At this the CLI would ask for a password.
    const asked = await daemon.api('POST', `/images/create?fromImage=${encodeURIComponent(name)}`);
    expect([asked.status, asked.json.message]).toEqual([401, expect.stringContaining('no basic auth credentials')]);
  });
});
