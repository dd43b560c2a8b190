/**
 * What is done to links. Pure: steps, or lines for `ip -batch`, from records. Names: bridge docker0 or br-<12 hex>, host ends vethXXXXXXX; every
 * link carries the alias `reactord:<daemon>:<network id>`, by which leftovers are known to be ours. See ip-link(8).
 */
import { createHash, randomBytes } from 'node:crypto';
import { betweenEnds, hostHasGateway, isClosed } from './driver-options.ts';
import type { LinkStep } from './netlink/steps.ts';
import type { EndpointRecord, NetworkRecord } from './record.ts';

/** How one daemon's links begin their alias; two on one host leave each other's alone. */
export const tagOf = (dataRoot: string): string =>
  `reactord:${createHash('sha256').update(dataRoot).digest('hex').slice(0, 8)}:`;

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
    .filter((pool) => pool.gateway && hostHasGateway(network, pool.gateway.includes(':') ? 6 : 4))
    .map(
      (pool) =>
        `addr replace ${pool.gateway}/${pool.subnet.split('/')[1]} dev ${network.link}${pool.gateway.includes(':') ? ' nodad' : ''}`,
    );

/**
 * The host's side of an endpoint: a step, or a line for `ip` where the link is of a rarer kind. The container's end is born in its
 * namespace, with its address and name.
 */
export function hostLink(
  network: NetworkRecord,
  endpoint: EndpointRecord,
  tag: string,
  netnsPath: string,
  mtu: number,
): LinkStep | string {
  const { link, options } = network;
  if (network.driver !== 'macvlan' && network.driver !== 'ipvlan') {
    return {
      kind: 'veth',
      name: endpoint.hostLink,
      mtu,
      master: link,
      alias: tag + network.id,
      // With br_netfilter a container reaches itself through its published port inside the bridge.
      hairpin: true,
      // Without communication between containers their ports are isolated from each other, yet not from the bridge.
      isolated: !iccOf(network),
      peer: { name: endpoint.ifname, mac: endpoint.mac, netnsPath },
    };
  }
  // On a parent its own size is the default, and the most there can be.
  const size = options['com.docker.network.driver.mtu'] ? `mtu ${mtu} ` : '';
  const peer = `name ${endpoint.ifname} ${endpoint.mac ? `address ${endpoint.mac} ` : ''}${size}netns ${netnsPath}`;
  const layer = network.driver === 'ipvlan' ? `${options['ipvlan_mode'] || 'l2'} ` : '';
  const mode = `${layer}${betweenEnds(network)}`;
  return `link add link ${link} ${peer} type ${network.driver} mode ${mode}`;
}

/** The container's side. */
export function namespaceSteps(endpoint: EndpointRecord): LinkStep[] {
  const link = endpoint.ifname;
  const address = (text: string, bits: number): LinkStep => ({ kind: 'address', link, address: text, bits });
  const linkLocal = (text: string): LinkStep => {
    const [host = '', bits = text.includes(':') ? '64' : '16'] = text.split('/');
    return address(host, Number(bits));
  };
  return [
    ...(endpoint.ipv4 ? [address(endpoint.ipv4, endpoint.ipv4Bits)] : []),
    ...(endpoint.ipv6 ? [address(endpoint.ipv6, endpoint.ipv6Bits)] : []),
    ...(endpoint.config.IPAMConfig?.LinkLocalIPs ?? []).map(linkLocal),
    { kind: 'up', link },
  ];
}

/** The default route of a family by way of one endpoint; empty when that has no gateway. */
export function defaultRoute(network: NetworkRecord, endpoint: EndpointRecord, family: 4 | 6): LinkStep[] {
  const [address, gateway] = family === 4 ? [endpoint.ipv4, endpoint.gateway4] : [endpoint.ipv6, endpoint.gateway6];
  const layer3 = network.driver === 'ipvlan' && (network.options['ipvlan_mode'] || 'l2') !== 'l2';
  if (!address || isClosed(network) || (!layer3 && !gateway)) return [];
  // In layer 3 the parent routes; there is nobody to ask for a gateway's link address.
  return [{ kind: 'default-route', link: endpoint.ifname, family, gateway: layer3 ? '' : gateway }];
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
