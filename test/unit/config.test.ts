import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defaultConfig } from '../../src/config/defaults.ts';
import { loadConfig, parseCommandLine, reloaded } from '../../src/config/load.ts';

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'config-'));
  file = join(directory, 'daemon.json');
  writeFileSync(file, '{}');
});
afterEach(() => rmSync(directory, { recursive: true }));

const load = (...args: string[]) => loadConfig(parseCommandLine(['--config-file', file, ...args]));

describe('the configuration', () => {
  it('takes dockerd’s flags, long and short, with = and without', () => {
    const config = load(
      '-H',
      'unix:///a.sock',
      '--host=tcp://127.0.0.1:2375',
      '-D',
      '--bip',
      '10.9.0.1/24',
      '--icc=false',
    );
    expect(config.hosts).toEqual(['unix:///a.sock', 'tcp://127.0.0.1:2375']);
    expect(config).toMatchObject({ debug: true, logLevel: 'debug', bip: '10.9.0.1/24', icc: false });
  });

  it('keeps dockerd’s defaults where nothing is said', () => {
    expect(load()).toMatchObject({ hosts: defaultConfig.hosts, maxConcurrentDownloads: 3, logDriver: 'json-file' });
  });

  it('adds runtimes beside runc and refuses a default that is none of them', () => {
    expect(load('--add-runtime', 'crun=/usr/bin/crun').runtimes).toMatchObject({
      runc: { path: 'runc' },
      crun: { path: '/usr/bin/crun' },
    });
    expect(() => load('--default-runtime', 'nope')).toThrow("specified default runtime 'nope' does not exist");
  });

  it.each([
    [['--nope'], 'unknown flag: --nope'],
    [['-debug'], 'unknown flag: -debug'],
    [['stray'], 'unexpected argument: stray'],
    [['--mtu'], 'flag needs an argument: --mtu'],
    [['--mtu', 'big'], 'invalid value "big" for --mtu'],
    [['--bip', '10.0.0.1'], 'CIDR'],
    [['-H', 'http://x'], 'unix:///path, tcp://host:port or fd://'],
    [['--log-level', 'loud'], 'one of trace, debug'],
    [['--tlsverify'], '--tlscacert'],
  ])('refuses %j in one clear line', (args, message) => {
    expect(() => load(...args)).toThrow(message);
  });

  it('reads daemon.json', () => {
    writeFileSync(
      file,
      JSON.stringify({
        'registry-mirrors': ['https://m'],
        'default-ulimits': { nofile: { Name: 'nofile', Hard: 9, Soft: 8 } },
        'log-opts': { 'max-size': '10m' },
      }),
    );
    expect(load()).toMatchObject({
      registryMirrors: ['https://m'],
      defaultUlimits: { nofile: { Hard: 9, Soft: 8 } },
      logOpts: { 'max-size': '10m' },
    });
  });

  it.each([
    ['{', 'unable to configure the daemon with file'],
    ['[]', 'it is not an object'],
    ['{"colour": 1, "size": 2}', "don't match any configuration option: colour, size"],
    ['{"storage-driver": "zfs"}', 'storage-driver is not supported'],
    ['{"mtu": "x"}', 'for mtu'],
    ['{"features": {"containerd-snapshotter": true}}', 'features: containerd-snapshotter=true is not supported'],
    ['{"builder": {"gc": {"keep": 1}}}', 'builder.gc has no setting keep'],
    ['{"builder": {"gc": {"policy": [{"filter": ["colour=red"]}]}}}', 'for builder.gc.policy[0].filter'],
    ['{"builder": {"gc": {"defaultKeepStorage": "much"}}}', 'for builder.gc.defaultkeepstorage'],
    ['{"builder": {"history": {"maxAge": "soon"}}}', 'for builder.history.maxage'],
    ['{"builder": {"entitlements": {"device": true}}}', 'builder.entitlements.device is not supported'],
  ])('names what is wrong in %s', (text, message) => {
    writeFileSync(file, text);
    expect(() => load()).toThrow(message);
  });

  it.each([
    ['{"exec-opts": ["native.cgroupdriver=systemd"]}', { cgroupDriver: 'systemd' }],
    ['{"exec-opts": []}', { cgroupDriver: '' }],
    ['{"host-gateway-ip": "10.0.0.9"}', { hostGatewayIps: ['10.0.0.9'] }],
    ['{"default-cgroupns-mode": "host", "default-ipc-mode": "shareable"}', { defaultCgroupnsMode: 'host' }],
    ['{"proxies": {"http-proxy": "http://p:1", "no-proxy": "a,b"}}', { httpProxy: 'http://p:1', noProxy: 'a,b' }],
    ['{"storage-driver": "overlay2", "storage-opts": [], "userland-proxy": false, "rootless": false}', {}],
    ['{"features": {"buildkit": false, "cdi": true}, "experimental": true}', { buildkit: false, experimental: true }],
    [
      '{"builder": {"history": {"maxAge": "1h30m", "maxEntries": 7}}}',
      { builder: { history: { entries: 7, age: 5_400_000 } } },
    ],
    ['{"raw-logs": true, "ip6tables": true}', { buildkit: true, experimental: false }],
    [
      '{"builder": {"GC": {"enabled": true, "defaultKeepStorage": "2GB", "policy": [{"keepStorage": "1kb", "filter": ["unused-for=48h", "type==source.local"]}, {"all": true}]}}}',
      {
        builder: {
          collects: true,
          rules: [
            {
              all: false,
              reserved: 1024,
              filters: new Map(Object.entries({ 'unused-for': ['48h'], type: ['source.local'] })),
            },
            { all: true, reserved: 2 * 1024 ** 3, filters: new Map() },
          ],
        },
      },
    ],
    [
      '{"builder": {"gc": {"enabled": false}, "entitlements": {"security-insecure": true}}}',
      { builder: { collects: false, networkHost: true, securityInsecure: true } },
    ],
  ])('takes what dockerd’s file has: %s', (text, expected) => {
    writeFileSync(file, text);
    expect(load()).toMatchObject(expected);
  });

  it('knows every key of dockerd 28: takes it, or names it as one that is not supported', () => {
    const keys = [
      ...['allow-direct-routing', 'api-cors-header', 'authorization-plugins', 'bip', 'bip6', 'bridge', 'builder'],
      ...['cdi-spec-dirs', 'cgroup-parent', 'containerd', 'containerd-namespace', 'containerd-plugin-namespace'],
      ...['cpu-rt-period', 'cpu-rt-runtime', 'cri-containerd', 'data-root', 'debug', 'default-address-pools'],
      ...['default-cgroupns-mode', 'default-gateway', 'default-gateway-v6', 'default-ipc-mode', 'default-network-opts'],
      ...['default-runtime', 'default-shm-size', 'default-ulimits', 'dns', 'dns-opts', 'dns-search', 'exec-opts'],
      ...['exec-root', 'experimental', 'features', 'fixed-cidr', 'fixed-cidr-v6', 'group', 'host-gateway-ip'],
      ...['host-gateway-ips', 'hosts', 'icc', 'init', 'init-path', 'insecure-registries', 'ip', 'ip-forward'],
      ...['ip-forward-no-drop', 'ip-masq', 'ip6tables', 'iptables', 'ipv6', 'labels', 'live-restore', 'log-driver'],
      ...['log-format', 'log-level', 'log-opts', 'max-concurrent-downloads', 'max-concurrent-uploads'],
      ...['max-download-attempts', 'metrics-addr', 'mtu', 'network-control-plane-mtu', 'network-diagnostic-port'],
      ...['no-new-privileges', 'node-generic-resources', 'pidfile', 'proxies', 'raw-logs', 'registry-mirrors'],
      ...['rootless', 'runtimes', 'seccomp-profile', 'selinux-enabled', 'shutdown-timeout', 'storage-driver'],
      ...['storage-opts', 'swarm-default-advertise-addr', 'swarm-raft-election-tick', 'swarm-raft-heartbeat-tick'],
      ...[
        'tls',
        'tlscacert',
        'tlscert',
        'tlskey',
        'tlsverify',
        'userland-proxy',
        'userland-proxy-path',
        'userns-remap',
      ],
    ];
    const told = (key: string): string => {
      // Of no kind that any key takes: what is refused is the value, or the key by its name.
      writeFileSync(file, JSON.stringify({ [key]: [null] }));
      try {
        load();
        return '';
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(keys.filter((key) => told(key).includes("don't match"))).toEqual([]);
    expect(told('no-such-key')).toContain("don't match any configuration option: no-such-key");
  });

  it('takes or names dockerd’s flags that change nothing here', () => {
    expect(
      load('--userland-proxy=false', '--storage-driver', 'overlay2', '--exec-opt', 'native.cgroupdriver=cgroupfs'),
    ).toMatchObject({ cgroupDriver: 'cgroupfs' });
    expect(() => load('--containerd', '/run/containerd/containerd.sock')).toThrow(
      '--containerd is not supported: no containerd daemon is used',
    );
    expect(() => load('--exec-opt', 'isolation=hyperv')).toThrow('native.cgroupdriver=systemd is expected');
  });

  it('refuses a setting that stands in both places', () => {
    writeFileSync(file, '{"mtu": 1400}');
    expect(() => load('--mtu', '1300')).toThrow('specified both as a flag and in the configuration file: mtu');
  });

  it('changes only live keys on a reload', () => {
    const next = reloaded(load(), load('--mtu', '1300', '--max-concurrent-downloads', '9'));
    expect(next).toMatchObject({ mtu: 1500, maxConcurrentDownloads: 9 });
  });

  it('is frozen', () => {
    expect(Object.isFrozen(load())).toBe(true);
  });
});
