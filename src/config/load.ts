/** Flags and daemon.json to one frozen Config. A setting in both places is refused, as dockerd refuses it. */
import { existsSync, readFileSync } from 'node:fs';
import { invalid } from '../errors.ts';
import type { Config } from './config.ts';
import { defaultConfig } from './defaults.ts';
import { type Option, options } from './options.ts';

export interface CommandLine {
  /** Values given as flags, in the order of the table. */
  given: Map<Option, unknown[]>;
  help: boolean;
  version: boolean;
  validate: boolean;
}

const byFlag = new Map(options.flatMap((option) => option.flags.map((flag) => [flag, option] as const)));
const byKey = new Map(options.filter((option) => option.file).map((option) => [option.file, option] as const));

/** Settings of dockerd that we do not have: named with the reason, never ignored. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  'allow-direct-routing': 'create the network with gateway_mode_ipv4=nat-unprotected or routed',
  'api-cors-header': 'dockerd has it no more either',
  'cluster-advertise': 'there is no swarm',
  'cluster-store': 'there is no swarm',
  'swarm-default-advertise-addr': 'there is no swarm',
  'swarm-raft-heartbeat-tick': 'there is no swarm',
  'swarm-raft-election-tick': 'there is no swarm',
  'node-generic-resources': 'there is no swarm',
  'network-control-plane-mtu': 'there is no swarm',
  'network-diagnostic-port': 'there is no network database to look into',
  'storage-driver': 'the storage driver is always overlay2',
  'storage-opts': 'the storage driver is always overlay2',
  containerd: 'no containerd daemon is used',
  'containerd-namespace': 'no containerd daemon is used',
  'containerd-plugin-namespace': 'no containerd daemon is used',
  'containerd-plugins-namespace': 'no containerd daemon is used',
  'cri-containerd': 'no containerd daemon is used',
  'cpu-rt-period': 'realtime scheduling of all containers is not supported',
  'cpu-rt-runtime': 'realtime scheduling of all containers is not supported',
  'default-network-opts': 'give the options with each network',
  rootless: 'there is no rootless mode',
};
/** The flags of those that are called otherwise. */
const UNSUPPORTED_FLAGS: Readonly<Record<string, string>> = {
  'storage-opt': 'storage-opts',
  'node-generic-resource': 'node-generic-resources',
  'default-network-opt': 'default-network-opts',
};

/** Values of these that ask for what is so anyway. */
const asIs = (key: string, value: unknown): boolean =>
  value === false ||
  value === 0 ||
  value === '' ||
  (Array.isArray(value) && !value.length) ||
  (key === 'storage-driver' && (value === 'overlay2' || value === 'overlayfs'));

/** Settings that change nothing here and harm nobody: published ports need no proxy process, the FORWARD chain of others is left alone. */
const HARMLESS = new Set([...['raw-logs', 'ip6tables', 'ip-forward-no-drop', 'userland-proxy', 'userland-proxy-path']]);
/** The same as flags, which take a value unless they are switches. */
const HARMLESS_FLAGS: Readonly<Record<string, 'switch' | 'value'>> = {
  'raw-logs': 'switch',
  ip6tables: 'switch',
  'ip-forward-no-drop': 'switch',
  'userland-proxy': 'switch',
  'userland-proxy-path': 'value',
};

function checkUnsupported(flag: string, value: string | undefined): void {
  const key = UNSUPPORTED_FLAGS[flag] ?? flag;
  const reason = UNSUPPORTED[key];
  if (reason && !asIs(key, value === 'false' ? false : value)) throw invalid(`--${flag} is not supported: ${reason}`);
}

export function parseCommandLine(args: readonly string[]): CommandLine {
  const line: CommandLine = { given: new Map(), help: false, version: false, validate: false };
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    const match = /^(--?)([A-Za-z][A-Za-z0-9-]*)(?:=(.*))?$/s.exec(arg);
    if (!match) throw invalid(`unexpected argument: ${arg}`);
    const [, dashes, name = '', inline] = match;
    if (name === 'help' || arg === '-h') line.help = true;
    else if (name === 'version' || arg === '-v') line.version = true;
    else if (name === 'validate') line.validate = true;
    else {
      const option = byFlag.get(name);
      const harmless = HARMLESS_FLAGS[name];
      if (!option && (harmless || name in UNSUPPORTED || name in UNSUPPORTED_FLAGS)) {
        const value = inline ?? (harmless === 'switch' || rest[0]?.startsWith('-') ? undefined : rest.shift());
        if (!harmless) checkUnsupported(name, value);
        continue;
      }
      if (!option || (dashes === '-' && name.length > 1) || (dashes === '--' && name.length === 1))
        throw invalid(`unknown flag: ${arg.split('=')[0]}`);
      const value = inline ?? (option.switch ? 'true' : rest.shift());
      if (value === undefined) throw invalid(`flag needs an argument: ${arg}`);
      line.given.set(option, [...(line.given.get(option) ?? []), value]);
    }
  }
  return line;
}

