/** What is persisted of networks and of the network side of containers: enough to rebuild every link, rule and name. */
import type { EndpointConfig, SandboxRequest } from './port.ts';

export type Driver = 'bridge' | 'host' | 'null' | 'macvlan' | 'ipvlan';

/** Docker's IPAMConfig. */
export interface IpamConfig {
  Subnet?: string;
  IPRange?: string;
  Gateway?: string;
  AuxiliaryAddresses?: Record<string, string> | null;
  AuxAddress?: Record<string, string> | null;
}

export interface PoolRecord {
  subnet: string;
  ipRange?: string;
  /** An address of the subnet, or '' where nobody would answer at it; whether a link carries it depends on the driver. */
  gateway: string;
  /** The client named the subnet; only then it may ask for static addresses. */
  given: boolean;
  aux: Record<string, string>;
}

/** Immutable once made. */
export interface NetworkRecord {
  readonly id: string;
  readonly name: string;
  /** RFC3339 with nanoseconds. */
  readonly created: string;
  readonly driver: Driver;
  /** bridge, host and none, which nobody can make or remove. */
  readonly predefined: boolean;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly configOnly: boolean;
  readonly configFrom: string;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly ipamDriver: string;
  readonly ipamOptions: Readonly<Record<string, string>> | null;
  readonly pools: readonly PoolRecord[];
  /** The bridge, or the parent link of macvlan and ipvlan; '' where there is none. */
  readonly link: string;
  /** Port of our DNS server on the gateway's address; 0 for none. Kept, because containers translate to it. */
  readonly dnsPort: number;
}

export interface EndpointRecord {
  networkId: string;
  endpointId: string;
  /** In the container. */
  ifname: string;
  /** The host's end; '' for macvlan and ipvlan. */
  hostLink: string;
  mac: string;
  ipv4: string;
  ipv4Bits: number;
  gateway4: string;
  ipv6: string;
  ipv6Bits: number;
  gateway6: string;
  names: string[];
  config: EndpointConfig;
}

export interface PublishedPort {
  /** Of the container. */
  port: number;
  protocol: 'tcp' | 'udp' | 'sctp';
  hostIp: string;
  hostPort: number;
  /** Address in the container; '' until it has one. */
  target: string;
}

export interface SandboxRecord {
  readonly containerId: string;
  readonly sandboxId: string;
  request: SandboxRequest;
  netnsPath: string;
  /** `open` once its links are made. */
  phase: 'prepared' | 'open';
  endpoints: EndpointRecord[];
  ports: PublishedPort[];
}

/** Collections of the store. */
export const NETWORKS = 'networks';
export const SANDBOXES = 'sandboxes';
