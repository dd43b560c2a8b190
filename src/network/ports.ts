/** What a container asks to publish, as data. Pure; the messages are dockerd's. */
import { isIP } from 'node:net';
import { invalid } from '../errors.ts';
import type { PortMap } from './port.ts';
import type { PublishedPort } from './record.ts';

export type Protocol = PublishedPort['protocol'];

export interface PortWish {
  port: number;
  protocol: Protocol;
  /** '' for the default: every address of the host, in both families. */
  hostIp: string;
  /** Both 0 for an ephemeral port. */
  first: number;
  last: number;
  /** Families in which the container is reached at its own address: nothing is taken on the host. */
  direct?: ReadonlySet<4 | 6>;
}

/** Published at the container's own address: no port of the host leads there. */
export const isDirect = ({ hostPort }: Pick<PublishedPort, 'hostPort'>): boolean => hostPort === 0;

/** Where ephemeral ports come from. */
export const EPHEMERAL = { first: 49153, last: 65535 } as const;

export function parsePort(spec: string): { port: number; protocol: Protocol } {
  const [number = '', protocol = 'tcp', ...rest] = spec.split('/');
  const port = Number(number);
  if (rest.length || !/^\d+$/.test(number) || port < 1 || port > 65535)
    throw invalid(`invalid port specification: "${spec}"`);
  if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp') throw invalid(`invalid proto: ${protocol}`);
  return { port, protocol };
}

function parseHostPort(text: string): { first: number; last: number } {
  if (text === '') return { first: 0, last: 0 };
  const match = /^(\d+)(?:-(\d+))?$/.exec(text);
  const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (!match || last > 65535 || last < first) throw invalid(`invalid port specification: "${text}"`);
  return { first, last };
}

/** The wishes of a container, in the order of its ports. */
export function portWishes(request: {
  portBindings: PortMap;
  publishAll: boolean;
  exposedPorts: readonly string[];
}): PortWish[] {
  const wishes: PortWish[] = [];
  const bound = new Set<string>();
  for (const [spec, bindings] of Object.entries(request.portBindings)) {
    const { port, protocol } = parsePort(spec);
    bound.add(`${port}/${protocol}`);
    for (const binding of bindings?.length ? bindings : [{ HostIp: '', HostPort: '' }]) {
      const hostIp = (binding.HostIp ?? '').replace(/^\[(.*)\]$/, '$1');
      if (hostIp && !isIP(hostIp)) throw invalid(`invalid IP address: ${hostIp}`);
      wishes.push({ port, protocol, hostIp, ...parseHostPort(binding.HostPort ?? '') });
    }
  }
  if (request.publishAll)
    for (const spec of request.exposedPorts) {
      const { port, protocol } = parsePort(spec);
      if (!bound.has(`${port}/${protocol}`)) wishes.push({ port, protocol, hostIp: '', first: 0, last: 0 });
    }
  return wishes.sort((a, b) => a.port - b.port || a.protocol.localeCompare(b.protocol));
}

/** The addresses of one wish: the default address stands for both families. */
export const hostAddresses = (wish: PortWish, defaults: { ip: string; ipv6: boolean }): string[] => {
  if (wish.hostIp) return [wish.hostIp];
  if (defaults.ip !== '0.0.0.0') return [defaults.ip];
  return defaults.ipv6 ? ['0.0.0.0', '::'] : ['0.0.0.0'];
};

/** Docker's NetworkSettings.Ports: exposed ports without a binding are null. */
export function portMapOf(ports: readonly PublishedPort[], exposed: readonly string[]): PortMap {
  const map: PortMap = {};
  for (const spec of exposed) {
    const { port, protocol } = parsePort(spec);
    map[`${port}/${protocol}`] = null;
  }
  for (const port of ports) {
    const key = `${port.port}/${port.protocol}`;
    (map[key] ??= []).push({ HostIp: port.hostIp, HostPort: isDirect(port) ? '' : String(port.hostPort) });
  }
  return map;
}
