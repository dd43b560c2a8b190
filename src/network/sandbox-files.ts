/** /etc/hosts and /etc/resolv.conf of each container: what goes in, and when they are written again. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../config/config.ts';
import { INSIDE_ADDRESS } from './dns/inside.ts';
import {
  embeddedResolvConf,
  hostsText,
  parseExtraHost,
  parseResolvConf,
  plainResolvConf,
  type ResolvConf,
  resolvConfText,
} from './files.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';

export const pathsOf = (directory: string): { hostsPath: string; resolvConfPath: string } => ({
  hostsPath: join(directory, 'hosts'),
  resolvConfPath: join(directory, 'resolv.conf'),
});

/** The network whose DNS server the container asks. */
export function resolverOf(
  registry: NetworkRegistry,
  endpoints: readonly EndpointRecord[],
): { endpoint: EndpointRecord; network: NetworkRecord } | undefined {
  for (const endpoint of endpoints) {
    const network = registry.get(endpoint.networkId);
    if (network && network.dnsPort > 0) return { endpoint, network };
  }
  return undefined;
}

/** No server of ours is in reach of a container in user-defined networks: it gets one of its own. */
export const isServedInside = (
  registry: NetworkRegistry,
  { netnsPath, endpoints }: Pick<SandboxRecord, 'netnsPath' | 'endpoints'>,
): boolean =>
  netnsPath !== '' &&
  !resolverOf(registry, endpoints) &&
  endpoints.some(({ networkId, ifname }) => ifname !== '' && registry.get(networkId)?.predefined === false);

/** The host's own, or systemd-resolved's list where the host has only its stub. */
export async function hostResolvConf(): Promise<ResolvConf> {
  const own = parseResolvConf(await readFile('/etc/resolv.conf', 'utf8').catch(() => ''));
  if (own.nameservers.length !== 1 || own.nameservers[0] !== '127.0.0.53') return own;
  return parseResolvConf(await readFile('/run/systemd/resolve/resolv.conf', 'utf8').catch(() => ''));
}

/** What `host-gateway` stands for: the host as containers on the default bridge reach it. */
export function hostGateways({ config, registry }: Pick<SandboxFilesDeps, 'config' | 'registry'>): string[] {
  if (config.hostGatewayIps.length) return [...config.hostGatewayIps];
  const bridge = registry.all().find((record) => record.name === 'bridge');
  return (bridge?.pools ?? [])
    .map((pool) => pool.gateway)
    .filter(Boolean)
    .slice(0, 1);
}

export interface SandboxFilesDeps {
  config: Config;
  registry: NetworkRegistry;
  ipv6: boolean;
  sandboxes: { get(containerId: string): SandboxRecord | undefined };
}

export class SandboxFiles {
  #deps: SandboxFilesDeps;

  constructor(deps: SandboxFilesDeps) {
    this.#deps = deps;
  }

  /** Written in place: the container has these very files mounted. */
  async write(sandbox: SandboxRecord): Promise<void> {
    const { hostsPath, resolvConfPath } = pathsOf(sandbox.request.directory);
    const hosts = sandbox.netnsPath ? this.#hosts(sandbox) : await this.#hostHosts(sandbox);
    await Promise.all([
      writeFile(hostsPath, hosts),
      writeFile(resolvConfPath, resolvConfText(await this.#resolv(sandbox))),
    ]);
  }

  /** On the host's network: the host's own names and those asked for. */
  async #hostHosts(sandbox: SandboxRecord): Promise<string> {
    const own = await readFile('/etc/hosts', 'utf8').catch(() => '127.0.0.1\tlocalhost\n');
    const extra = this.#extraHosts(sandbox).map(({ name, address }) => `${address}\t${name}\n`);
    return `${own}${own.endsWith('\n') ? '' : '\n'}${extra.join('')}`;
  }

  #extraHosts(sandbox: SandboxRecord): { name: string; address: string }[] {
    return sandbox.request.extraHosts.flatMap((entry) => {
      const extra = parseExtraHost(entry);
      if (extra?.address !== 'host-gateway') return extra ? [extra] : [];
      return hostGateways(this.#deps).map((address) => ({ name: extra.name, address }));
    });
  }

  #hosts(sandbox: SandboxRecord): string {
    const { request } = sandbox;
    const links = request.links.flatMap(({ containerId, alias }) => {
      const other = this.#deps.sandboxes.get(containerId);
      const address = other?.endpoints.find(
        (endpoint) => this.#deps.registry.get(endpoint.networkId)?.name === 'bridge',
      )?.ipv4;
      return other && address ? [{ address, names: [alias, other.request.hostname, other.request.name] }] : [];
    });
    return hostsText({
      hostname: request.hostname,
      domainname: request.domainname,
      addresses: sandbox.endpoints.flatMap((endpoint) => [endpoint.ipv4, endpoint.ipv6]),
      extraHosts: this.#extraHosts(sandbox),
      links,
      ipv6: this.#deps.ipv6,
    });
  }

  async #resolv(sandbox: SandboxRecord): Promise<ResolvConf> {
    const host = await hostResolvConf();
    const { request } = sandbox;
    if (!sandbox.netnsPath)
      return {
        ...host,
        ...(request.dns.length ? { nameservers: request.dns } : {}),
        ...(request.dnsSearch.length ? { search: request.dnsSearch } : {}),
        ...(request.dnsOptions.length ? { options: request.dnsOptions } : {}),
      };
    const resolver = resolverOf(this.#deps.registry, sandbox.endpoints);
    // Without IPv4 there is no 127.0.0.11 to translate: the server is asked at its own address.
    if (resolver)
      return embeddedResolvConf(host, request, resolver.endpoint.ipv4 ? undefined : resolver.endpoint.gateway6);
    if (isServedInside(this.#deps.registry, sandbox)) return embeddedResolvConf(host, request, INSIDE_ADDRESS);
    return plainResolvConf(
      host,
      request,
      sandbox.endpoints.some((endpoint) => endpoint.ipv6 !== ''),
    );
  }
}
