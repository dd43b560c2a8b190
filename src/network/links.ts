/**
 * Namespaces, links and sysctls of the host, through iproute2 and util-linux. A namespace is a file under
 * <exec-root>/netns on which it is bind mounted; a helper process makes it, because Node's own threads must stay in ours.
 */
import { mkdir, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mount, MS, umountIfMounted } from '../host/ffi.ts';
import type { Clock } from '../lib/clock.ts';
import { runTool } from '../lib/spawn.ts';
import { parseSubnet, type Subnet } from './address.ts';
import { SpareNamespaces } from './spare-namespaces.ts';

const DEADLINE_MS = 15_000;
/** statfs(2) of a namespace file. */
const NSFS_MAGIC = 0x6e736673;

export interface LinkInfo {
  name: string;
  alias: string;
  addresses: string[];
}

/** What is done inside a namespace, in this order. */
export interface NamespaceScript {
  /** Dotted or with slashes; the links made from the host's side exist by now. */
  sysctls: Record<string, string>;
  ip: string[];
  nft: string;
}

const sysctlPath = (name: string): string => `/proc/sys/${name.includes('/') ? name : name.replaceAll('.', '/')}`;

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

const heredoc = (command: string, text: string): string => `${command} <<'END_OF_INPUT'\n${text}\nEND_OF_INPUT\n`;

const sysctlLines = (sysctls: Record<string, string>): string =>
  Object.entries(sysctls)
    .map(([name, value]) => `printf %s ${quoted(value)} > ${quoted(sysctlPath(name))}\n`)
    .join('');

/**
 * What every new namespace gets. IPv6 is off on its links, whatever the host's default is, until an endpoint has an
 * IPv6 address, and then works at once, without detection of duplicates.
 */
const setupScript = (ipv6: boolean): string =>
  [
    ...(ipv6 ? ['cd /proc/sys/net/ipv6/conf/default', 'echo 1 > disable_ipv6', 'echo 0 > accept_dad'] : []),
    'ip link set lo up',
  ].join(' && ');

export class Links {
  readonly directory: string;
  #setup: string;
  #spares: SpareNamespaces;
  #owner: string | undefined;

  /** `owner`: the user namespace that owns what is made; the host's unless told. */
  constructor(directory: string, options: { ipv6: boolean; clock: Clock; owner?: string }) {
    this.directory = directory;
    this.#setup = setupScript(options.ipv6);
    this.#owner = options.owner;
    this.#spares = new SpareNamespaces(this.#setup, options.clock, options.owner);
  }

  path(sandboxId: string): string {
    return join(this.directory, sandboxId.slice(0, 12));
  }

  /** A ready one if there is one; otherwise a helper makes it. Resolves when the namespace lies at `path`. */
  async makeNamespace(path: string): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    await writeFile(path, '', { mode: 0o444 });
    if (this.#spares.take((spare) => mount(spare, path, '', MS.BIND))) return;
    // Who is in another user namespace can mount nothing in ours.
    if (this.#owner) return this.#spares.make((made) => mount(made, path, '', MS.BIND));
    await runTool('unshare', [`--net=${path}`, 'sh', '-c', this.#setup], { deadline: DEADLINE_MS });
  }

  close(): void {
    this.#spares.close();
  }

  async removeNamespace(path: string): Promise<void> {
    umountIfMounted(path);
    await rm(path, { force: true });
  }

  /** A file on which a network namespace is mounted now. */
  async isNamespace(path: string): Promise<boolean> {
    return statfs(path).then(
      (found) => found.type === NSFS_MAGIC,
      () => false,
    );
  }

  /** Paths of all namespaces and files in our directory. */
  async namespaces(): Promise<string[]> {
    const names = await readdir(this.directory).catch(() => [] as string[]);
    return names.map((name) => join(this.directory, name));
  }

  async batch(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    await runTool('ip', ['-batch', '-'], { deadline: DEADLINE_MS, input: `${lines.join('\n')}\n` });
  }

  /** Goes on after a line that fails: for what may be gone already. */
  async batchForced(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    await runTool('ip', ['-force', '-batch', '-'], {
      deadline: DEADLINE_MS,
      input: `${lines.join('\n')}\n`,
      accept: [0, 1, 2],
    });
  }

  /** The host's links, then the namespace's part, in one helper process that becomes the last tool where it can. */
  async connect(hostLines: readonly string[], netnsPath: string, inside: NamespaceScript): Promise<void> {
    const ip = inside.ip.length ? heredoc('ip -batch -', inside.ip.join('\n')) : '';
    const sysctls = sysctlLines(inside.sysctls);
    const enter = `exec nsenter --net=${quoted(netnsPath)}`;
    const within =
      sysctls || inside.nft
        ? `${enter} sh -c ${quoted(`set -e\n${sysctls}${ip}${inside.nft ? heredoc('exec nft -f -', inside.nft) : ''}`)}\n`
        : ip && `${enter} ${ip}`;
    const outer = `set -e\n${hostLines.length ? heredoc('ip -batch -', hostLines.join('\n')) : ''}${within}`;
    await runTool('sh', ['-s'], { deadline: DEADLINE_MS, input: outer });
  }

  async list(): Promise<LinkInfo[]> {
    const { stdout } = await runTool('ip', ['-j', '-d', 'addr', 'show'], { deadline: DEADLINE_MS, limit: 64 << 20 });
    const found = JSON.parse(stdout || '[]') as {
      ifname?: string;
      ifalias?: string;
      addr_info?: { local?: string; prefixlen?: number }[];
    }[];
    return found
      .filter((link) => link.ifname)
      .map((link) => ({
        name: link.ifname!,
        alias: link.ifalias ?? '',
        addresses: (link.addr_info ?? []).map((address) => `${address.local}/${address.prefixlen}`),
      }));
  }

  /** '' for a link without one. */
  async alias(link: string): Promise<string> {
    const { stdout } = await runTool('ip', ['-j', 'link', 'show', 'dev', link], { deadline: DEADLINE_MS });
    return (JSON.parse(stdout || '[]') as { ifalias?: string }[])[0]?.ifalias ?? '';
  }

  /** Destinations the host has routes for, without the default. */
  async routes(): Promise<Subnet[]> {
    const read = async (args: string[]): Promise<Subnet[]> => {
      const { stdout } = await runTool('ip', [...args, 'route', 'show', 'table', 'main'], {
        deadline: DEADLINE_MS,
        limit: 64 << 20,
      });
      return stdout
        .split('\n')
        .map((line) => line.replace(/^(unreachable|blackhole|prohibit) /, '').split(' ')[0] ?? '')
        .map((target) => parseSubnet(target.includes('/') ? target : `${target}/${target.includes(':') ? 128 : 32}`))
        .filter((subnet) => subnet !== undefined);
    };
    return (await Promise.all([read(['-4']), read(['-6']).catch(() => [])])).flat();
  }

  async sysctl(name: string, value: string): Promise<void> {
    await writeFile(sysctlPath(name), value);
  }

  async readSysctl(name: string): Promise<string | undefined> {
    return readFile(sysctlPath(name), 'utf8').then(
      (text) => text.trim(),
      () => undefined,
    );
  }
}
