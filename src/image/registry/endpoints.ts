/**
 * Where a registry is reached: mirrors first (Docker Hub only, as dockerd has it), then HTTPS, then plain HTTP where the
 * registry may be insecure: on loopback, or named or covered by insecure-registries. Certificates come from certs.d.
 */
import { lookup } from 'node:dns/promises';
import { readdir, readFile } from 'node:fs/promises';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { join } from 'node:path';
import type { Config } from '../../config/config.ts';
import { invalid } from '../../errors.ts';
import { DEFAULT_DOMAIN } from '../reference.ts';

export interface Endpoint {
  /** Scheme, host and port. */
  origin: string;
  /** Path before /v2, as mirrors may have one; empty or "/x". */
  prefix: string;
  mirror: boolean;
  /** Its certificate is not checked, and it may redirect to plain HTTP. */
  insecure: boolean;
  /** Additional authorities and our certificate for it, PEM. */
  tls: { ca: string[]; cert?: string; key?: string };
}

export interface EndpointSources {
  config: Pick<Config, 'registryMirrors' | 'insecureRegistries'>;
  certificates: string;
}

const HUB = 'registry-1.docker.io';
const LOOKUP_MS = 5_000;

const hostOf = (domain: string): string => {
  if (!URL.canParse(`http://${domain}`)) throw invalid('invalid reference format', { code: 'reference' });
  return new URL(`http://${domain}`).hostname.replace(/^\[|\]$/g, '');
};

function trusted(entries: readonly string[]): { names: Set<string>; networks: BlockList } {
  const networks = new BlockList();
  networks.addSubnet('127.0.0.0', 8, 'ipv4');
  networks.addAddress('::1', 'ipv6');
  const names = new Set<string>();
  for (const entry of entries) {
    const [address = '', bits] = entry.split('/');
    if (bits !== undefined && isIP(address))
      networks.addSubnet(address, Number(bits), isIPv6(address) ? 'ipv6' : 'ipv4');
    else names.add(entry.replace(/^https?:\/\//, '').toLowerCase());
  }
  return { names, networks };
}

async function addressesOf(host: string): Promise<string[]> {
  if (isIP(host)) return [host];
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<[]>((resolve) => (timer = setTimeout(resolve, LOOKUP_MS, [])));
  const found = lookup(host, { all: true }).then((all) => all.map(({ address }) => address));
  return Promise.race([found.catch(() => []), late]).finally(() => clearTimeout(timer));
}

/** Whether the registry may be spoken to without a certificate that holds. */
export async function isInsecure(domain: string, entries: readonly string[]): Promise<boolean> {
  const { names, networks } = trusted(entries);
  if (names.has(domain.toLowerCase())) return true;
  const addresses = await addressesOf(hostOf(domain));
  return addresses.some((address) => networks.check(address, isIPv6(address) ? 'ipv6' : 'ipv4'));
}

/** certs.d/<host:port>: *.crt are authorities; x.cert with x.key is ours. */
async function certificatesOf(folder: string): Promise<Endpoint['tls']> {
  const names = await readdir(folder).catch(() => [] as string[]);
  const read = (name: string): Promise<string> => readFile(join(folder, name), 'utf8');
  const ca = await Promise.all(names.filter((name) => name.endsWith('.crt')).map(read));
  const own = names.find((name) => name.endsWith('.cert'));
  const lone = names.find((name) => name.endsWith('.key') && !names.includes(name.replace(/key$/, 'cert')));
  if (lone) throw invalid(`missing client certificate ${lone.replace(/key$/, 'cert')} for key ${lone}`);
  if (!own) return { ca };
  const key = own.replace(/\.cert$/, '.key');
  if (!names.includes(key))
    throw invalid(`missing key ${key} for client certificate ${own}. CA certificates must use the extension .crt`);
  return { ca, cert: await read(own), key: await read(key) };
}

async function mirrorEndpoint(url: string, sources: EndpointSources): Promise<Endpoint> {
  const { origin, host, pathname } = new URL(url);
  return {
    origin,
    prefix: pathname.replace(/\/+$/, ''),
    mirror: true,
    insecure: await isInsecure(host, sources.config.insecureRegistries),
    tls: await certificatesOf(join(sources.certificates, host)),
  };
}

/** The endpoints of a registry in the order they are to be tried. Pushes never go to mirrors. */
export async function endpointsOf(domain: string, sources: EndpointSources, use: 'pull' | 'push'): Promise<Endpoint[]> {
  const host = domain === DEFAULT_DOMAIN ? HUB : domain;
  const insecure = await isInsecure(host, sources.config.insecureRegistries);
  const endpoint = {
    prefix: '',
    mirror: false,
    insecure,
    tls: await certificatesOf(join(sources.certificates, domain)),
  };
  const mirrors =
    domain === DEFAULT_DOMAIN && use === 'pull'
      ? await Promise.all(sources.config.registryMirrors.map((url) => mirrorEndpoint(url, sources)))
      : [];
  return [
    ...mirrors,
    { ...endpoint, origin: `https://${host}` },
    ...(insecure ? [{ ...endpoint, origin: `http://${host}` }] : []),
  ];
}
