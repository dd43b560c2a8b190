/**
 * Volume plugins (docs.docker.com, "Volume plugins" and "Plugin API"): JSON over HTTP on a socket found under the plugin
 * directories. Every call has a deadline; a plugin that does not answer holds up nobody but its own volumes.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { internal, notFound } from '../errors.ts';
import { withDeadline } from '../lib/deadline.ts';
import type { VolumeDriver } from './driver.ts';

export interface PluginDirectories {
  /** Where sockets lie: <name>.sock or <name>/<name>.sock. */
  sockets: string;
  /** Where <name>.spec (an address) and <name>.json ({Addr}) lie. */
  specs: readonly string[];
  /** How long a call may take, in milliseconds, in place of what each kind has. */
  deadlineMs?: number;
}

export const PLUGIN_DIRECTORIES: PluginDirectories = {
  sockets: '/run/docker/plugins',
  specs: ['/etc/docker/plugins', '/usr/lib/docker/plugins'],
};

const CALL_MS = 30_000;
/** Who wants to see all volumes should not wait long for one plugin. */
const LIST_MS = 10_000;
/** Mounting may bring a whole file system up. */
const MOUNT_MS = 120_000;
const LARGEST_ANSWER = 4 << 20;

export interface PluginAddress {
  socketPath?: string;
  host?: string;
  port?: number;
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

function parseAddress(text: string): PluginAddress | undefined {
  const unix = /^unix:\/\/(\/.+)$/.exec(text.trim());
  if (unix) return { socketPath: unix[1] };
  const tcp = /^(?:tcp|http):\/\/([^:/]+):(\d+)\/?$/.exec(text.trim());
  return tcp ? { host: tcp[1], port: Number(tcp[2]) } : undefined;
}

async function readAddress(directory: string, name: string): Promise<PluginAddress | undefined> {
  const spec = await readFile(join(directory, `${name}.spec`), 'utf8').catch(() => undefined);
  if (spec) return parseAddress(spec);
  const json = await readFile(join(directory, `${name}.json`), 'utf8').catch(() => undefined);
  if (!json) return undefined;
  try {
    return parseAddress(String((JSON.parse(json) as { Addr?: unknown }).Addr ?? ''));
  } catch {
    return undefined;
  }
}

/** Throws notFound when no file of a plugin of that name is there. */
export async function findPlugin(name: string, directories: PluginDirectories): Promise<PluginAddress> {
  // The name becomes part of a path.
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    for (const path of [`${name}.sock`, join(name, `${name}.sock`)]) {
      const socketPath = join(directories.sockets, path);
      if (await isFile(socketPath)) return { socketPath };
    }
    for (const directory of directories.specs) {
      const address = await readAddress(directory, name);
      if (address) return address;
    }
  }
  throw notFound(`error looking up volume plugin ${name}: plugin "${name}" not found`, { code: 'plugin' });
}

/** Names of all that could be plugins: whether they have volumes is told by asking them. */
export async function pluginNames({ sockets, specs }: PluginDirectories): Promise<string[]> {
  const found = await Promise.all(
    [sockets, ...specs].map((directory) => readdir(directory, { withFileTypes: true }).catch(() => [])),
  );
  const names = found.flat().flatMap((entry) => {
    if (entry.isDirectory()) return entry.name;
    return /^(.+)\.(?:sock|spec|json)$/.exec(entry.name)?.[1] ?? [];
  });
  return [...new Set(names)];
}

/** One call: POST /<method> with a JSON body; an `Err` in the answer is an error. */
function call<T extends object>(address: PluginAddress, method: string, body: object, deadline: number): Promise<T> {
  return withDeadline(method, deadline, undefined, async (signal) => {
    const text = await post(address, method, JSON.stringify(body), signal);
    let answer: unknown;
    try {
      answer = JSON.parse(text || '{}');
    } catch (error) {
      throw internal(`${method}: the plugin's answer is no JSON`, { cause: error });
    }
    const reason = (answer as { Err?: unknown } | null)?.Err;
    if (reason) throw internal(`${method}: ${String(reason)}`, { code: 'plugin' });
    return (answer ?? {}) as T;
  });
}