function readFlag(option: Option, values: unknown[]): unknown {
  const name = `--${option.flags[0]}`;
  return option.read(option.many ? values : values.at(-1), name);
}

/** `proxies` is the one group of settings in daemon.json. */
function flattened({ proxies, ...plain }: Record<string, unknown>): Record<string, unknown> {
  if (proxies === undefined) return plain;
  if (typeof proxies !== 'object' || proxies === null || Array.isArray(proxies))
    throw invalid('proxies: an object is expected');
  return { ...plain, ...proxies };
}

/** Parses daemon.json. Errors name the file and the key. */
export function readConfigFile(path: string): Map<Option, unknown> {
  const found = new Map<Option, unknown>();
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw invalid(`unable to configure the daemon with file ${path}: ${(error as Error).message}`, { cause: error });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw invalid(`unable to configure the daemon with file ${path}: it is not an object`);
  const unknown: string[] = [];
  for (const [key, value] of Object.entries(flattened(json as Record<string, unknown>))) {
    const option = byKey.get(key);
    if (option) found.set(option, option.read(value, key));
    else if (UNSUPPORTED[key] && !asIs(key, value))
      throw invalid(`${path}: ${key} is not supported: ${UNSUPPORTED[key]}`);
    else if (!UNSUPPORTED[key] && !HARMLESS.has(key)) unknown.push(key);
  }
  if (unknown.length)
    throw invalid(`${path}: the following directives don't match any configuration option: ${unknown.join(', ')}`);
  return found;
}

/** Errors: DaemonError of kind `invalid` with one clear line. */
export function loadConfig(line: CommandLine): Config {
  const flags = new Map([...line.given].map(([option, values]) => [option, readFlag(option, values)] as const));
  const configFile = [...flags].find(([option]) => option.key === 'configFile')?.[1] as string | undefined;
  const path = configFile ?? defaultConfig.configFile;
  const file = configFile !== undefined || existsSync(path) ? readConfigFile(path) : new Map<Option, unknown>();
  const both = [...flags.keys()].filter((option) => file.has(option)).map((option) => option.file);
  if (both.length)
    throw invalid(
      `${path}: the following directives are specified both as a flag and in the configuration file: ${both.join(', ')}`,
    );
  const merged: Record<string, unknown> = { ...defaultConfig };
  for (const [option, value] of [...file, ...flags]) merged[option.key] = value;
  return freeze(checked(merged as unknown as Config));
}

function checked(config: Config): Config {
  const runtimes = { ...defaultConfig.runtimes, ...config.runtimes };
  if (!runtimes[config.defaultRuntime])
    throw invalid(`specified default runtime '${config.defaultRuntime}' does not exist`);
  for (const path of [config.dataRoot, config.execRoot])
    if (!path.startsWith('/')) throw invalid(`${path}: an absolute path is expected`);
  if (config.bip && config.bridge) throw invalid("--bip and --bridge can't be set together");
  if (config.tlsVerify && !(config.tlsCaCert && config.tlsCert && config.tlsKey))
    throw invalid('--tlsverify needs --tlscacert, --tlscert and --tlskey');
  for (const label of config.labels)
    if (!/^[^=]+=/.test(label)) throw invalid(`bad attribute format: ${label}: labels are key=value`);
  return { ...config, runtimes, logLevel: config.debug ? 'debug' : config.logLevel };
}

function freeze(config: Config): Config {
  for (const value of Object.values(config)) if (typeof value === 'object') Object.freeze(value);
  return Object.freeze(config);
}

/** The keys that a reload may change, as they are in `next`; the others stay. */
export function reloaded(current: Config, next: Config): Config {
  const live = options.filter((option) => option.live).map((option) => [option.key, next[option.key]]);
  return freeze({ ...current, ...Object.fromEntries(live) });
}

/** What a reload may change, by its keys in daemon.json: numbers and words as they are, the rest as JSON. */
export function liveSettings(config: Config): Record<string, string> {
  const text = (value: unknown): string => (typeof value === 'object' ? JSON.stringify(value) : String(value));
  return Object.fromEntries(
    options.filter((option) => option.live).map((option) => [option.file, text(config[option.key])]),
  );
}

export function helpText(): string {
  const rows = options
    .filter(({ flags }) => flags.length)
    .map((option) => {
      const names = option.flags.map((flag) => (flag.length === 1 ? `-${flag}` : `--${flag}`)).reverse();
      return `  ${names.join(', ').padEnd(32)} ${option.help}`;
    });
  return ['Usage: reactord [OPTIONS]', '', 'Options:', ...rows].join('\n');
}
