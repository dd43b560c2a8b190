/**
 * What `ip -batch` is told. Pure: lines from records. Names: bridge docker0 or br-<12 hex>, host ends vethXXXXXXX; every
 * link carries the alias `reactord:<daemon>:<network id>`, by which leftovers are known to be ours. See ip-link(8).
 */
import { createHash, randomBytes } from 'node:crypto';
import type { EndpointRecord, NetworkRecord } from './record.ts';

/** How one daemon's links begin their alias; two on one host leave each other's alone. */
export const tagOf = (dataRoot: string): string =>
  `reactord:${createHash('sha256').update(dataRoot).digest('hex').slice(0, 8)}:`;

export const bridgeName = (id: string): string => `br-${id.slice(0, 12)}`;

export const newHostLink = (): string => `veth${randomBytes(4).toString('hex').slice(0, 7)}`;

/** A locally administered unicast address from a container's IPv4 address, or a random one. */
export function macFor(ipv4: string): string {
  const tail = ipv4 ? Buffer.from(ipv4.split('.').map(Number)) : randomBytes(4);
  return ['02', '42', ...[...tail].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

export const mtuOf = (network: NetworkRecord, fallback: number): number =>
  Number(network.options['com.docker.network.driver.mtu'] ?? 0) || fallback;

/** Whether containers of a bridge may talk to each other. */
export const iccOf = (network: NetworkRecord): boolean =>
  !/^(false|0|f)$/i.test(network.options['com.docker.network.bridge.enable_icc'] ?? '');

/** How the host takes part in a bridge network: nat, nat-unprotected, routed, or isolated, which is not at all. */
export const gatewayMode = (network: NetworkRecord, family: 4 | 6): string =>
  network.options[`com.docker.network.bridge.gateway_mode_ipv${family}`] || 'nat';

/** The link of macvlan and ipvlan; a parent `eth0.10` that is not there is made as a VLAN. */
export const vlanOf = (parent: string): { of: string; id: number } | undefined => {
  const match = /^(.+)\.(\d{1,4})$/.exec(parent);
  return match ? { of: match[1]!, id: Number(match[2]) } : undefined;
};

/** Makes a bridge with its gateway addresses. */
export function bridgeLines(network: NetworkRecord, tag: string, mtu: number, mac: string): string[] {
  const { link } = network;
  return [
    `link add ${link} address ${mac} mtu ${mtu} type bridge`,
    `link set ${link} alias ${tag}${network.id}`,
    ...addressLines(network),
    `link set ${link} up`,
  ];
}

/** The gateway addresses of a bridge; `replace`, so that what is there stays. */
export const addressLines = (network: NetworkRecord): string[] =>
  network.pools
    .filter((pool) => pool.gateway && gatewayMode(network, pool.gateway.includes(':') ? 6 : 4) !== 'isolated')
    .map(
      (pool) =>
        `addr replace ${pool.gateway}/${pool.subnet.split('/')[1]} dev ${network.link}${pool.gateway.includes(':') ? ' nodad' : ''}`,
    );

/** The host's side of an endpoint. The container's end is born in its namespace, with its address and name. */
export function hostLines(
  network: NetworkRecord,
  endpoint: EndpointRecord,
  tag: string,
  netnsPath: string,
  mtu: number,
): string[] {
  const { link, options } = network;
  // On a parent its own size is the default, and the most there can be.
  const size = network.driver === 'bridge' || options['com.docker.network.driver.mtu'] ? `mtu ${mtu} ` : '';
  const peer = `name ${endpoint.ifname} ${endpoint.mac ? `address ${endpoint.mac} ` : ''}${size}netns ${netnsPath}`;
  if (network.driver === 'macvlan')
    return [`link add link ${link} ${peer} type macvlan mode ${options['macvlan_mode'] || 'bridge'}`];
  if (network.driver === 'ipvlan') {
    const flag = options['ipvlan_flag'] || 'bridge';
    return [`link add link ${link} ${peer} type ipvlan mode ${options['ipvlan_mode'] || 'l2'} ${flag}`];
  }
  return [
    `link add ${endpoint.hostLink} mtu ${mtu} master ${link} type veth peer ${peer}`,
    `link set ${endpoint.hostLink} alias ${tag}${network.id}`,
    // Hairpin: with br_netfilter a container reaches itself through its published port inside the bridge.
    // Without communication between containers their ports are isolated from each other, yet not from the bridge.
    `link set ${endpoint.hostLink} type bridge_slave hairpin on isolated ${iccOf(network) ? 'off' : 'on'}`,
    `link set ${endpoint.hostLink} up`,
  ];
}

/** The container's side. */
export function namespaceLines(endpoint: EndpointRecord): string[] {
  const { ifname } = endpoint;
  const addresses = [
    ...(endpoint.ipv4 ? [`addr add ${endpoint.ipv4}/${endpoint.ipv4Bits} dev ${ifname}`] : []),
    ...(endpoint.ipv6 ? [`addr add ${endpoint.ipv6}/${endpoint.ipv6Bits} dev ${ifname} nodad`] : []),
    ...(endpoint.config.IPAMConfig?.LinkLocalIPs ?? []).map(
      (address) =>
        `addr add ${address}${address.includes('/') ? '' : address.includes(':') ? '/64 nodad' : '/16'} dev ${ifname}`,
    ),
  ];
  return [...addresses, `link set ${ifname} up`];
}

/** The default route of a family by way of one endpoint; empty when that has no gateway. */
export function defaultRouteLines(network: NetworkRecord, endpoint: EndpointRecord, family: 4 | 6): string[] {
  const [address, gateway] = family === 4 ? [endpoint.ipv4, endpoint.gateway4] : [endpoint.ipv6, endpoint.gateway6];
  // A batch has one family unless the destination says another.
  const command = `route replace ${family === 6 ? '::/0' : 'default'}`;
  const layer3 = network.driver === 'ipvlan' && (network.options['ipvlan_mode'] || 'l2') !== 'l2';
  if (!address || network.internal) return [];
  // In layer 3 the parent routes; there is nobody to ask for a gateway's link address.
  if (layer3) return [`${command} dev ${endpoint.ifname}`];
  return gateway ? [`${command} via ${gateway} dev ${endpoint.ifname}`] : [];
}

/** The table in a container's namespace that leads 127.0.0.11 to our server, and keeps its neighbours off its loopback. */
export function resolverTable(gateway: string, port: number): string {
  const to = `${gateway}:${port}`;
  return [
    'add table ip reactord-dns',
    'delete table ip reactord-dns',
    'table ip reactord-dns {',
    '  chain raw { type filter hook prerouting priority raw; iifname != "lo" ip daddr 127.0.0.0/8 drop; }',
    '  chain output { type nat hook output priority -100;',
    `    ip daddr 127.0.0.11 udp dport 53 dnat to ${to}`,
    `    ip daddr 127.0.0.11 tcp dport 53 dnat to ${to}; }`,
    `  chain postrouting { type nat hook postrouting priority srcnat; ip saddr 127.0.0.0/8 ip daddr ${gateway} masquerade; }`,
    '}',
    '',
  ].join('\n');
}
