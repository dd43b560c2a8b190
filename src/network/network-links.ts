/** Makes and unmakes a network on the host: its link, addresses, sysctls, rules and DNS server. Idempotent. */
import { access } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import { invalid, notFound } from '../errors.ts';
import type { DnsServer } from './dns/server.ts';
import type { Firewall } from './firewall.ts';
import { type BridgeRules, bridgeElements } from './firewall-rules.ts';
import { gatewayMode, hostHasGateway } from './driver-options.ts';
import { addressLines, bridgeLines, iccOf, macFor, mtuOf, vlanOf } from './link-script.ts';
import type { Links } from './links.ts';
import type { NetworkEffects } from './machine.ts';
import type { EndpointRecord, NetworkRecord } from './record.ts';

const BRIDGE = 'com.docker.network.bridge.';

export interface NetworkLinksDeps {
  config: Config;
  log: Logger;
  links: Links;
  /** How our links' aliases begin. */
  tag: string;
  firewall: Firewall;
  newDnsServer(record: NetworkRecord): DnsServer;
  /** Ends of containers, which go back to a bridge that was made again. */
  endpointsOf(networkId: string): EndpointRecord[];
  /** Whether another network has the same parent. */
  isShared(record: NetworkRecord): boolean;
  onMade(before: NetworkRecord, made: NetworkRecord): void;
  /** Makes the host forward, if it does not. */
  forward(family: 4 | 6): Promise<void>;
  ipv6: boolean;
}

/** Asked of /proc/sys, which shows the namespace of who asks; /sys shows that of who mounted it. */
export const linkExists = (name: string): Promise<boolean> =>
  access(`/proc/sys/net/ipv4/conf/${name}`).then(
    () => true,
    () => false,
  );

/** The kernel was built without this kind of link; the words are iproute2's. */
const isUnknownType = (error: unknown): boolean => /Unknown device type|not supported/i.test(String(error));

const isOn = (value: string | undefined, fallback: boolean): boolean =>
  value ? /^(true|1|t)$/i.test(value) : fallback;

export function rulesOf(record: NetworkRecord, config: Config): BridgeRules {
  const { options } = record;
  const masquerades = config.ipMasq && isOn(options[`${BRIDGE}enable_ip_masquerade`], true);
  const families = ([4, 6] as const).map((family) => ({ family, mode: gatewayMode(record, family) }));
  const those = (matches: (mode: string) => boolean): ReadonlySet<4 | 6> =>
    new Set(families.filter(({ mode }) => matches(mode)).map(({ family }) => family));
  return {
    link: record.link,
    subnets: record.pools.map((pool) => pool.subnet),
    masquerade: those((mode) => masquerades && mode !== 'routed'),
    internal: record.internal,
    icc: iccOf(record),
    open: those((mode) => mode === 'nat-unprotected'),
    routed: those((mode) => mode === 'routed'),
    source4: options['com.docker.network.host_ipv4'] ?? '',
    source6: options['com.docker.network.host_ipv6'] ?? '',
  };
}

/**
 * Without detection of duplicates: addresses are ours to give, and while its link-local address is in doubt for a second
 * the kernel asks nobody for a neighbour, so a new network would be deaf to IPv6.
 */
const ipv6Settings = (record: NetworkRecord): Record<string, string> => {
  const conf = `net/ipv6/conf/${record.link}`;
  return record.ipv6
    ? { [`${conf}/accept_dad`]: '0', [`${conf}/accept_ra`]: '0', [`${conf}/disable_ipv6`]: '0' }
    : { [`${conf}/disable_ipv6`]: '1' };
};

/** Without communication between containers, legacy links of the default bridge are what may pass. */
const linksCross = (record: NetworkRecord, config: Config): boolean =>
  config.firewall && record.name === 'bridge' && !iccOf(record);

/** The ports of the bridge are isolated: the host answers for the containers, at once, and what they send goes through its rules. */
const crossingSettings = (link: string): Record<string, string> => ({
  [`net/ipv4/conf/${link}/proxy_arp_pvlan`]: '1',
  [`net/ipv4/conf/${link}/send_redirects`]: '0',
  [`net/ipv4/neigh/${link}/proxy_delay`]: '0',
});

export class NetworkLinks implements NetworkEffects {
  #dns = new Map<string, DnsServer>();
  #deps: NetworkLinksDeps;

  constructor(deps: NetworkLinksDeps) {
    this.#deps = deps;
  }

  async make(record: NetworkRecord): Promise<NetworkRecord> {
    if (record.configOnly || record.driver === 'host' || record.driver === 'null') return record;
    const made = record.driver === 'bridge' ? await this.#makeBridge(record) : await this.#makeParent(record);
    this.#deps.onMade(record, made);
    return made;
  }