function post(address: PluginAddress, method: string, body: string, signal: AbortSignal): Promise<string> {
  const headers = {
    Accept: 'application/vnd.docker.plugins.v1.2+json',
    'Content-Type': 'application/vnd.docker.plugins.v1.2+json',
    'Content-Length': Buffer.byteLength(body),
    Host: 'plugin',
  };
  return new Promise((resolve, reject) => {
    const sent = request(
      { ...address, method: 'POST', path: `/${method}`, headers, signal, agent: false },
      (answer) => {
        const chunks: Buffer[] = [];
        let size = 0;
        answer.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > LARGEST_ANSWER) sent.destroy(new Error('the answer is too large'));
          else chunks.push(chunk);
        });
        answer.on('error', reject);
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          if (answer.statusCode === 200) resolve(text);
          else reject(internal(`${method}: the plugin answered ${answer.statusCode}: ${text.slice(0, 2000)}`));
        });
      },
    );
    sent.on('error', (error) => reject(internal(`${method}: ${error.message}`, { code: 'plugin', cause: error })));
    sent.end(body);
  });
}

interface PluginVolume {
  Name: string;
  Mountpoint?: string;
  Status?: Record<string, unknown>;
}

export class PluginDriver implements VolumeDriver {
  readonly name: string;
  readonly scope: 'local' | 'global';
  readonly #address: PluginAddress;
  readonly #deadlineMs: number | undefined;
  readonly #paths = new Map<string, string>();

  private constructor(name: string, scope: 'local' | 'global', address: PluginAddress, deadlineMs?: number) {
    this.name = name;
    this.scope = scope;
    this.#address = address;
    this.#deadlineMs = deadlineMs;
  }

  static async connect(name: string, directories: PluginDirectories): Promise<PluginDriver> {
    const address = await findPlugin(name, directories);
    const deadline = directories.deadlineMs ?? CALL_MS;
    const { Implements } = await call<{ Implements?: string[] }>(address, 'Plugin.Activate', {}, deadline);
    if (!Implements?.includes('VolumeDriver')) throw notFound(`plugin "${name}" does not implement VolumeDriver`);
    // Plugins older than the call do not know it; they are local.
    const scope = await call<{ Capabilities?: { Scope?: string } }>(
      address,
      'VolumeDriver.Capabilities',
      {},
      deadline,
    ).then(
      ({ Capabilities }) =>
        Capabilities?.Scope?.toLowerCase() === 'global' ? ('global' as const) : ('local' as const),
      () => 'local' as const,
    );
    return new PluginDriver(name, scope, address, directories.deadlineMs);
  }

  #call<T extends object>(method: string, body: object, usualMs = CALL_MS): Promise<T> {
    return call<T>(this.#address, `VolumeDriver.${method}`, body, this.#deadlineMs ?? usualMs);
  }

  validate(): void {}

  path(name: string): string {
    return this.#paths.get(name) ?? '';
  }

  async create(name: string, options: Readonly<Record<string, string>>): Promise<void> {
    await this.#call('Create', { Name: name, Opts: options });
  }

  async remove(name: string): Promise<void> {
    // A plugin that does not know the volume any more says so here; then there is nothing left to remove.
    if (await this.has(name)) await this.#call('Remove', { Name: name });
    this.#paths.delete(name);
  }

  async mount(name: string, user: string): Promise<string> {
    const { Mountpoint } = await this.#call<{ Mountpoint?: string }>('Mount', { Name: name, ID: user }, MOUNT_MS);
    if (!Mountpoint?.startsWith('/'))
      throw internal(`VolumeDriver.Mount: plugin "${this.name}" gave no path for ${name}`);
    this.#paths.set(name, Mountpoint);
    return Mountpoint;
  }

  async unmount(name: string, user: string): Promise<void> {
    await this.#call('Unmount', { Name: name, ID: user }, MOUNT_MS);
  }

  async status(name: string): Promise<Record<string, unknown> | undefined> {
    return (await this.#get(name))?.Status;
  }

  async has(name: string): Promise<boolean> {
    return this.#get(name).then(Boolean, () => false);
  }

  async list(): Promise<string[]> {
    const { Volumes } = await this.#call<{ Volumes?: PluginVolume[] | null }>('List', {}, LIST_MS);
    for (const { Name, Mountpoint } of Volumes ?? []) if (Mountpoint) this.#paths.set(Name, Mountpoint);
    return (Volumes ?? []).map(({ Name }) => Name);
  }

  async #get(name: string): Promise<PluginVolume | undefined> {
    const { Volume } = await this.#call<{ Volume?: PluginVolume }>('Get', { Name: name });
    if (Volume?.Mountpoint) this.#paths.set(name, Volume.Mountpoint);
    return Volume;
  }
}
