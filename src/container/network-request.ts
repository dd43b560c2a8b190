/** What a container asks of the networks, made of its record. Pure. */
import type { EndpointConfig, SandboxRequest } from '../network/port.ts';
import type { ContainerRecord } from './record.ts';
import { modeNetwork } from './view.ts';

/** The full id behind a link's container name. */
export type ResolveLink = (reference: string) => string | undefined;

/** "name:alias", "name" or "/name:/this/alias" as inspect of older daemons had it. */
export function parseLink(link: string): { name: string; alias: string } {
  const [name = '', alias = name] = link.split(':');
  return { name: name.replace(/^\//, ''), alias: alias.slice(alias.lastIndexOf('/') + 1) };
}

function links(record: ContainerRecord, resolve: ResolveLink): SandboxRequest['links'] {
  return (record.hostConfig.Links ?? []).flatMap((link) => {
    const { name, alias } = parseLink(link);
    const containerId = resolve(name);
    return containerId === undefined ? [] : [{ containerId, alias }];
  });
}

/** The endpoints by network; the mode's own network is always among them. */
export function endpointsOf(record: ContainerRecord): Record<string, EndpointConfig> {
  const mode = modeNetwork(record.hostConfig.NetworkMode);
  const given = record.networking.EndpointsConfig;
  if (mode === undefined || mode === 'none' || mode === 'host') return given;
  return mode in given ? given : { [mode]: {}, ...given };
}

export function sandboxRequest(record: ContainerRecord, resolve: ResolveLink): SandboxRequest {
  const { config, hostConfig } = record;
  const mode = config.NetworkDisabled ? 'none' : hostConfig.NetworkMode;
  return {
    containerId: record.id,
    name: record.name,
    hostname: config.Hostname,
    domainname: config.Domainname,
    mode: mode === 'default' || mode === '' ? 'bridge' : mode,
    endpoints: endpointsOf(record),
    exposedPorts: Object.keys(config.ExposedPorts ?? {}),
    portBindings: hostConfig.PortBindings,
    publishAll: hostConfig.PublishAllPorts,
    dns: hostConfig.Dns ?? [],
    dnsSearch: hostConfig.DnsSearch ?? [],
    dnsOptions: hostConfig.DnsOptions ?? [],
    extraHosts: hostConfig.ExtraHosts ?? [],
    links: links(record, resolve),
    sysctls: hostConfig.Sysctls ?? {},
    labels: config.Labels,
    directory: record.directory,
  };
}
