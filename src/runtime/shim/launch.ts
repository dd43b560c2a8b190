/** Starts a shim process and reads what it says of itself, in either of the two forms shims use. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { internal } from '../../errors.ts';
import { runTool } from '../../lib/spawn.ts';
import { makeFifo } from './fifo.ts';

export interface LaunchOptions {
  binary: string;
  id: string;
  /** Made for this shim: its working directory, which outlives every container it serves. */
  directory: string;
  namespace: string;
  /** Makes the shim's socket ours alone: the shim hashes it into the socket's name. */
  address: string;
  /** Our socket for events. */
  events: string;
  deadline: number;
}

export interface Bootstrap {
  /** Path of the shim's socket. */
  socket: string;
  /** Version of the Task service it offers. */
  version: number;
}

/** `unix:///path`, or a JSON object {version, address, protocol}. */
export function parseBootstrap(text: string): Bootstrap {
  const trimmed = text.trim();
  let address = trimmed;
  let version = 2;
  if (trimmed.startsWith('{')) {
    const parsed = JSON.parse(trimmed) as { version?: unknown; address?: unknown; protocol?: unknown };
    if (parsed.protocol !== undefined && parsed.protocol !== 'ttrpc') {
      throw internal(`the shim speaks ${String(parsed.protocol)}, not ttrpc`);
    }
    address = String(parsed.address ?? '');
    version = Number(parsed.version ?? 2);
  }
  const socket = address.replace(/^unix:\/\//, '');
  if (!socket.startsWith('/'))
    throw internal(`the shim gave no unix socket but ${JSON.stringify(trimmed.slice(0, 200))}`);
  return { socket, version };
}

export const logFifo = (directory: string): string => join(directory, 'log');
const bootstrapFile = (directory: string): string => join(directory, 'bootstrap.json');

/** Makes the directory as the shim wants it: a config to read its group from, and the pipe it logs to. */
export function prepareShimDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileSync(join(directory, 'config.json'), '{"ociVersion":"1.0.2","annotations":{}}');
  makeFifo(logFifo(directory));
}

/** The log pipe must have its reader before this. */
export async function launchShim(options: LaunchOptions): Promise<Bootstrap> {
  const args = ['-namespace', options.namespace, '-address', options.address, '-publish-binary', '/bin/true'];
  const { stdout } = await runTool(options.binary, [...args, '-id', options.id, 'start'], {
    cwd: options.directory,
    env: { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', TTRPC_ADDRESS: options.events },
    deadline: options.deadline,
  });
  const bootstrap = parseBootstrap(stdout);
  writeFileSync(bootstrapFile(options.directory), JSON.stringify(bootstrap));
  return bootstrap;
}

/** What is known of a shim an earlier daemon started; the shim itself leaves a file `address` when we had no time to. */
export function readBootstrap(directory: string): Bootstrap | undefined {
  try {
    if (existsSync(bootstrapFile(directory))) {
      return JSON.parse(readFileSync(bootstrapFile(directory), 'utf8')) as Bootstrap;
    }
    return parseBootstrap(readFileSync(join(directory, 'address'), 'utf8'));
  } catch {
    return undefined;
  }
}

export const removeShimFiles = (directory: string, bootstrap: Bootstrap | undefined): void => {
  if (bootstrap) rmSync(bootstrap.socket, { force: true });
  rmSync(directory, { recursive: true, force: true });
};
