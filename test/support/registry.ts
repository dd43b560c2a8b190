/**
 * A real registry (docker-registry) for tests: plain, with TLS, with passwords, and inside a network namespace. What is
 * pushed from the test goes through a door in the test's own namespace that serves the same directory.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface RegistryOptions {
  tls?: boolean;
  /** Asks for `USER`/`PASSWORD` by basic authentication. */
  htpasswd?: boolean;
  /** With TLS: it talks only to who shows its own certificate. */
  clientCertificate?: boolean;
  /** Path of a network namespace, such as /run/netns/x, in whose loopback it listens; without, the test's own. */
  netns?: string;
  /** Where it listens in that namespace. */
  address?: string;
}

export interface TestRegistry {
  /** As it stands in references, seen from `netns`: "127.0.0.1:40123". */
  host: string;
  /** Base URL in the test's own namespace; plain HTTP unless `tls`. */
  url: string;
  /** PEM of the certificate, which is its own authority. */
  ca?: string;
  /** What it wants to see of a client, PEM. */
  client?: { cert: string; key: string };
  /** Authorization header where one is needed. */
  authorization?: string;
  directory: string;
  stop(): Promise<void>;
}

export const USER = 'tester';
export const PASSWORD = 'secret';
/** bcrypt of PASSWORD, so that no tool is needed to make it. */
const HTPASSWD = `${USER}:$2y$05$gJO5vbOge7JMYvduBsQXmuTeQh6GmGQeYeAP5eLNDt5fSo2A5QBoG\n`;

function makeCertificate(directory: string): void {
  const made = spawnSync('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
    ...['-keyout', join(directory, 'key.pem'), '-out', join(directory, 'cert.pem')],
  ]);
  if (made.status !== 0) throw new Error(`openssl: ${made.stderr.toString()}`);
}

function configuration(directory: string, options: RegistryOptions, address: string): string {
  const [certificate, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
  const clients = options.clientCertificate ? { clientcas: [certificate] } : {};
  const tls = options.tls ? { certificate, key, ...clients } : undefined;
  return JSON.stringify({
    version: '0.1',
    log: { level: 'info', accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: join(directory, 'data') },
      delete: { enabled: true },
      maintenance: { uploadpurging: { enabled: false } },
    },
    ...(options.htpasswd ? { auth: { htpasswd: { realm: 'test', path: join(directory, 'htpasswd') } } } : {}),
    http: { addr: `${address}:0`, secret: 'test', ...(tls ? { tls } : {}) },
  });
}

/** Resolves with the process and the port it says it listens on. */
function serve(file: string, netns: string | undefined): Promise<{ child: ChildProcess; port: number }> {
  const command = ['docker-registry', 'serve', file];
  const [tool, ...args] = netns ? ['nsenter', `--net=${netns}`, ...command] : command;
  const child = spawn(tool!, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    let said = '';
    const listen = (chunk: Buffer): void => {
      if (said.length < 1 << 16) said += chunk.toString();
      const port = /listening on [\d.]+:(\d+)/.exec(said)?.[1];
      if (port) resolve({ child, port: Number(port) });
    };
    child.stdout!.on('data', listen);
    child.stderr!.on('data', listen);
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`docker-registry ended with ${code}: ${said}`)));
  });
}

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });

export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const directory = mkdtempSync(join(tmpdir(), 'registry-'));
  writeFileSync(join(directory, 'htpasswd'), HTPASSWD);
  if (options.tls) makeCertificate(directory);
  const address = options.address ?? '127.0.0.1';
  const serveAt = (at: string, netns?: string): ReturnType<typeof serve> => {
    const file = join(directory, `config-${at}.yml`);
    writeFileSync(file, configuration(directory, options, at));
    return serve(file, netns);
  };
  const own = await serveAt('127.0.0.1');
  const inside = options.netns ? await serveAt(address, options.netns) : undefined;
  const pem = (name: string): string => readFileSync(join(directory, name), 'utf8');
  return {
    host: inside ? `${address}:${inside.port}` : `127.0.0.1:${own.port}`,
    url: `${options.tls ? 'https' : 'http'}://127.0.0.1:${own.port}`,
    directory,
    ...(options.tls ? { ca: pem('cert.pem') } : {}),
    ...(options.clientCertificate ? { client: { cert: pem('cert.pem'), key: pem('key.pem') } } : {}),
    ...(options.htpasswd ? { authorization: `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}` } : {}),
    async stop() {
      await Promise.all([own, inside].map((server) => server && ended(server.child)));
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
