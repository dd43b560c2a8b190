/** IP addresses and subnets as numbers: what ipam, firewall and DNS calculate with. Pure. */
import { isIPv4, isIPv6 } from 'node:net';

export type Family = 4 | 6;

export interface Address {
  readonly family: Family;
  readonly value: bigint;
}

/** `base` has no host bits. */
export interface Subnet {
  readonly family: Family;
  readonly base: bigint;
  readonly bits: number;
}

export const width = (family: Family): number => (family === 4 ? 32 : 128);

const parse4 = (text: string): bigint => text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);

function parse6(text: string): bigint {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted) {
    const tail = parse4(dotted[2]!);
    return parse6(`${dotted[1]}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`);
  }
  const [head = '', tail] = text.split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  const all = [...before, ...Array<string>(zeros).fill('0'), ...after];
  return all.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { family: 4, value: parse4(text) };
  if (isIPv6(text) && !text.includes('%')) return { family: 6, value: parse6(text) };
  return undefined;
}

/** In network order: four bytes or sixteen. Only for what is an address. */
export function addressBytes(text: string): Buffer {
  const { family, value } = parseAddress(text)!;
  const bytes = Buffer.alloc(width(family) / 8);
  for (let at = bytes.length - 1, rest = value; at >= 0; at--, rest >>= 8n) bytes[at] = Number(rest & 0xffn);
  return bytes;
}

export function formatValue(family: Family, value: bigint): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => ((value >> BigInt(112 - index * 16)) & 0xffffn).toString(16));
  // RFC 5952: the longest run of at least two zero groups is shortened, the first one if there are several.
  const longest = [...groups.join(':').matchAll(/(?<![0-9a-f])0(?::0)+(?![0-9a-f])/g)]
    .map((match) => match[0])
    .reduce((best, run) => (run.length > best.length ? run : best), '');
  if (!longest) return groups.join(':');
  const text = groups.join(':');
  const at = text.search(new RegExp(`(?<![0-9a-f])${longest}(?![0-9a-f])`));
  return `${text.slice(0, at).replace(/:$/, '')}::${text.slice(at + longest.length).replace(/^:/, '')}`;
}

export const formatAddress = (address: Address): string => formatValue(address.family, address.value);

export const hostBits = (subnet: Subnet): bigint => BigInt(width(subnet.family) - subnet.bits);

/** A subnet of which host bits may be set, as dockerd accepts "10.0.0.5/24"; undefined when it is none. */
export function parseSubnet(text: string): Subnet | undefined {
  const [host = '', bitsText = '', ...rest] = text.split('/');
  const address = parseAddress(host);
  if (!address || rest.length > 0 || !/^\d{1,3}$/.test(bitsText)) return undefined;
  const bits = Number(bitsText);
  if (bits > width(address.family)) return undefined;
  const shift = BigInt(width(address.family) - bits);
  return { family: address.family, base: (address.value >> shift) << shift, bits };
}

export const formatSubnet = (subnet: Subnet): string => `${formatValue(subnet.family, subnet.base)}/${subnet.bits}`;

export const lastOf = (subnet: Subnet): bigint => subnet.base + (1n << hostBits(subnet)) - 1n;

export const contains = (subnet: Subnet, address: Address): boolean =>
  subnet.family === address.family && address.value >= subnet.base && address.value <= lastOf(subnet);

export const overlaps = (a: Subnet, b: Subnet): boolean =>
  a.family === b.family && a.base <= lastOf(b) && b.base <= lastOf(a);

export const within = (outer: Subnet, inner: Subnet): boolean =>
  outer.family === inner.family && inner.base >= outer.base && lastOf(inner) <= lastOf(outer);

export const isUnspecified = (text: string): boolean => text === '' || parseAddress(text)?.value === 0n;

/** An address as a URL and dockerd's messages write it: IPv6 in brackets. */
export const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address);

export const isLoopback = (text: string): boolean => text.startsWith('127.') || text === '::1';
