/** The networks that are always there: bridge, host and none. Their ids outlive restarts; the rest follows the configuration. */
import type { Config } from '../config/config.ts';
import { invalid } from '../errors.ts';
import { newId } from '../lib/ids.ts';
import { contains, formatAddress, parseAddress, parseSubnet, type Subnet, within } from './address.ts';
import { planPools } from './ipam.ts';
import type { LinkInfo } from './links.ts';
import type { NetworkRecord, PoolRecord } from './record.ts';

export interface DefaultsInput {
  config: Config;
  /** What the store knows of earlier starts. */
  known: readonly NetworkRecord[];
  created: string;
  routed: readonly Subnet[];
  links: readonly LinkInfo[];
}

const BRIDGE = 'com.docker.network.bridge.';

export function defaultNetworks(input: DefaultsInput): NetworkRecord[] {
  const plain = (name: string, driver: 'host' | 'null'): NetworkRecord => ({
    ...base(input, name),
    driver,
    pools: [],
    options: {},
    link: '',
  });
  const others = [plain('host', 'host'), plain('none', 'null')];
  return input.config.bridge === 'none' ? others : [defaultBridge(input), ...others];
}

function base(input: DefaultsInput, name: string): NetworkRecord {
  const known = input.known.find((record) => record.predefined && record.name === name);
  return {
    id: known?.id ?? newId(),
    name,
    created: known?.created ?? input.created,
    driver: 'bridge',
    predefined: true,
    ipv4: true,
    ipv6: false,
    internal: false,
    attachable: false,
    configOnly: false,
    configFrom: '',
    options: {},
    labels: {},
    ipamDriver: 'default',
    ipamOptions: null,
    pools: [],
    link: '',
    dnsPort: 0,
  };
}

function defaultBridge(input: DefaultsInput): NetworkRecord {
  const { config } = input;
  const link = config.bridge || 'docker0';
  const known = input.known.find((record) => record.predefined && record.name === 'bridge');
  const found = input.links.find((one) => one.name === link)?.addresses.find((address) => !address.includes(':'));
  const pools: PoolRecord[] = [];
  if (config.bip) pools.push(poolOf(config.bip, config));
  // A bridge that is there already, ours of an earlier start or somebody's, keeps the addresses it has.
  else if (found) pools.push(poolOf(found, config));
  else if (known?.pools[0] && !config.fixedCidr) pools.push(known.pools[0]);
  else pools.push(...planned(input, known));
  if (config.ipv6) pools.push(...(config.bip6 ? [poolOf(config.bip6, config)] : planned6(input)));
  return {
    ...base(input, 'bridge'),
    ipv6: config.ipv6,
    pools,
    link,
    options: {
      [`${BRIDGE}default_bridge`]: 'true',
      [`${BRIDGE}enable_icc`]: String(config.icc),
      [`${BRIDGE}enable_ip_masquerade`]: String(config.ipMasq),
      [`${BRIDGE}host_binding_ipv4`]: config.ip,
      [`${BRIDGE}name`]: link,
      'com.docker.network.driver.mtu': String(config.mtu),
    },
  };
}

const usedBy = (input: DefaultsInput): Subnet[] =>
  input.known
    .filter((record) => !record.predefined && !record.configOnly)
    .flatMap((record) => record.pools.map((pool) => parseSubnet(pool.subnet)!));

const planned = (input: DefaultsInput, known: NetworkRecord | undefined): PoolRecord[] =>
  planPools({
    ipv4: true,
    ipv6: false,
    configs: input.config.fixedCidr
      ? [{ Subnet: known?.pools[0]?.subnet ?? input.config.fixedCidr, IPRange: input.config.fixedCidr }]
      : [],
    defaultPools: input.config.defaultAddressPools,
    used: usedBy(input),
    routed: input.routed,
    seed: input.config.dataRoot,
  });

const planned6 = (input: DefaultsInput): PoolRecord[] =>
  planPools({
    ipv4: false,
    ipv6: true,
    configs: input.config.fixedCidr6 ? [{ Subnet: input.config.fixedCidr6, ...gateway6(input.config) }] : [],
    defaultPools: input.config.defaultAddressPools,
    used: usedBy(input),
    routed: input.routed,
    seed: input.config.dataRoot,
  });

function gateway6({ fixedCidr6, defaultGateway6 }: Config): { AuxiliaryAddresses?: Record<string, string> } {
  if (!defaultGateway6) return {};
  const subnet = parseSubnet(fixedCidr6);
  const address = parseAddress(defaultGateway6);
  if (!subnet || !address || !contains(subnet, address))
    throw invalid(`default gateway ${defaultGateway6} is not in ${fixedCidr6}`);
  return { AuxiliaryAddresses: { DefaultGatewayIPv6: defaultGateway6 } };
}

/** "address/bits": the bridge's own address and its subnet. */
function poolOf(cidr: string, config: Config): PoolRecord {
  const subnet = parseSubnet(cidr);
  const address = parseAddress(cidr.split('/')[0]!);
  if (!subnet || !address) throw invalid(`invalid CIDR address: ${cidr}`);
  const [fixed, gateway] =
    subnet.family === 4 ? [config.fixedCidr, config.defaultGateway] : [config.fixedCidr6, config.defaultGateway6];
  const range = fixed ? parseSubnet(fixed) : undefined;
  if (fixed && (!range || !within(subnet, range)))
    throw invalid(`parent subnet ${cidr} does not contain fixed-cidr${subnet.family === 4 ? '' : '-v6'} ${fixed}`);
  const other = gateway ? parseAddress(gateway) : undefined;
  if (other && !contains(subnet, other)) throw invalid(`default gateway ${gateway} is not in ${cidr}`);
  return {
    subnet: `${formatAddress({ family: subnet.family, value: subnet.base })}/${subnet.bits}`,
    ...(range ? { ipRange: fixed } : {}),
    gateway: formatAddress(address),
    given: false,
    aux: other ? { [`DefaultGatewayIPv${subnet.family}`]: formatAddress(other) } : {},
  };
}
