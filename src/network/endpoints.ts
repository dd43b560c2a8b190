/**
 * What a container gets in each of its networks, decided before anything is made. Allocation happens here, in one turn
 * of the event loop; the links are made from the result.
 */
import { forbidden, internal, invalid } from '../errors.ts';
import { newId, shortId } from '../lib/ids.ts';
import { contains, isUnspecified, parseAddress, parseSubnet } from './address.ts';
import { isClosed } from './driver-options.ts';
import { macFor, newHostLink } from './link-script.ts';
import type { EndpointConfig, SandboxRequest } from './port.ts';
import type { EndpointRecord, NetworkRecord } from './record.ts';
import type { NetworkRegistry } from './registry.ts';

const IFNAME_OPTION = 'com.docker.network.endpoint.ifname';
const SYSCTLS_OPTION = 'com.docker.network.endpoint.sysctls';
const PREFIX_OPTION = 'com.docker.network.container_iface_prefix';
const IFNAME = /^[A-Za-z][A-Za-z0-9_.-]{0,14}$/;
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;

export interface WantedEndpoint {
  network: NetworkRecord;
  config: EndpointConfig;
}

/** The networks a request names, with the mode's own first, each once; `known`: without those that are still to be made. */
export function wantedEndpoints(
  registry: NetworkRegistry,
  request: SandboxRequest,
  which: 'all' | 'known' = 'all',
): WantedEndpoint[] {
  const found = new Map<string, WantedEndpoint>();
  for (const key of [request.mode, ...Object.keys(request.endpoints)]) {
    if (which === 'known' && !registry.has(key)) continue;
    const network = registry.resolve(key);
    const config = request.endpoints[key] ?? {};
    const known = found.get(network.id);
    // The mode may give by name what the endpoints give by id.
    if (!known || Object.keys(known.config).length === 0) found.set(network.id, { network, config });
  }
  return [...found.values()];
}

/** What an endpoint's addresses and names ask that the network cannot give, in dockerd's words and order. */
function complaints(network: NetworkRecord, config: EndpointConfig): string[] {
  const ipam = config.IPAMConfig ?? {};
  const given = [
    [4, ipam.IPv4Address],
    [6, ipam.IPv6Address],
  ] as const;
  const found: string[] = [];
  if (network.predefined && given.some(([, text]) => text))
    found.push('user specified IP address is supported on user defined networks only');
  if (network.predefined && config.Aliases?.length)
    found.push('network-scoped aliases are only supported for user-defined networks');
  for (const [family, text] of given)
    if (text && (parseAddress(text)?.family !== family || isUnspecified(text)))
      found.push(`invalid IPv${family} address: ${text}`);
  for (const address of ipam.LinkLocalIPs ?? [])
    if (!parseAddress(address)) found.push(`invalid link-local IP address: ${address}`);
  for (const [, text] of given) {
    const address = text ? parseAddress(text) : undefined;
    const subnets = network.pools.filter((pool) => pool.given).map((pool) => parseSubnet(pool.subnet));
    if (address && subnets.length && !subnets.some((subnet) => subnet && contains(subnet, address)))
      found.push(`no configured subnet or ip-range contain the IP address ${text}`);
  }
  const ungiven = given.some(([family, text]) => {
    const pools = network.pools.filter((pool) => pool.subnet.includes(':') === (family === 6));
    // The default bridge's own is as good as given.
    return text && !pools.some((pool) => pool.given || network.predefined);
  });
  if (ungiven)
    found.push('user specified IP address is supported only when connecting to networks with user configured subnets');
  const ifname = config.DriverOpts?.[IFNAME_OPTION];
  if (ifname && !IFNAME.test(ifname)) found.push(`invalid interface name: ${ifname}`);
  return found;
}

/** Refuses what the network cannot give. */
export function checkEndpoint(network: NetworkRecord, config: EndpointConfig): void {
  const refuse = (why: string): never => {
    throw invalid(`invalid config for network ${network.name}: ${why}`);
  };
  if (network.configOnly) throw forbidden(`cannot use network ${network.name}: it is a configuration only network`);
  const found = complaints(network, config);
  if (found.length)
    refuse(`invalid endpoint settings:\n${found.length > 1 ? found.map((one) => `* ${one}`).join('\n') : found[0]}`);
  if (config.MacAddress && !MAC.test(config.MacAddress)) refuse(`invalid MAC address ${config.MacAddress}`);
  if (config.MacAddress && network.driver === 'ipvlan')
    refuse('ipvlan interfaces do not support custom mac address assignment');
  endpointSysctls(config, 'eth0');
}

