/** What a container asks of the networks, made of its record. Pure. */
import type { EndpointConfig, SandboxRequest } from '../network/port.ts';
import { joinedContainer } from '../runtime/oci/docker-types.ts';
import type { ContainerRecord } from './record.ts';
import { parseLink } from './links.ts';
import { modeNetwork } from './view.ts';

/** The full id behind a link's container name. */
export type ResolveLink = (reference: string) => string | undefined;

function links(record: ContainerRecord, resolve: ResolveLink): SandboxRequest['links'] {
  return (record.hostConfig.Links ?? []).flatMap((link) => {
    const { name, alias } = parseLink(link);
    const containerId = resolve(name);
    return containerId === undefined ? [] : [{ containerId, alias }];
  });
}

/** host, none and container: have a mode and no endpoints. */
function endpointsOf(record: ContainerRecord): Record<string, EndpointConfig> {
  const { host: _, none: __, ...endpoints } = record.networking.EndpointsConfig;
  return endpoints;
}

/** The mode's own network may have been disconnected since; another one then takes its place. */
function modeOf({ config, hostConfig, networking }: ContainerRecord): string {
  const mode = hostConfig.NetworkMode;
  if (config.NetworkDisabled) return 'none';
  const name = modeNetwork(mode);
  if (name === undefined) return mode;
  return name in networking.EndpointsConfig ? name : (Object.keys(networking.EndpointsConfig)[0] ?? 'none');
}

/** Whose network is joined may have been made later, and is known by its name then. */
function joinedMode(mode: string, resolve: ResolveLink): string {
  const other = joinedContainer(mode);
  return other === undefined ? mode : `container:${resolve(other) ?? other}`;
}

export function sandboxRequest(record: ContainerRecord, resolve: ResolveLink): SandboxRequest {
  const { config, hostConfig } = record;
  return {
    containerId: record.id,
    name: record.name,
    hostname: config.Hostname,
    domainname: config.Domainname,
    mode: joinedMode(modeOf(record), resolve),
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
