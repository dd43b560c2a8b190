/** Records → the API's JSON. Pure. */
import type { EndpointSettings, Sandbox } from './port.ts';
import { portMapOf } from './ports.ts';
import type { EndpointRecord, NetworkRecord, SandboxRecord } from './record.ts';

const cidr = (address: string, bits: number): string => (address ? `${address}/${bits}` : '');

export interface NetworkView {
  Name: string;
  Id: string;
  Created: string;
  Scope: 'local';
  Driver: string;
  EnableIPv4: boolean;
  EnableIPv6: boolean;
  IPAM: object;
  Internal: boolean;
  Attachable: boolean;
  Ingress: false;
  ConfigFrom: { Network: string };
  ConfigOnly: boolean;
  Containers: Record<string, object>;
  Options: Readonly<Record<string, string>>;
  Labels: Readonly<Record<string, string>>;
}

export function networkView(record: NetworkRecord, sandboxes: readonly SandboxRecord[]): NetworkView {
  const endpoints = sandboxes.flatMap((sandbox) =>
    sandbox.endpoints.filter((endpoint) => endpoint.networkId === record.id).map((endpoint) => ({ sandbox, endpoint })),
  );
  return {
    Name: record.name,
    Id: record.id,
    Created: record.created,
    Scope: 'local',
    Driver: record.driver,
    EnableIPv4: record.ipv4,
    EnableIPv6: record.ipv6,
    IPAM: {
      Driver: record.ipamDriver,
      Options: record.ipamOptions,
      Config: record.pools.map((pool) => ({
        Subnet: pool.subnet,
        ...(pool.ipRange ? { IPRange: pool.ipRange } : {}),
        ...(pool.gateway ? { Gateway: pool.gateway } : {}),
        ...(Object.keys(pool.aux).length ? { AuxiliaryAddresses: pool.aux } : {}),
      })),
    },
    Internal: record.internal,
    Attachable: record.attachable,
    Ingress: false,
    ConfigFrom: { Network: record.configFrom },
    ConfigOnly: record.configOnly,
    Containers: Object.fromEntries(
      endpoints.map(({ sandbox, endpoint }) => [
        sandbox.containerId,
        {
          Name: sandbox.request.name,
          EndpointID: endpoint.endpointId,
          MacAddress: endpoint.mac,
          IPv4Address: cidr(endpoint.ipv4, endpoint.ipv4Bits),
          IPv6Address: cidr(endpoint.ipv6, endpoint.ipv6Bits),
        },
      ]),
    ),
    Options: record.options,
    Labels: record.labels,
  };
}

/** With ?verbose: which container answers each name and each published port of the network. */
export function answersView(record: NetworkRecord, sandboxes: readonly SandboxRecord[]): object {
  const names: Record<string, string[]> = {};
  const ports: { Host: string; Container: string; Target: string }[] = [];
  for (const sandbox of sandboxes)
    for (const endpoint of sandbox.endpoints.filter((candidate) => candidate.networkId === record.id)) {
      for (const name of endpoint.names) (names[name] ??= []).push(sandbox.request.name);
      for (const port of sandbox.ports)
        if (port.target === endpoint.ipv4 || port.target === endpoint.ipv6)
          ports.push({
            Host: `${port.hostIp}:${port.hostPort || ''}/${port.protocol}`,
            Container: sandbox.request.name,
            Target: `${port.target}:${port.port}`,
          });
    }
  return { Names: names, Ports: ports };
}

export const endpointView = (endpoint: EndpointRecord): EndpointSettings => ({
  IPAMConfig: endpoint.config.IPAMConfig ?? null,
  Links: endpoint.config.Links ?? null,
  Aliases: endpoint.config.Aliases ?? null,
  DriverOpts: endpoint.config.DriverOpts ?? null,
  GwPriority: endpoint.config.GwPriority ?? 0,
  NetworkID: endpoint.networkId,
  EndpointID: endpoint.endpointId,
  Gateway: endpoint.ipv4 ? endpoint.gateway4 : '',
  IPAddress: endpoint.ipv4,
  IPPrefixLen: endpoint.ipv4 ? endpoint.ipv4Bits : 0,
  IPv6Gateway: endpoint.ipv6 ? endpoint.gateway6 : '',
  GlobalIPv6Address: endpoint.ipv6,
  GlobalIPv6PrefixLen: endpoint.ipv6 ? endpoint.ipv6Bits : 0,
  MacAddress: endpoint.mac,
  DNSNames: endpoint.names.length ? endpoint.names : null,
});

export function sandboxView(
  sandbox: SandboxRecord,
  nameOf: (networkId: string) => string,
  files: { hostsPath: string; resolvConfPath: string },
): Sandbox {
  return {
    netnsPath: sandbox.netnsPath,
    sandboxId: sandbox.sandboxId,
    endpoints: Object.fromEntries(
      sandbox.endpoints.map((endpoint) => [nameOf(endpoint.networkId), endpointView(endpoint)]),
    ),
    ports: portMapOf(sandbox.ports, sandbox.request.mode === 'host' ? [] : sandbox.request.exposedPorts),
    ...files,
  };
}
