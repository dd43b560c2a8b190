/**
 * Which address belongs to whom. Pure: pools are planned from the request and what is in use, addresses are taken from
 * a pool's own set, and both are rebuilt from the records at boot. The messages are dockerd's.
 */
import { createHash } from 'node:crypto';
import type { AddressPool } from '../config/config.ts';
import { conflict, forbidden, invalid } from '../errors.ts';
import {
  contains,
  type Family,
  formatAddress,
  formatSubnet,
  formatValue,
  hostBits,
  lastOf,
  overlaps,
  parseAddress,
  parseSubnet,
  type Subnet,
  width,
  within,
} from './address.ts';
import type { IpamConfig, PoolRecord } from './record.ts';

/** dockerd's own: 172.17–172.31 as they are, 192.168 in pieces of 4,096 addresses. */
export const DEFAULT_POOLS: readonly AddressPool[] = [
  ...Array.from({ length: 15 }, (_, index) => ({ base: `172.${17 + index}.0.0/16`, size: 16 })),
  { base: '192.168.0.0/16', size: 20 },
];

/** One subnet's addresses: the lowest free one is given out. */
export class Pool {
  readonly subnet: Subnet;
  readonly range: Subnet;
  #taken = new Set<bigint>();
  /** No address below it is free. */
  #lowest: bigint;

  constructor(subnet: Subnet, range?: Subnet) {
    this.subnet = subnet;
    this.range = range ?? subnet;
    this.#lowest = this.range.base;
    if (hostBits(subnet) < 2n) return;
    // The network's own address (in IPv6 the routers' anycast address) and IPv4's broadcast are nobody's.
    this.#taken.add(subnet.base);
    if (subnet.family === 4) this.#taken.add(lastOf(subnet));
  }

