/** An app with routes that show what the frame does, with and without a socket. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApp } from '../../src/api/app.ts';
import type { Api } from '../../src/api/kit.ts';
import type { SystemInfo } from '../../src/api/routes/system.ts';
import { listen, type ListenOptions, type Listening } from '../../src/api/server.ts';
import type { Config } from '../../src/config/config.ts';
import { type TestDeps, testDeps, testHost } from '../support/deps.ts';

export const testSystem: SystemInfo = {
  version: '1.2.3',
  gitCommit: 'abcdef0',
  buildTime: '2026-01-01T00:00:00Z',
  id: '5c3a3a9c-4d5e-4a0c-9b0e-6a7a7d1e0f11',
  host: testHost,
  components: [{ Name: 'runc', Version: '1.1.5', Details: { GitCommit: 'v1' } }],
  backingFilesystem: 'extfs',
  plugins: { volume: ['local'], network: ['bridge', 'host', 'null'], log: ['json-file'] },
  counts: () => ({ containers: 3, running: 1, paused: 1, stopped: 1, images: 2 }),
  diskUsage: async (kinds) => ({
    layersSize: 42,
    ...(kinds.has('image') ? { images: [] } : {}),
    ...(kinds.has('build-cache') ? { buildCache: [{ Size: 7 }] } : {}),
  }),
};

export interface TestApp extends TestDeps {
  app: Api;
}

export function testApp(routes: (api: Api) => void = () => {}, config: Partial<Config> = {}): TestApp {
  const deps = testDeps({ config });
  return { ...deps, app: createApp({ ...deps, rooms: [{ routes }], system: testSystem }) };
}

export interface Served extends Listening {
  path: string;
  stop(): Promise<void>;
}

export async function serve({ app, config, log }: TestApp, more: Partial<ListenOptions> = {}): Promise<Served> {
  const directory = mkdtempSync(join(tmpdir(), 'reactord-api-'));
  const path = join(directory, 'a.sock');
  const listening = await listen({ app, log, config: { ...config, hosts: [`unix://${path}`] }, ...more });
  return {
    ...listening,
    path,
    async stop() {
      await listening.close(0);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export interface RawClient {
  socket: Socket;
  /** Everything that came so far. */
  text(): string;
  ended: Promise<string>;
}

/** A client that speaks bytes and can half-close. */
export function rawClient(path: string, ...parts: (string | Uint8Array)[]): RawClient {
  const socket = connect({ path, allowHalfOpen: true });
  const chunks: Buffer[] = [];
  const text = (): string => Buffer.concat(chunks).toString('latin1');
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const ended = new Promise<string>((resolve) => {
    socket.on('end', () => resolve(text()));
    socket.on('error', () => resolve(text()));
    socket.on('close', () => resolve(text()));
  });
  for (const part of parts) socket.write(part);
  return { socket, text, ended };
}
