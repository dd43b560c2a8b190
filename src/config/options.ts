/** The table of all options: what each is called as a flag and in daemon.json, how it is read, and what it is for. */
import { readBuilder } from './builder.ts';
import type { Config } from './config.ts';
import * as read from './values.ts';

export interface Option<K extends keyof Config = keyof Config> {
  key: K;
  /** Flag names without dashes; the first is shown, none where it can only be in daemon.json. A one-letter name takes one dash. */
  flags: readonly string[];
  /** Key in daemon.json; '' where it can only be a flag. */
  file: string;
  read: read.Read<Config[K]>;
  /** Given more than once, values add up. */
  many?: boolean;
  /** A boolean flag may stand without a value. */
  switch?: boolean;
  /** Takes effect on reload. */
  live?: boolean;
  help: string;
}

const option = <K extends keyof Config>(
  key: K,
  flags: string,
  file: string,
  reader: read.Read<Config[K]>,
  help: string,
  more: Partial<Option<K>> = {},
): Option => ({ key, flags: flags.split(' ').filter(Boolean), file, read: reader, help, ...more }) as unknown as Option;

const many = { many: true };
const live = { live: true };
const onOff = { switch: true };

export const options: readonly Option[] = [
  option('hosts', 'host H', 'hosts', read.list(read.host), 'socket to listen on: unix://, tcp://, fd://', many),
  option('group', 'group G', 'group', read.string, 'group of the unix socket'),
  option('dataRoot', 'data-root', 'data-root', read.string, 'directory of what must outlive a reboot'),
  option('execRoot', 'exec-root', 'exec-root', read.string, 'directory of what need not'),
  option('pidfile', 'pidfile p', 'pidfile', read.string, 'file of the process id'),
  option('configFile', 'config-file', '', read.string, 'path of daemon.json'),
  option('debug', 'debug D', 'debug', read.boolean, 'log at debug level', { ...onOff, ...live }),
  option(
    'logLevel',
    'log-level l',
    'log-level',
    read.oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal'),
    'least level that is logged',
    live,
  ),
  option('logFormat', 'log-format', 'log-format', read.oneOf('text', 'json'), 'form of the log'),
  option('labels', 'label', 'labels', read.list(read.string), 'label of the daemon', { ...many, ...live }),
  option('registryMirrors', 'registry-mirror', 'registry-mirrors', read.list(read.string), 'mirror of Docker Hub', {
    ...many,
    ...live,
  }),
  option(
    'insecureRegistries',
    'insecure-registry',
    'insecure-registries',
    read.list(read.string),
    'registry (name or CIDR) that may be without TLS',
    { ...many, ...live },
  ),
  option('httpProxy', 'http-proxy', 'http-proxy', read.string, 'proxy for plain requests to registries'),
  option('httpsProxy', 'https-proxy', 'https-proxy', read.string, 'proxy for requests with TLS'),
  option('noProxy', 'no-proxy', 'no-proxy', read.string, 'hosts that are asked without a proxy, with commas between'),
  option(
    'maxConcurrentDownloads',
    'max-concurrent-downloads',
    'max-concurrent-downloads',
    read.integer(1),
    'layers fetched at once',
    live,
  ),
  option(
    'maxConcurrentUploads',
    'max-concurrent-uploads',
    'max-concurrent-uploads',
    read.integer(1),
    'layers pushed at once',
    live,
  ),
  option(
    'maxDownloadAttempts',
    'max-download-attempts',
    'max-download-attempts',
    read.integer(1),
    'attempts at each layer',
    live,
  ),
  option('defaultRuntime', 'default-runtime', 'default-runtime', read.string, 'runtime used unless told', live),
  option('runtimes', 'add-runtime', 'runtimes', read.runtimes, 'further OCI runtime: name=path', { ...many, ...live }),
  option('cgroupParent', 'cgroup-parent', 'cgroup-parent', read.string, 'parent cgroup of all containers'),
  option(
    'cgroupDriver',
    'exec-opt',
    'exec-opts',
    read.execOptions,
    'the same as dockerd has it: native.cgroupdriver=systemd',
    many,
  ),
  option('cgroupDriver', 'cgroup-driver', 'cgroup-driver', read.oneOf('cgroupfs', 'systemd'), 'cgroupfs or systemd'),
  option('bip', 'bip', 'bip', read.cidr, 'address of the default bridge'),
  option('bip6', 'bip6', 'bip6', read.cidr, 'IPv6 address of the default bridge'),
  option('fixedCidr', 'fixed-cidr', 'fixed-cidr', read.cidr, 'range of addresses on the default bridge'),
  option('fixedCidr6', 'fixed-cidr-v6', 'fixed-cidr-v6', read.cidr, 'IPv6 subnet of the default bridge'),
  option('defaultGateway', 'default-gateway', 'default-gateway', read.address, 'gateway of the default bridge'),
  option(
    'defaultGateway6',
    'default-gateway-v6',
    'default-gateway-v6',
    read.address,
    'IPv6 gateway of the default bridge',
  ),
  option('firewall', 'iptables', 'iptables', read.boolean, 'write firewall (nftables) rules', onOff),
  option(
    'portsBehindFirewall',
    'ports-behind-firewall',
    'ports-behind-firewall',
    read.boolean,
    "keep published ports behind the host's own firewall",
    onOff,
  ),
  option('ipForward', 'ip-forward', 'ip-forward', read.boolean, 'turn IP forwarding on', onOff),
  option('ipMasq', 'ip-masq', 'ip-masq', read.boolean, 'masquerade outgoing traffic', onOff),
  option('icc', 'icc', 'icc', read.boolean, 'containers on the default bridge reach each other', onOff),
  option('ipv6', 'ipv6', 'ipv6', read.boolean, 'IPv6 on the default bridge', onOff),
  option('mtu', 'mtu', 'mtu', read.integer(68, 65_535), 'MTU of the default bridge'),
  option('ip', 'ip', 'ip', read.address, 'host address of published ports'),
  option('bridge', 'bridge b', 'bridge', read.string, "name of the default bridge; 'none' for no network"),
  option(
    'defaultAddressPools',
    'default-address-pool',
    'default-address-pools',
    read.pools,
    'pool for new networks: base=CIDR,size=BITS',
    many,
  ),
  option('dns', 'dns', 'dns', read.list(read.address), 'DNS server of containers', many),
  option('dnsSearch', 'dns-search', 'dns-search', read.list(read.string), 'DNS search domain', many),
  option('dnsOptions', 'dns-opt', 'dns-opts', read.list(read.string), 'DNS option', many),
  option(
    'hostGatewayIps',
    'host-gateway-ip',
    'host-gateway-ips',
    read.list(read.address),
    "address behind 'host-gateway'",
    many,
  ),
  option('hostGatewayIps', '', 'host-gateway-ip', read.list(read.address), ''),
  option('logDriver', 'log-driver', 'log-driver', read.string, "containers' log driver"),
  option('logOpts', 'log-opt', 'log-opts', read.stringMap, "containers' log option: key=value", many),
  option('defaultUlimits', 'default-ulimit', 'default-ulimits', read.ulimits, 'ulimit of containers: name=soft:hard', {
    ...many,
  }),
  option('defaultShmSize', 'default-shm-size', 'default-shm-size', read.bytes, 'size of /dev/shm', live),
  option(
    'defaultCgroupnsMode',
    'default-cgroupns-mode',
    'default-cgroupns-mode',
    read.oneOf('private', 'host'),
    "containers' cgroup namespace: private or host",
  ),
  option(
    'defaultIpcMode',
    'default-ipc-mode',
    'default-ipc-mode',
    read.oneOf('private', 'shareable'),
    "containers' IPC mode: private or shareable",
  ),
  option('init', 'init', 'init', read.boolean, 'run an init in every container', onOff),
  option('initPath', 'init-path', 'init-path', read.string, 'path of that init'),
  option(
    'noNewPrivileges',
    'no-new-privileges',
    'no-new-privileges',
    read.boolean,
    'set no-new-privileges by default',
    { ...onOff },
  ),
  option('seccompProfile', 'seccomp-profile', 'seccomp-profile', read.string, 'path of the default seccomp profile'),
  option('selinuxEnabled', 'selinux-enabled', 'selinux-enabled', read.boolean, 'SELinux labels', onOff),
  option('usernsRemap', 'userns-remap', 'userns-remap', read.string, 'user whose subordinate ids containers get'),
  option('liveRestore', 'live-restore', 'live-restore', read.boolean, 'leave containers running at shutdown', {
    ...onOff,
    ...live,
  }),
  option('shutdownTimeout', 'shutdown-timeout', 'shutdown-timeout', read.seconds, 'seconds for stopping all', live),
  option('tls', 'tls', 'tls', read.boolean, 'TLS on tcp sockets', onOff),
  option('tlsVerify', 'tlsverify', 'tlsverify', read.boolean, 'TLS with client certificates', onOff),
  option('tlsCaCert', 'tlscacert', 'tlscacert', read.string, 'CA of client certificates'),
  option('tlsCert', 'tlscert', 'tlscert', read.string, 'certificate of the server'),
  option('tlsKey', 'tlskey', 'tlskey', read.string, 'its key'),
  option(
    'authorizationPlugins',
    'authorization-plugin',
    'authorization-plugins',
    read.list(read.string),
    'plugin asked about every request',
    { ...many, ...live },
  ),
  option('metricsAddress', 'metrics-addr', 'metrics-addr', read.string, 'host:port of Prometheus metrics'),
  option('journalKeep', 'journal-keep', 'journal-keep', read.integer(1000), 'facts kept in the journal', live),
  option('journalDays', 'journal-days', 'journal-days', read.integer(1), 'days a fact is kept', live),
  option('builder', '', 'builder', readBuilder, ''),
  option('experimental', 'experimental', 'experimental', read.boolean, 'tell clients so', onOff),
  option('buildkit', 'feature', 'features', read.features, 'dockerd’s features: buildkit=false', many),
  option('cdiSpecDirs', 'cdi-spec-dir', 'cdi-spec-dirs', read.list(read.string), 'directory of CDI specs', many),
];
