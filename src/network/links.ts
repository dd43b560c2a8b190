/**
 * Namespaces, links and sysctls of the host. A namespace is a file under <exec-root>/netns on which it is bind mounted. What
 * each start and end of a container needs is done by a thread of its own over netlink; what is rare, by iproute2.
 */
import { mkdir, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mount, MS, umountIfMounted } from '../host/ffi.ts';
import type { Clock } from '../lib/clock.ts';
import { runTool } from '../lib/spawn.ts';
import { parseSubnet, type Subnet } from './address.ts';
import type { BoundPair } from './dns/server.ts';
import type { LinkStep } from './netlink/steps.ts';
import { LinkThread } from './netlink/thread.ts';
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
  /** Path below /proc/sys → value; the links made from the host's side exist by now. */
  sysctls: Record<string, string>;
  steps: LinkStep[];
  nft: string;
}

const sysctlPath = (name: string): string => `/proc/sys/${name.includes('/') ? name : name.replaceAll('.', '/')}`;

/** What every new namespace gets (see netlink/run.ts), as commands. */
const setupScript = (ipv6: boolean): string =>
  [
    ...(ipv6 ? ['cd /proc/sys/net/ipv6/conf/default', 'echo 1 > disable_ipv6', 'echo 0 > accept_dad'] : []),
    'ip link set lo up',
  ].join(' && ');

export class Links {
  readonly directory: string;
  #ipv6: boolean;
  #thread = new LinkThread();
  /** Only a process of its own can make a namespace that belongs to another user namespace. */
  #owned: SpareNamespaces | undefined;

  /** `owner`: the user namespace that owns what is made; the host's unless told. */
  constructor(directory: string, options: { ipv6: boolean; clock: Clock; owner?: string }) {
    this.directory = directory;
    this.#ipv6 = options.ipv6;
    if (options.owner) this.#owned = new SpareNamespaces(setupScript(options.ipv6), options.clock, options.owner);
  }

  path(sandboxId: string): string {
    return join(this.directory, sandboxId.slice(0, 12));
  }

  /** Resolves when the namespace lies at `path`. */
  async makeNamespace(path: string): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    await writeFile(path, '', { mode: 0o444 });
    if (!this.#owned) return this.#thread.run({ kind: 'namespace', path, ipv6: this.#ipv6 });
    const use = (made: string): void => mount(made, path, '', MS.BIND);
    if (!this.#owned.take(use)) await this.#owned.make(use);
  }

  async close(): Promise<void> {
    this.#owned?.close();
    await this.#thread.close();
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

  /** The host's side first, in the order of the steps, then the namespace's. */
  async connect(host: readonly (LinkStep | string)[], netnsPath: string, inside: NamespaceScript): Promise<void> {
    const { steps, sysctls, nft } = inside;
    await this.batch(host.filter((one) => typeof one === 'string'));
    await Promise.all([
      this.#thread.run({
        kind: 'links',
        host: host.filter((one) => typeof one !== 'string'),
        inside: { path: netnsPath, sysctls, steps },
      }),
      nft && runTool('nsenter', [`--net=${netnsPath}`, 'nft', '-f', '-'], { deadline: DEADLINE_MS, input: nft }),
    ]);
  }

  /** Sockets in a namespace, which only a thread that goes there can open; they are this process's. */
  bindInside(path: string, address: string): Promise<BoundPair> {
    return this.#thread.run({ kind: 'bind', path, address });
  }

  /** Links of the host; what is gone already counts as removed. */
  async remove(names: readonly string[]): Promise<void> {
    await Promise.all(names.map((link) => this.#thread.run({ kind: 'links', host: [{ kind: 'delete', link }] })));
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
    return (await this.#show(link)).ifalias ?? '';
  }

  /** As `ip link add … type` has it; '' for what only hardware makes, and the loopback. */
  async kind(link: string): Promise<string> {
    return (await this.#show(link)).linkinfo?.info_kind ?? '';
  }

  async #show(link: string): Promise<{ ifalias?: string; linkinfo?: { info_kind?: string } }> {
    const { stdout } = await runTool('ip', ['-j', '-d', 'link', 'show', 'dev', link], { deadline: DEADLINE_MS });
    return (JSON.parse(stdout || '[]') as object[])[0] ?? {};
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