  /** The lowest free address, or undefined when the pool is exhausted. */
  next(): string | undefined {
    const end = lastOf(this.range);
    for (let value = this.#lowest; value <= end; value++) {
      if (this.#taken.has(value)) continue;
      this.#taken.add(value);
      this.#lowest = value + 1n;
      return formatValue(this.subnet.family, value);
    }
    this.#lowest = end + 1n;
    return undefined;
  }

  /** False when the address is taken already. */
  take(address: string): boolean {
    const parsed = parseAddress(address);
    if (!parsed || this.#taken.has(parsed.value)) return false;
    this.#taken.add(parsed.value);
    return true;
  }

  release(address: string): void {
    const parsed = parseAddress(address);
    if (!parsed || !this.#taken.delete(parsed.value)) return;
    if (parsed.value >= this.range.base && parsed.value < this.#lowest) this.#lowest = parsed.value;
  }

  owns(address: string): boolean {
    const parsed = parseAddress(address);
    return parsed !== undefined && contains(this.subnet, parsed);
  }
}

/** The addresses of one network. */
export class NetworkAddresses {
  readonly pools: readonly Pool[];
  #label: string;

  constructor(network: { id: string; name: string; pools: readonly PoolRecord[] }) {
    this.#label = `${network.name} (${network.id})`;
    this.pools = network.pools.map((record) => {
      const pool = new Pool(parseSubnet(record.subnet)!, record.ipRange ? parseSubnet(record.ipRange) : undefined);
      for (const address of [record.gateway, ...Object.values(record.aux)]) if (address) pool.take(address);
      return pool;
    });
  }

  /** A given address, or the next of the family. Undefined when the network has no pool of that family. */
  allocate(family: Family, wanted?: string): { address: string; bits: number } | undefined {
    const pools = this.pools.filter((pool) => pool.subnet.family === family);
    if (wanted) {
      const pool = pools.find((candidate) => candidate.owns(wanted));
      if (!pool) throw invalid(`invalid address ${wanted}: It does not belong to any of this network's subnets`);
      if (!pool.take(wanted)) throw forbidden('Address already in use', { code: 'address-in-use' });
      return { address: formatAddress(parseAddress(wanted)!), bits: pool.subnet.bits };
    }
    for (const pool of pools) {
      const address = pool.next();
      if (address) return { address, bits: pool.subnet.bits };
    }
    if (pools.length === 0) return undefined;
    throw conflict(`no available IPv${family} addresses on this network's address pools: ${this.#label}`, {
      code: 'addresses-exhausted',
    });
  }

  release(address: string): void {
    this.pools.find((pool) => pool.owns(address))?.release(address);
  }

  /** Takes an address up again from a record. */
  restore(address: string): void {
    this.pools.find((pool) => pool.owns(address))?.take(address);
  }
}

export interface PoolRequest {
  ipv4: boolean;
  ipv6: boolean;
  configs: readonly IpamConfig[];
  defaultPools: readonly AddressPool[];
  /** Subnets of our other networks. */
  used: readonly Subnet[];
  /** What the host routes elsewhere; only default pools avoid it. */
  routed: readonly Subnet[];
  /** Families in which no address is set aside for a gateway that nobody named. */
  withoutGateway?: ReadonlySet<Family>;
  /** Something of this host, from which its unique local IPv6 prefix is made. */
  seed: string;
}

const badSubnet = (text: string): Error =>
  invalid(`invalid network config:\ninvalid subnet ${text}: invalid CIDR block notation`);

/** Turns what the client asked for into pools, or says as dockerd does why it cannot. */
export function planPools(request: PoolRequest): PoolRecord[] {
  const configs = request.configs.filter((config) => config.Subnet || config.IPRange || config.Gateway);
  const given = configs.map((config) => planGiven(config, request));
  const planned = given.filter((pool) => (isFamily(pool, 6) ? request.ipv6 : request.ipv4));
  for (const family of [4, 6] as const) {
    const wanted = family === 4 ? request.ipv4 : request.ipv6;
    if (wanted && !planned.some((pool) => isFamily(pool, family))) planned.push(planDefault(family, request, planned));
  }
  for (const [index, pool] of planned.entries()) {
    const subnet = parseSubnet(pool.subnet)!;
    const others = [...request.used, ...planned.slice(0, index).map((other) => parseSubnet(other.subnet)!)];
    if (others.some((other) => overlaps(subnet, other)))
      throw forbidden('invalid pool request: Pool overlaps with other one on this address space', {
        code: 'pool-overlap',
      });
  }
  return planned.sort((a, b) => Number(isFamily(a, 6)) - Number(isFamily(b, 6)));
}

const isFamily = (pool: PoolRecord, family: Family): boolean => pool.subnet.includes(':') === (family === 6);

function planGiven(config: IpamConfig, request: PoolRequest): PoolRecord {
  if (!config.Subnet) {
    if (config.Gateway || config.IPRange)
      throw invalid(
        'invalid network config:\nno matching subnet for ' +
          (config.Gateway ? `gateway ${config.Gateway}` : `range ${config.IPRange}`),
      );
    return planDefault(4, request, []);
  }
  const subnet = parseSubnet(config.Subnet);
  if (!subnet) throw badSubnet(config.Subnet);
  const range = config.IPRange ? parseSubnet(config.IPRange) : undefined;
  if (config.IPRange && (!range || !within(subnet, range)))
    throw invalid(
      `invalid network config:\ninvalid ip-range ${config.IPRange}: parent subnet ${config.Subnet} doesn't contain ip-range`,
    );
  const inSubnet = (what: string, text: string): string => {
    const address = parseAddress(text.split('/')[0]!);
    if (!address) throw invalid(`invalid network config:\ninvalid ${what} ${text}: invalid address`);
    if (!contains(subnet, address))
      throw invalid(
        `invalid network config:\ninvalid ${what} ${text}: parent subnet ${config.Subnet} doesn't contain this address`,
      );
    return formatAddress(address);
  };
  const aux: Record<string, string> = {};
  for (const [name, text] of Object.entries(config.AuxiliaryAddresses ?? config.AuxAddress ?? {}))
    aux[name] = inSubnet('auxiliary address', text);
  const reserved = new Pool(subnet, range);
  for (const address of Object.values(aux)) reserved.take(address);
  const skipped = request.withoutGateway?.has(subnet.family);
  const next = skipped ? '' : (reserved.next() ?? '');
  const gateway = config.Gateway ? inSubnet('gateway', config.Gateway) : next;
  return {
    subnet: formatSubnet(subnet),
    ...(range ? { ipRange: formatSubnet(range) } : {}),
    gateway,
    given: true,
    aux,
  };
}

function planDefault(family: Family, request: PoolRequest, planned: readonly PoolRecord[]): PoolRecord {
  const taken = [...request.used, ...request.routed, ...planned.map((pool) => parseSubnet(pool.subnet)!)];
  const pools = request.defaultPools.length ? request.defaultPools : DEFAULT_POOLS;
  const own = pools.filter((pool) => parseSubnet(pool.base)?.family === family);
  // RFC 4193: a prefix of 40 pseudo-random bits, the same at each start of this host's daemon.
  const unique = {
    base: `fd${createHash('sha256')
      .update(request.seed)
      .digest('hex')
      .slice(0, 10)
      .replace(/^(..)(....)(....)$/, '$1:$2:$3')}::/48`,
    size: 64,
  };
  for (const { base, size } of family === 6 && own.length === 0 ? [unique] : own) {
    const whole = parseSubnet(base)!;
    const step = 1n << BigInt(width(family) - size);
    for (let value = whole.base; value <= lastOf(whole);) {
      const subnet: Subnet = { family, base: value, bits: size };
      const clash = taken.find((other) => overlaps(subnet, other));
      // Steps over what is in the way at once: a pool may have more pieces than could be counted.
      if (clash) value += ((lastOf(clash) - value) / step + 1n) * step;
      else {
        const gateway = request.withoutGateway?.has(family) ? '' : new Pool(subnet).next()!;
        return { subnet: formatSubnet(subnet), gateway, given: false, aux: {} };
      }
    }
  }
  throw invalid('all predefined address pools have been fully subnetted', { code: 'pools-exhausted' });
}
