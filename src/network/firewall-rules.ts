/**
 * The nft table as text. Pure. There is one table, `inet reactord`, with a fixed handful of rules over sets and maps;
 * a network or a published port is an element, so the thousandth costs a packet what the first did. People's own rules
 * live in the chain `user`, which is made once and never touched. See nft(8).
 */
import { bracketed } from './address.ts';
import { isDirect } from './ports.ts';
import type { PublishedPort } from './record.ts';

export const TABLE = 'inet reactord';

/** An element of one of our sets and maps. */
export interface Element {
  set: SetName;
  key: string;
  value?: string;
}

const SETS = {
  /** Links of our networks. */
  bridges: 'set { type ifname; }',
  /** Networks without a way in or out. */
  internal: 'set { type ifname; }',
  /** Networks whose containers may be reached directly from outside, whatever they listen on (gateway mode nat-unprotected). */
  open4: 'set { type ifname; }',
  open6: 'set { type ifname; }',
  /** Networks that are part of the host's surroundings (gateway mode routed): their containers answer pings, … */
  routed4: 'set { type ifname; }',
  routed6: 'set { type ifname; }',
  /** … and what they publish is open to everybody at their own addresses. */
  direct4: 'set { type ipv4_addr . inet_proto . inet_service; }',
  direct6: 'set { type ipv6_addr . inet_proto . inet_service; }',
  /** Traffic that stays on one bridge; the kernel shows it to us only with br_netfilter. */
  same: 'set { type ifname . ifname; }',
  /** The same, where containers may not talk to each other. */
  apart: 'set { type ifname . ifname; }',
  /** Ports of one container on a bridge that are open to another one on it. */
  linked: 'set { type ifname . ipv4_addr . ipv4_addr . inet_proto . inet_service; }',
  own4: 'set { type ipv4_addr . ifname; flags interval; }',
  own6: 'set { type ipv6_addr . ifname; flags interval; }',
  masq4: 'set { type ipv4_addr; flags interval; }',
  masq6: 'set { type ipv6_addr; flags interval; }',
  snat4: 'map { type ipv4_addr : ipv4_addr; flags interval; }',
  snat6: 'map { type ipv6_addr : ipv6_addr; flags interval; }',
  any4: 'map { type inet_proto . inet_service : ipv4_addr . inet_service; }',
  any6: 'map { type inet_proto . inet_service : ipv6_addr . inet_service; }',
  addr4: 'map { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }',
  addr6: 'map { type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; }',
} as const;

export type SetName = keyof typeof SETS;

export interface FirewallOptions {
  /** Published ports are not translated for traffic from outside: the listening socket, behind the host's own input rules, answers. */
  portsBehindFirewall: boolean;
  /** Families in which we turned forwarding on: there what is not ours must not be forwarded. */
  guarded: ReadonlySet<4 | 6>;
}

const chains = (options: FirewallOptions): [name: string, hook: string, rules: string[]][] => [
  [
    'raw',
    'type filter hook prerouting priority raw; policy accept;',
    // route_localnet would otherwise let a container reach what listens on the host's loopback only.
    ['iifname @bridges ip daddr 127.0.0.0/8 drop'],
  ],
  [
    'published',
    '',
    [
      'dnat ip to meta l4proto . ip daddr . th dport map @addr4',
      'dnat ip to meta l4proto . th dport map @any4',
      // What comes from ::1 cannot leave by another link: the socket that holds the port passes it on.
      'ip6 daddr ::1 return',
      'dnat ip6 to meta l4proto . ip6 daddr . th dport map @addr6',
      'dnat ip6 to meta l4proto . th dport map @any6',
    ],
  ],
  [
    'prerouting',
    'type nat hook prerouting priority dstnat; policy accept;',
    options.portsBehindFirewall ? [] : ['fib daddr type local jump published'],
  ],
  ['output', 'type nat hook output priority -100; policy accept;', ['fib daddr type local jump published']],
  [
    'forward',
    'type filter hook forward priority filter; policy accept;',
    [
      'jump user',
      'ct state vmap { established : accept, related : accept }',
      'iifname . oifname @same accept',
      'iifname . oifname @apart iifname . ip saddr . ip daddr . meta l4proto . th dport @linked accept',
      'iifname . oifname @apart drop',
      'iifname @internal drop',
      'oifname @internal drop',
      'oifname @bridges ct status dnat accept',
      'meta nfproto ipv4 oifname @open4 accept',
      'meta nfproto ipv6 oifname @open6 accept',
      'ip daddr . meta l4proto . th dport @direct4 accept',
      'ip6 daddr . meta l4proto . th dport @direct6 accept',
      'oifname @routed4 meta l4proto icmp accept',
      'oifname @routed6 meta l4proto ipv6-icmp accept',
      'oifname @bridges drop',
      ...[...options.guarded].map((family) => `meta nfproto ipv${family} iifname != @bridges drop`),
    ],
  ],
  [
    'postrouting',
    'type nat hook postrouting priority srcnat; policy accept;',
    [
      // A container that reaches its own network through a published port: the answer must come back through us.
      'ip saddr . oifname @own4 ct status dnat masquerade',
      'ip6 saddr . oifname @own6 ct status dnat masquerade',
      'ip saddr 127.0.0.0/8 oifname @bridges masquerade',
      'ip saddr . oifname @own4 return',
      'ip6 saddr . oifname @own6 return',
      'snat ip to ip saddr map @snat4',
      'snat ip6 to ip6 saddr map @snat6',
      'ip saddr @masq4 masquerade',
      'ip6 saddr @masq6 masquerade',
    ],
  ],
];

