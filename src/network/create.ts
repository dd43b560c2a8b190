/** From the body of POST /networks/create to a record. Pure, save for the id; the refusals are dockerd's. */
import type { AddressPool } from '../config/config.ts';
import { forbidden, invalid, notFound, unavailable } from '../errors.ts';
import type { Subnet } from './address.ts';
import { planPools } from './ipam.ts';
import { bridgeName } from './link-script.ts';
import type { Driver, IpamConfig, NetworkRecord } from './record.ts';

export interface NetworkCreate {
  Name: string;
  Driver?: string;
  Internal?: boolean;
  Attachable?: boolean;
  Ingress?: boolean;
  ConfigOnly?: boolean;
  ConfigFrom?: { Network?: string } | null;
  Scope?: string;
  EnableIPv4?: boolean | null;
  EnableIPv6?: boolean | null;
  Options?: Record<string, string> | null;
  Labels?: Record<string, string> | null;
  IPAM?: { Driver?: string; Options?: Record<string, string> | null; Config?: IpamConfig[] | null } | null;
}

export interface CreateContext {
  id: string;
  created: string;
  used: readonly Subnet[];
  routed: readonly Subnet[];
  defaultPools: readonly AddressPool[];
  seed: string;
  /** The config-only network named in ConfigFrom. */
  configFrom?: NetworkRecord;
}

const BRIDGE = 'com.docker.network.bridge.';
const LINK_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$/;

export const driverOf = (body: NetworkCreate): Driver => {
  const driver = body.Driver || 'bridge';
  if (driver === 'bridge' || driver === 'macvlan' || driver === 'ipvlan') return driver;
  if (driver === 'host' || driver === 'null') throw forbidden(`only one instance of "${driver}" network is allowed`);
  if (driver === 'overlay')
    throw unavailable(
      'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
    );
  throw notFound(`plugin "${driver}" not found`);
};

const flagOption = (options: Record<string, string>, name: string): void => {
  const value = options[name];
  if (value !== undefined && value !== '' && !/^(true|false|1|0|t|f)$/i.test(value))
    throw invalid(`invalid value for option ${name}: "${value}" is not a boolean`);
};

const GATEWAY_MODES = ['nat', 'nat-unprotected', 'routed', 'isolated'];

function checkOptions(driver: Driver, options: Record<string, string>): void {
  const mtu = options['com.docker.network.driver.mtu'];
  if (mtu !== undefined && mtu !== '' && !(/^\d+$/.test(mtu) && Number(mtu) <= 65535))
    throw invalid(`invalid MTU: ${mtu}`);
  for (const name of ['enable_icc', 'enable_ip_masquerade']) flagOption(options, BRIDGE + name);
  const one = (name: string, allowed: readonly string[]): void => {
    const value = options[name];
    if (value && !allowed.includes(value)) throw invalid(`unknown ${name.replace('_', ' ')} "${value}"`);
  };
  if (driver === 'macvlan') one('macvlan_mode', ['bridge', 'private', 'vepa', 'passthru']);
  if (driver === 'ipvlan') {
    one('ipvlan_mode', ['l2', 'l3', 'l3s']);
    one('ipvlan_flag', ['bridge', 'private', 'vepa']);
  }
  for (const name of ['gateway_mode_ipv4', 'gateway_mode_ipv6'].map((option) => BRIDGE + option)) {
    const mode = options[name];
    if (mode && !GATEWAY_MODES.includes(mode))
      throw invalid(`failed to parse ${name} value: ${mode} (unknown gateway mode ${mode})`);
  }
}

function linkOf(driver: Driver, id: string, options: Record<string, string>): string {
  const wanted = driver === 'bridge' ? options[`${BRIDGE}name`] : options['parent'];
  if (wanted && !LINK_NAME.test(wanted)) throw invalid(`invalid network interface name: "${wanted}"`);
  if (wanted) return wanted;
  // A macvlan without a parent is closed in itself: its parent is a bridge of ours that leads nowhere.
  return driver === 'bridge' ? bridgeName(id) : `dm-${id.slice(0, 12)}`;
}

export function planNetwork(body: NetworkCreate, context: CreateContext): NetworkRecord {
  const driver = driverOf(body);
  const from = context.configFrom;
  const options = { ...from?.options, ...body.Options };
  checkOptions(driver, options);
  const ipv4 = body.EnableIPv4 ?? from?.ipv4 ?? true;
  const ipv6 = body.EnableIPv6 ?? from?.ipv6 ?? false;
  if (!ipv4 && !ipv6 && !body.ConfigOnly) throw invalid('invalid network config:\nIPv4 or IPv6 must be enabled');
  const ipamDriver = body.IPAM?.Driver || 'default';
  if (ipamDriver !== 'default' && ipamDriver !== 'null')
    throw notFound(`could not find plugin ${ipamDriver} in v1 plugin registry: plugin not found`);
  for (const family of ['ipv4', 'ipv6'])
    if (options[`${BRIDGE}gateway_mode_${family}`] === 'isolated' && !body.Internal)
      throw invalid("gateway mode 'isolated' can only be used for an internal network");
  const configs = from
    ? from.pools.map((pool): IpamConfig => ({
        Subnet: pool.subnet,
        IPRange: pool.ipRange,
        Gateway: pool.gateway,
        AuxiliaryAddresses: pool.aux,
      }))
    : (body.IPAM?.Config ?? []);
  const pools =
    ipamDriver === 'null' || (body.ConfigOnly && configs.length === 0)
      ? []
      : planPools({
          ipv4,
          ipv6,
          configs,
          defaultPools: context.defaultPools,
          used: body.ConfigOnly ? [] : context.used,
          routed: context.routed,
          seed: context.seed,
        });
  const link = body.ConfigOnly ? '' : linkOf(driver, context.id, options);
  return {
    id: context.id,
    name: body.Name,
    created: context.created,
    driver,
    predefined: false,
    ipv4,
    ipv6,
    internal: body.Internal ?? false,
    attachable: body.Attachable ?? false,
    configOnly: body.ConfigOnly ?? false,
    configFrom: body.ConfigFrom?.Network ?? '',
    options,
    labels: { ...from?.labels, ...body.Labels },
    ipamDriver,
    ipamOptions: body.IPAM?.Options ?? null,
    pools,
    link,
    dnsPort: 0,
  };
}
