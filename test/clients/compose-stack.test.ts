/** A web server, a database and a cache of Debian's packages, brought up in the order of their health, by each Compose there is. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunResult, startDaemon, type TestDaemon } from '../support/daemon.ts';
import { stopClean } from './stop-clean.ts';

const PACKAGES = `
  nginx nginx-common mime-support media-types base-files libc6 libcrypt1 libpcre2-8-0 libssl3 zlib1g
  redis-server redis-tools libatomic1 libhiredis0.14 libjemalloc2 liblua5.1-0 liblzf1 libsystemd0 lua-bitop lua-cjson
  libzstd1 liblzma5 liblz4-1 libcap2 libgcrypt20 libgpg-error0 libstdc++6 libgcc-s1
  postgresql-15 postgresql-client-15 libpq5 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2
  libkeyutils1 libldap-2.5-0 libsasl2-2 libpam0g libaudit1 libcap-ng0 libselinux1 libuuid1 libxml2 libicu72 libxslt1.1
  libreadline8 libtinfo6 libgnutls30 libp11-kit0 libidn2-0 libunistring2 libtasn1-6 libnettle8 libhogweed6 libgmp10
  libffi8`
  .trim()
  .split(/\s+/);

const fixture = join(import.meta.dirname, '../fixtures/stack');
let daemon: TestDaemon;

beforeAll(async () => {
  daemon = await startDaemon();
  const context = join(daemon.directory, 'stack');
  cpSync(fixture, context, { recursive: true });
  const packages = join(context, 'packages');
  mkdirSync(packages);
  execFileSync('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', '-qq', ...PACKAGES], { cwd: packages });
  for (const deb of readdirSync(packages)) {
    execFileSync('sh', ['-c', `dpkg-deb --fsys-tarfile ${deb} > ${deb.split('_')[0]}.tar`], { cwd: packages });
    rmSync(join(packages, deb));
  }
  const built = daemon.dockerWith(
    { timeout: 120_000 },
    ...['build', '-q', '-t', 'stack', '--build-arg', `BASE=${daemon.image}`, context],
  );
  if (built.code !== 0) throw new Error(built.stderr);
}, 180_000);
afterAll(() => stopClean(daemon));

const { DOCKER_CONFIG } = process.env;
const ONE = ['docker-compose'];
const TWO = ['docker', 'compose'];
const isThere = (command: string[]): boolean => {
  try {
    execFileSync(command[0]!, [...command.slice(1), 'version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

describe.each([ONE, TWO].filter(isThere))('%s %s', (...command) => {
  const program = command.filter((word) => typeof word === 'string');
  const compose = (...args: string[]): RunResult =>
    // The plugin is found by the user's own configuration.
    daemon.inside(
      ...['env', ...(DOCKER_CONFIG ? [`DOCKER_CONFIG=${DOCKER_CONFIG}`] : ['-u', 'DOCKER_CONFIG']), ...program],
      ...['-p', 'stack', '-f', join(fixture, 'compose.yaml'), ...args],
    );

  /** Starts and turns of health since then, in their order: "start db", "health_status: healthy db". */
  const told = (since: number): string[] =>
    daemon
      .ok(
        ...['events', '--since', String(since / 1000), '--until', String(Date.now() / 1000 + 1)],
        ...['--filter', 'event=start', '--filter', 'event=health_status'],
        ...['--format', '{{.Action}} {{index .Actor.Attributes "com.docker.compose.service"}}'],
      )
      .split('\n');

  test('starts who depends on others when they are healthy, and takes all away again', () => {
    const since = Date.now();
    const up = compose('up', '-d');
    expect(up.code, up.stderr).toBe(0);
    for (const service of ['db', 'cache']) {
      expect(daemon.ok('inspect', '-f', '{{.State.Health.Status}}', compose('ps', '-q', service).stdout.trim())).toBe(
        'healthy',
      );
      expect(told(since).indexOf('start web')).toBeGreaterThan(
        told(since).indexOf(`health_status: healthy ${service}`),
      );
      expect(told(since)).toContain(`health_status: healthy ${service}`);
    }
    const page = (url: string): string =>
      daemon.inside('curl', '-g', '-s', '--retry', '20', '--retry-connrefused', '--retry-delay', '0', url).stdout;
    expect(page('http://127.0.0.1:8098/')).toBe('database says 42, cache says 1\n');
    expect(page('http://[::1]:8098/')).toBe('database says 42, cache says 1\n');
    // The back is reached by nobody from outside, and leads nowhere.
    const way = compose('exec', '-T', 'db', 'ip', 'route');
    expect(way.stdout).not.toContain('default');
    expect(compose('restart', '-t', '5', 'web').code).toBe(0);
    expect(page('http://127.0.0.1:8098/')).toBe('database says 42, cache says 2\n');
    const down = compose('down', '-v', '-t', '5');
    expect(down.code, down.stderr).toBe(0);
    expect([daemon.ok('ps', '-aq'), daemon.ok('volume', 'ls', '-q')]).toEqual(['', '']);
    expect(daemon.ok('network', 'ls', '--format', '{{.Name}}').split('\n').sort()).toEqual(['bridge', 'host', 'none']);
  });
});