  async #makeBridge(record: NetworkRecord): Promise<NetworkRecord> {
    const { links, firewall, config } = this.#deps;
    await Promise.all([this.#bridge(record), firewall.add(bridgeElements(rulesOf(record, config)))]);
    const settings: Record<string, string> = {
      [`net/ipv4/conf/${record.link}/route_localnet`]: config.firewall ? '1' : '0',
      ...(linksCross(record, config) ? crossingSettings(record.link) : {}),
      ...(this.#deps.ipv6 && (record.ipv6 || (await this.#isOurs(record))) ? ipv6Settings(record) : {}),
    };
    if (record.ipv6 && config.ipForward) await this.#deps.forward(6);
    for (const [name, value] of Object.entries(settings)) await links.sysctl(name, value);
    // The kernel drops a link's IPv6 addresses while IPv6 is off on it.
    if (record.ipv6) await links.batch(addressLines(record));
    return this.#serveNames(record);
  }

  async #bridge(record: NetworkRecord): Promise<void> {
    const { links, config, tag } = this.#deps;
    if (!(await linkExists(record.link))) {
      const mtu = mtuOf(record, record.name === 'bridge' ? config.mtu : 1500);
      const ipv4 = record.pools.find((pool) => !pool.gateway.includes(':'))?.gateway ?? '';
      // IPv6 addresses come after the sysctl that allows them.
      const lines = bridgeLines(record, tag, mtu, macFor(ipv4)).filter(
        (line) => !(line.startsWith('addr ') && line.includes(':')),
      );
      await links.batch(lines);
    } else {
      const kind = await links.kind(record.link);
      if (kind !== 'bridge') throw invalid(`existing interface ${record.link} is not a bridge`);
      await links.batch([...addressLines(record).filter((line) => !line.includes(':')), `link set ${record.link} up`]);
    }
    const ends = this.#deps.endpointsOf(record.id).filter((endpoint) => endpoint.hostLink);
    await links.batchForced(ends.map((endpoint) => `link set ${endpoint.hostLink} master ${record.link}`));
  }

  /** User-defined bridges have a DNS server on their gateway. */
  async #serveNames(record: NetworkRecord): Promise<NetworkRecord> {
    const gateway = record.pools[0]?.gateway;
    const isHere = gateway && hostHasGateway(record, gateway.includes(':') ? 6 : 4);
    if (record.predefined || !isHere || this.#dns.has(record.id)) return record;
    const server = this.#deps.newDnsServer(record);
    this.#dns.set(record.id, server);
    try {
      // Without IPv4 nothing can be translated to us, so the resolver's own port is needed.
      const dnsPort = await server.listen(gateway, gateway.includes(':') ? 53 : record.dnsPort);
      return { ...record, dnsPort };
    } catch (error) {
      this.#dns.delete(record.id);
      this.#deps.log.error({ err: error, network: record.name }, 'names cannot be served');
      return record;
    }
  }

  async #makeParent(record: NetworkRecord): Promise<NetworkRecord> {
    const made = await this.#makeParentLink(record);
    await this.#checkKernel(record);
    return made;
  }

  /** Told now, and not when the first container starts: many kernels are built without one of the drivers. */
  async #checkKernel({ driver, link, id }: NetworkRecord): Promise<void> {
    const { links } = this.#deps;
    const trial = `try${id.slice(0, 8)}`;
    try {
      await links.batch([`link add link ${link} name ${trial} type ${driver}`]);
    } catch (error) {
      if (isUnknownType(error)) throw invalid(`the ${driver} driver is not supported by this kernel`, { cause: error });
    }
    await links.batchForced([`link del ${trial}`]);
  }

  async #makeParentLink(record: NetworkRecord): Promise<NetworkRecord> {
    const { links, tag } = this.#deps;
    if (await linkExists(record.link)) return record;
    const parent = record.options['parent'];
    const named = [`link set ${record.link} alias ${tag}${record.id}`, `link set ${record.link} up`];
    if (!parent) {
      const make = (type: string): Promise<void> => links.batch([`link add ${record.link} type ${type}`, ...named]);
      // What leads nowhere. A bridge without ports is much the same, but on many kernels it never carries anything.
      await make('dummy').catch((error: unknown) => {
        if (!isUnknownType(error)) throw error;
        return make('bridge');
      });
      return record;
    }
    const vlan = vlanOf(parent);
    if (!vlan) throw notFound(`invalid subinterface vlan name ${parent}, example formatting is eth0.10`);
    if (!(await linkExists(vlan.of))) throw invalid(`-o parent interface was not found on the host: ${vlan.of}`);
    if (vlan.id < 1 || vlan.id > 4094) throw invalid(`vlan id must be between 1-4094, received: ${vlan.id}`);
    try {
      await links.batch([`link add link ${vlan.of} name ${parent} type vlan id ${vlan.id}`, ...named]);
    } catch (error) {
      if (!isUnknownType(error)) throw error;
      throw invalid(`failed to create the vlan link ${parent}: VLANs are not supported by this kernel`, {
        cause: error,
      });
    }
    return record;
  }

  /** A link that was there before us, as a given bridge or parent, is not ours to remove, nor is its IPv6 to switch off. */
  async #isOurs(record: NetworkRecord): Promise<boolean> {
    if (!record.link || !(await linkExists(record.link))) return false;
    return (await this.#deps.links.alias(record.link)).startsWith(this.#deps.tag);
  }

  async unmake(record: NetworkRecord): Promise<void> {
    const server = this.#dns.get(record.id);
    this.#dns.delete(record.id);
    await Promise.all([
      server?.close(),
      record.driver === 'bridge'
        ? this.#deps.firewall.remove(bridgeElements(rulesOf(record, this.#deps.config)))
        : undefined,
      (await this.#isOurs(record)) && !this.#deps.isShared(record)
        ? this.#deps.links.batchForced([`link del ${record.link}`])
        : undefined,
    ]);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#dns.values()].map((server) => server.close()));
    this.#dns.clear();
  }
}
