/** The texts of a container's /etc/hosts and /etc/resolv.conf. Pure. */
import { isLoopback } from './address.ts';

export interface HostsInput {
  hostname: string;
  domainname: string;
  /** The container's own addresses. */
  addresses: readonly string[];
  extraHosts: readonly { name: string; address: string }[];
  links: readonly { address: string; names: readonly string[] }[];
  ipv6: boolean;
}

export function hostsText(input: HostsInput): string {
  const lines: [string, string][] = [['127.0.0.1', 'localhost']];
  if (input.ipv6)
    lines.push(
      ['::1', 'localhost ip6-localhost ip6-loopback'],
      ['fe00::', 'ip6-localnet'],
      ['ff00::', 'ip6-mcastprefix'],
      ['ff02::1', 'ip6-allnodes'],
      ['ff02::2', 'ip6-allrouters'],
    );
  for (const extra of input.extraHosts) lines.push([extra.address, extra.name]);
  for (const link of input.links) lines.push([link.address, [...new Set(link.names)].join(' ')]);
  const full = input.domainname ? `${input.hostname}.${input.domainname}` : '';
  const own = [full, input.hostname].filter(Boolean).join(' ');
  if (own) for (const address of input.addresses) if (address) lines.push([address, own]);
  return lines.map(([address, names]) => `${address}\t${names}\n`).join('');
}

/** "name:address" or "name=address" of --add-host, the address with or without brackets. */
export function parseExtraHost(entry: string): { name: string; address: string } | undefined {
  const [, name, address] = /^([^:=]+)[:=](.+)$/.exec(entry) ?? [];
  return name && address ? { name, address: address.replace(/^\[(.*)\]$/, '$1') } : undefined;
}

export interface ResolvConf {
  nameservers: string[];
  search: string[];
  options: string[];
}

export function parseResolvConf(text: string): ResolvConf {
  const found: ResolvConf = { nameservers: [], search: [], options: [] };
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    if (keyword === 'nameserver' && words[0]) found.nameservers.push(words[0]);
    else if (keyword === 'search' || keyword === 'domain') found.search = words;
    else if (keyword === 'options') found.options.push(...words);
  }
  return found;
}

export function resolvConfText(conf: ResolvConf): string {
  return [
    ...conf.nameservers.map((server) => `nameserver ${server}\n`),
    ...(conf.search.length ? [`search ${conf.search.join(' ')}\n`] : []),
    ...(conf.options.length ? [`options ${conf.options.join(' ')}\n`] : []),
  ].join('');
}

/** Where nothing reachable is configured. */
const PUBLIC_SERVERS = ['8.8.8.8', '8.8.4.4'];

export interface ContainerDns {
  dns: readonly string[];
  dnsSearch: readonly string[];
  dnsOptions: readonly string[];
}

/** What the container asked for over what the host has; `--dns-search .` means none. */
const merged = (host: ResolvConf, own: ContainerDns): ResolvConf => {
  const search = own.dnsSearch.length ? [...own.dnsSearch] : host.search;
  return {
    nameservers: own.dns.length ? [...own.dns] : host.nameservers,
    search: search.filter((domain) => domain !== '.'),
    options: own.dnsOptions.length ? [...own.dnsOptions] : host.options,
  };
};

/** For containers without our DNS server: the host's loopback resolvers are out of their reach. */
export function plainResolvConf(host: ResolvConf, own: ContainerDns, ipv6: boolean): ResolvConf {
  const conf = merged(host, own);
  if (own.dns.length) return conf;
  const reachable = conf.nameservers.filter((server) => !isLoopback(server) && (ipv6 || !server.includes(':')));
  return { ...conf, nameservers: reachable.length ? reachable : PUBLIC_SERVERS };
}

/** For containers with our DNS server, which asks the others itself. */
export function embeddedResolvConf(host: ResolvConf, own: ContainerDns, server = '127.0.0.11'): ResolvConf {
  const conf = merged(host, own);
  const options = conf.options.some((option) => option.startsWith('ndots:'))
    ? conf.options
    : [...conf.options, 'ndots:0'];
  return { ...conf, nameservers: [server], options };
}

/** Servers that our DNS server asks on behalf of a container. */
export const upstreamsOf = (host: ResolvConf, own: ContainerDns): string[] => {
  const servers = own.dns.length ? [...own.dns] : host.nameservers;
  return servers.length ? servers : PUBLIC_SERVERS;
};
