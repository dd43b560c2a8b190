/** What a network's driver and options mean, and what may not be asked of them. Pure; the words are dockerd's. */
import { isIP } from 'node:net';
import { type DaemonError, forbidden, invalid } from '../errors.ts';
import type { Family } from './address.ts';
import type { Driver, NetworkRecord } from './record.ts';

const BRIDGE = 'com.docker.network.bridge.';
const LINK_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$/;
/** In /proc/sys these stand for all links, and for those to come. */
const NO_LINKS = ['all', 'default'];
const GATEWAY_MODES = ['nat', 'nat-unprotected', 'routed', 'isolated'];

type Options = Readonly<Record<string, string>>;

/** How the host takes part in a bridge network: nat, nat-unprotected, routed, or isolated, which is not at all. */
export const gatewayMode = ({ options }: { options: Options }, family: Family): string =>
  options[`${BRIDGE}gateway_mode_ipv${family}`] || 'nat';

const isOn = (value: string | undefined): boolean => /^(true|1|t)$/i.test(value ?? '');

const isInhibited = (options: Options, family: Family): boolean =>
  family === 4 && isOn(options[`${BRIDGE}inhibit_ipv4`]);

/** Whether the bridge carries the gateway's address in this family. */
export const hostHasGateway = (network: { options: Options }, family: Family): boolean =>
  gatewayMode(network, family) !== 'isolated' && !isInhibited(network.options, family);

/** No way in or out: asked for, or a macvlan or ipvlan network without a parent. */
export const isClosed = ({ driver, internal, options }: Pick<NetworkRecord, 'driver' | 'internal' | 'options'>) =>
  internal || ((driver === 'macvlan' || driver === 'ipvlan') && !options['parent']);

/** An address that nobody would answer at is given to a container instead. */
export function needsGateway(network: Pick<NetworkRecord, 'driver' | 'internal' | 'options'>, family: Family): boolean {
  const { driver, internal, options } = network;
  if (driver === 'ipvlan' && (options['ipvlan_mode'] || 'l2') !== 'l2') return false;
  if (driver === 'macvlan' || driver === 'ipvlan') return !isClosed(network);
  return gatewayMode(network, family) !== 'isolated' && !(isInhibited(options, family) && internal);
}

/** What macvlan and ipvlan do between their containers: bridge, private, vepa or passthru; undefined for other drivers. */
export function betweenEnds({ driver, options }: Pick<NetworkRecord, 'driver' | 'options'>): string | undefined {
  if (driver === 'macvlan') return options['macvlan_mode'] || 'bridge';
  return driver === 'ipvlan' ? options['ipvlan_flag'] || 'bridge' : undefined;
}

const parseFailure = (name: string, value: string, why: string): DaemonError =>
  invalid(`failed to parse ${name} value: ${value} (${why})`);

function checkBridge(options: Options, internal: boolean): void {
  for (const name of ['enable_icc', 'enable_ip_masquerade', 'inhibit_ipv4']) {
    const value = options[BRIDGE + name];
    if (value && !/^(true|false|1|0|t|f)$/i.test(value))
      throw parseFailure(BRIDGE + name, value, `"${value}" is not a boolean`);
  }
  for (const name of [`${BRIDGE}host_binding_ipv4`, 'com.docker.network.host_ipv4', 'com.docker.network.host_ipv6']) {
    const value = options[name];
    if (value && isIP(value) !== (name.endsWith('6') ? 6 : 4)) throw parseFailure(name, value, 'nil ip');
  }
  for (const name of ['gateway_mode_ipv4', 'gateway_mode_ipv6'].map((option) => BRIDGE + option)) {
    const mode = options[name];
    if (mode && !GATEWAY_MODES.includes(mode)) throw parseFailure(name, mode, `unknown gateway mode ${mode}`);
    if (mode === 'isolated' && !internal)
      throw invalid("gateway mode 'isolated' can only be used for an internal network");
  }
  if (options[`${BRIDGE}trusted_host_interfaces`])
    throw invalid(`the option ${BRIDGE}trusted_host_interfaces is not supported`);
}

function checkParent(driver: 'macvlan' | 'ipvlan', options: Options): void {
  const one = (what: 'mode' | 'flag', allowed: readonly string[], usual: string): void => {
    const value = options[`${driver}_${what}`];
    if (value && !allowed.includes(value))
      throw invalid(
        `requested ${driver} ${what} '${value}' is not valid, '${usual}' ${what === 'mode' ? 'mode ' : ''}is the ${driver} driver default`,
      );
  };
  if (driver === 'macvlan') one('mode', ['bridge', 'private', 'vepa', 'passthru'], 'bridge');
  else {
    one('mode', ['l2', 'l3', 'l3s'], 'l2');
    one('flag', ['bridge', 'private', 'vepa'], 'bridge');
  }
  if (options['parent'] === 'lo') throw invalid(`loopback interface is not a valid ${driver} parent link`);
}

export function checkOptions({ driver, internal, options }: Pick<NetworkRecord, 'driver' | 'internal' | 'options'>) {
  const mtu = options['com.docker.network.driver.mtu'];
  if (mtu && !(/^\d+$/.test(mtu) && Number(mtu) <= 65535)) throw invalid(`invalid MTU: ${mtu}`);
  const prefix = options['com.docker.network.container_iface_prefix'];
  if (prefix && !/^[A-Za-z][A-Za-z0-9_-]{0,9}$/.test(prefix))
    throw invalid(`invalid prefix of interface names: "${prefix}"`);
  if (driver === 'bridge') checkBridge(options, internal);
  if (driver === 'macvlan' || driver === 'ipvlan') checkParent(driver, options);
}

export const bridgeName = (id: string): string => `br-${id.slice(0, 12)}`;

/** The bridge, or the parent. */
export function linkOf(driver: Driver, id: string, options: Options): string {
  const wanted = driver === 'bridge' ? options[`${BRIDGE}name`] : options['parent'];
  if (wanted && (!LINK_NAME.test(wanted) || NO_LINKS.includes(wanted)))
    throw invalid(`invalid network interface name: "${wanted}"`);
  if (wanted) return wanted;
  // A macvlan without a parent is closed in itself: its parent is a link of ours that leads nowhere.
  return driver === 'bridge' ? bridgeName(id) : `${driver === 'macvlan' ? 'dm' : 'di'}-${id.slice(0, 12)}`;
}

/** Networks of several kinds on one link get in each other's way; macvlan networks share a parent. */
export function linkClash(record: NetworkRecord, others: readonly NetworkRecord[]): DaemonError | undefined {
  const { driver, link } = record;
  const sharing = link ? others.filter((other) => other.link === link) : [];
  const isPassthru = ({ options }: NetworkRecord): boolean => options['macvlan_mode'] === 'passthru';
  for (const other of sharing) {
    if (driver === 'bridge')
      return forbidden(
        `cannot create network ${record.id} (${link}): conflicts with network ${other.id} (${link}): networks have same bridge name`,
      );
    if (driver === 'ipvlan' && other.driver === 'ipvlan')
      return forbidden(`network di-${other.id.slice(0, 12)} is already using parent interface ${link}`);
    if (driver !== 'macvlan' || other.driver !== 'macvlan') continue;
    if (isPassthru(record))
      return forbidden(
        `cannot use mode passthru, macvlan network ${other.id} is already using parent interface ${link}`,
      );
    if (isPassthru(other))
      return forbidden(`macvlan network ${other.id} is already using parent interface ${link} in mode passthru`);
  }
  return undefined;
}