const place = (set: SetName): string => `${TABLE} ${set}`;

const elementText = (element: Element): string =>
  element.value === undefined ? element.key : `${element.key} : ${element.value}`;

const grouped = (elements: Iterable<Element>): Map<SetName, Element[]> =>
  Map.groupBy(elements, (element) => element.set);

export function addElements(elements: Iterable<Element>): string {
  return [...grouped(elements)]
    .map(([set, members]) => `add element ${place(set)} { ${members.map(elementText).join(', ')} }\n`)
    .join('');
}

export function deleteElements(elements: Iterable<Element>): string {
  return [...grouped(elements)]
    .map(([set, members]) => `delete element ${place(set)} { ${members.map((member) => member.key).join(', ')} }\n`)
    .join('');
}

/** Makes the table exactly ours whatever is there, in one transaction, save the chain `user`. */
export function wholeTable(elements: Iterable<Element>, options: FirewallOptions): string {
  const all = chains(options);
  const lines = [`add table ${TABLE}`, `add chain ${TABLE} user`];
  for (const [name, definition] of Object.entries(SETS)) {
    const [kind, ...rest] = definition.split(' ');
    lines.push(`add ${kind} ${TABLE} ${name} ${rest.join(' ')}`);
  }
  for (const [name, hook] of all) lines.push(`add chain ${TABLE} ${name}${hook ? ` { ${hook} }` : ''}`);
  for (const [name] of all) lines.push(`flush chain ${TABLE} ${name}`);
  for (const [name, definition] of Object.entries(SETS))
    lines.push(`flush ${definition.split(' ')[0]} ${TABLE} ${name}`);
  for (const [name, , rules] of all) for (const rule of rules) lines.push(`add rule ${TABLE} ${name} ${rule}`);
  return `${lines.join('\n')}\n${addElements(elements)}`;
}

/** What the firewall knows of a bridge. */
export interface BridgeRules {
  link: string;
  subnets: readonly string[];
  /** Families whose traffic leaves under the host's address. */
  masquerade: ReadonlySet<4 | 6>;
  internal: boolean;
  icc: boolean;
  /** Families in which containers may be reached directly, whatever they listen on. */
  open: ReadonlySet<4 | 6>;
  /** Families in which they are reached directly by what they publish. */
  routed: ReadonlySet<4 | 6>;
  /** Source address of what leaves, in place of the outgoing link's; by family. */
  source4: string;
  source6: string;
}

export function bridgeElements(bridge: BridgeRules): Element[] {
  const name = `"${bridge.link}"`;
  const elements: Element[] = [
    { set: 'bridges', key: name },
    { set: bridge.icc ? 'same' : 'apart', key: `${name} . ${name}` },
  ];
  if (bridge.internal) elements.push({ set: 'internal', key: name });
  for (const family of bridge.open) elements.push({ set: `open${family}`, key: name });
  for (const family of bridge.routed) elements.push({ set: `routed${family}`, key: name });
  for (const subnet of bridge.subnets) {
    const family = subnet.includes(':') ? 6 : 4;
    elements.push({ set: `own${family}`, key: `${subnet} . ${name}` });
    if (!bridge.masquerade.has(family) || bridge.internal) continue;
    const source = family === 4 ? bridge.source4 : bridge.source6;
    if (source) elements.push({ set: `snat${family}`, key: subnet, value: source });
    else elements.push({ set: `masq${family}`, key: subnet });
  }
  return elements;
}

/** Nothing for a port whose two sides are of different families: there the listening socket passes the bytes on. */
export function portElements(port: PublishedPort): Element[] {
  const family = port.hostIp.includes(':') ? '6' : '4';
  if (!port.target || port.target.includes(':') !== (family === '6')) return [];
  if (isDirect(port)) return [{ set: `direct${family}`, key: `${port.target} . ${port.protocol} . ${port.port}` }];
  const value = `${port.target} . ${port.port}`;
  const anywhere = port.hostIp === '0.0.0.0' || port.hostIp === '::';
  return anywhere
    ? [{ set: `any${family}`, key: `${port.protocol} . ${port.hostPort}`, value }]
    : [{ set: `addr${family}`, key: `${port.protocol} . ${port.hostIp} . ${port.hostPort}`, value }];
}

export const describePort = (port: PublishedPort): string =>
  `${bracketed(port.hostIp)}:${port.hostPort || ''}->${port.port}/${port.protocol}`;