/** "net.ipv4.conf.IFNAME.log_martians=1,…" → the sysctls of this interface. */
export function endpointSysctls(config: EndpointConfig, ifname: string): Record<string, string> {
  const sysctls: Record<string, string> = {};
  for (const entry of (config.DriverOpts?.[SYSCTLS_OPTION] ?? '').split(',').filter(Boolean)) {
    const match = /^net\.(ipv4|ipv6|mpls)\.(conf|neigh)\.IFNAME\.([a-z0-9_]+)=([\w-]+)$/.exec(entry);
    if (!match) throw invalid(`invalid endpoint sysctl setting: "${entry}"`);
    sysctls[`net/${match[1]}/${match[2]}/${ifname}/${match[3]}`] = match[4]!;
  }
  return sysctls;
}

function freeName(taken: ReadonlySet<string>, prefix: string): string {
  for (let index = 0; ; index++) if (!taken.has(`${prefix}${index}`)) return `${prefix}${index}`;
}

const namesOf = (network: NetworkRecord, request: SandboxRequest, config: EndpointConfig): string[] => {
  if (network.predefined) return [];
  const names = [request.name, ...(config.Aliases ?? []), shortId(request.containerId), request.hostname];
  return [...new Set(names.filter(Boolean))];
};

/** Takes addresses for an endpoint. What it took is given back when it throws. */
export function allocateEndpoint(
  registry: NetworkRegistry,
  request: SandboxRequest,
  wanted: WantedEndpoint,
  ifnames: Set<string>,
): EndpointRecord {
  const { network, config } = wanted;
  const plain = network.driver === 'host' || network.driver === 'null';
  const endpoint: EndpointRecord = {
    networkId: network.id,
    endpointId: newId(),
    ifname: '',
    hostLink: '',
    mac: '',
    ipv4: '',
    ipv4Bits: 0,
    gateway4: '',
    ipv6: '',
    ipv6Bits: 0,
    gateway6: '',
    names: namesOf(network, request, config),
    config,
  };
  if (plain) return endpoint;
  checkEndpoint(network, config);
  const addresses = registry.addresses(network.id);
  const v4 = addresses.allocate(4, config.IPAMConfig?.IPv4Address || undefined);
  try {
    const v6 = addresses.allocate(6, config.IPAMConfig?.IPv6Address || undefined);
    if (v6)
      Object.assign(endpoint, {
        ipv6: v6.address,
        ipv6Bits: v6.bits,
        gateway6: registry.gatewayOf(network, 6, v6.address),
      });
  } catch (error) {
    if (v4) addresses.release(v4.address);
    throw error;
  }
  if (v4)
    Object.assign(endpoint, {
      ipv4: v4.address,
      ipv4Bits: v4.bits,
      gateway4: registry.gatewayOf(network, 4, v4.address),
    });
  const ifname = config.DriverOpts?.[IFNAME_OPTION] || freeName(ifnames, network.options[PREFIX_OPTION] || 'eth');
  if (ifnames.has(ifname)) {
    releaseEndpoint(registry, endpoint);
    throw internal(`failed to create endpoint: interface name ${ifname} is already in use`);
  }
  ifnames.add(ifname);
  endpoint.ifname = ifname;
  endpoint.mac = network.driver === 'ipvlan' ? '' : config.MacAddress?.toLowerCase() || macFor(endpoint.ipv4);
  endpoint.hostLink = network.driver === 'bridge' ? newHostLink() : '';
  return endpoint;
}

export function releaseEndpoint(registry: NetworkRegistry, endpoint: EndpointRecord): void {
  if (!registry.get(endpoint.networkId)) return;
  for (const address of [endpoint.ipv4, endpoint.ipv6])
    if (address) registry.addresses(endpoint.networkId).release(address);
}

/** By gateway priority, then networks with a way out, then by name: the order in which they would be the default route. */
export function byPriority(registry: NetworkRegistry, endpoints: readonly EndpointRecord[]): EndpointRecord[] {
  const rank = (endpoint: EndpointRecord): [number, number, string] => {
    const network = registry.get(endpoint.networkId);
    return [-(endpoint.config.GwPriority ?? 0), network && isClosed(network) ? 1 : 0, network?.name ?? ''];
  };
  return [...endpoints].sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    return x[0] - y[0] || x[1] - y[1] || (x[2] < y[2] ? -1 : 1);
  });
}

/** Whose addresses published ports lead to: the first bridge on the way out. */
export const publishingEndpoint = (
  registry: NetworkRegistry,
  endpoints: readonly EndpointRecord[],
): EndpointRecord | undefined =>
  byPriority(registry, endpoints).find((endpoint) => {
    const network = registry.get(endpoint.networkId);
    return network?.driver === 'bridge' && !network.internal;
  });
