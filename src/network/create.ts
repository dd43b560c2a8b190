/** From the body of POST /networks/create to a record. Pure, save for the id; the refusals are dockerd's. */
import type { AddressPool } from '../config/config.ts';
import { forbidden, invalid, notFound, unavailable } from '../errors.ts';
import type { Subnet } from './address.ts';
import { checkOptions, linkOf, needsGateway } from './driver-options.ts';
import { planPools } from './ipam.ts';
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

export function planNetwork(body: NetworkCreate, context: CreateContext): NetworkRecord {
  const driver = driverOf(body);
  const from = context.configFrom;
  const options = { ...from?.options, ...body.Options };
  const internal = body.Internal ?? false;
  checkOptions({ driver, internal, options });
  const ipv4 = body.EnableIPv4 ?? from?.ipv4 ?? true;
  const ipv6 = body.EnableIPv6 ?? from?.ipv6 ?? false;
  if (!ipv4 && !ipv6 && !body.ConfigOnly) throw invalid('invalid network config:\nIPv4 or IPv6 must be enabled');
  const ipamDriver = body.IPAM?.Driver || 'default';
  if (ipamDriver !== 'default' && ipamDriver !== 'null')
    throw notFound(`could not find plugin ${ipamDriver} in v1 plugin registry: plugin not found`);
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
          withoutGateway: new Set(
            ([4, 6] as const).filter((family) => !needsGateway({ driver, internal, options }, family)),
          ),
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
    internal,
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
