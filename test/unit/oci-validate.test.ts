import { describe, expect, test } from 'vitest';
import { defaultConfig } from '../../src/config/defaults.ts';
import type { CgroupFeature } from '../../src/host/port.ts';
import type { HostSettings } from '../../src/runtime/oci/docker-types.ts';
import { resolveUser } from '../../src/runtime/oci/user.ts';
import { adaptHostConfig, validateHostConfig, validateNetworkMode } from '../../src/runtime/oci/validate.ts';
import { parseSignal, validateConfig } from '../../src/runtime/oci/validate-config.ts';
import { requestedEdits } from '../../src/runtime/oci/cdi.ts';
import { testHost } from '../support/deps.ts';

const check = (settings: HostSettings, features?: CgroupFeature[]) =>
  validateHostConfig(
    settings,
    {
      ...testHost,
      cpuset: { cpus: '0-1', mems: '0' },
      cgroup: { ...testHost.cgroup, features: features && new Set(features) },
    },
    defaultConfig,
  );

describe('a HostConfig is refused with dockerd’s words', () => {
  test.each<[HostSettings, string]>([
    [
      { AutoRemove: true, RestartPolicy: { Name: 'always' } },
      "can't create 'AutoRemove' container with restart policy",
    ],
    [{ RestartPolicy: { Name: 'often' } }, "unknown policy 'often'"],
    [{ RestartPolicy: { Name: 'always', MaximumRetryCount: 3 } }, "can only be used with 'on-failure'"],
    [{ Memory: 1 << 20 }, 'Minimum memory limit allowed is 6MB'],
    [{ Memory: 32 << 20, MemorySwap: 16 << 20 }, 'Minimum memoryswap limit should be larger than memory limit'],
    [{ MemorySwap: 64 << 20 }, 'You should always set the Memory limit when using Memoryswap limit'],
    [{ NanoCpus: 1e9, CpuQuota: 5000 }, 'Conflicting options: Nano CPUs and CPU Quota cannot both be set'],
    [{ NanoCpus: 3e9 }, 'range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available'],
    [{ CpusetCpus: '0-4' }, 'Requested CPUs are not available - requested 0-4, available: 0-1'],
    [{ CpusetCpus: 'x' }, 'Invalid value x for cpuset cpus'],
    [{ BlkioWeight: 5 }, 'Range of blkio weight is from 10 to 1000'],
    [{ CapAdd: ['frobnicate'] }, 'invalid CapAdd: unknown capability: "CAP_FROBNICATE"'],
    [{ Devices: [{ PathOnHost: '/dev/null', CgroupPermissions: 'rwx' }] }, 'invalid device mode: rwx'],
    [{ DeviceCgroupRules: ['c 1 rwm'] }, "invalid device cgroup rule format: 'c 1 rwm'"],
    [{ IpcMode: 'weird' }, 'invalid IPC mode: weird'],
    [{ PidMode: 'container:' }, 'invalid PID mode: container:'],
    [{ OomScoreAdj: 2000 }, 'range for oom score adj is [-1000, 1000]'],
    [{ SecurityOpt: ['bogus=1'] }, 'invalid --security-opt 2: "bogus=1"'],
    [{ ExtraHosts: ['name'] }, 'bad format for add-host: "name"'],
    [{ PortBindings: { '80/tcp': [{ HostPort: '99999' }] } }, 'invalid port specification: "99999"'],
    [{ Tmpfs: { '/': '' } }, "destination can't be '/'"],
    [{ Runtime: 'nope' }, 'unknown or invalid runtime name: nope'],
    [{ Annotations: { '': 'x' } }, 'the empty string is not permitted as an annotation key'],
  ])('%j', (settings, message) => {
    expect(() => check(settings)).toThrow(
      expect.objectContaining({ kind: 'invalid', message: expect.stringContaining(message) }),
    );
  });

  test('modes that contradict each other', () => {
    const joined = { NetworkMode: 'container:x' };
    expect(() => validateNetworkMode({ Hostname: 'h' }, joined)).toThrow(
      'conflicting options: hostname and the network mode',
    );
    expect(() => validateNetworkMode({}, { ...joined, PublishAllPorts: true })).toThrow(
      'conflicting options: port publishing',
    );
    expect(() => validateNetworkMode({ Hostname: 'h' }, { UTSMode: 'host' })).toThrow(
      'conflicting options: hostname and the UTS mode',
    );
    expect(() => validateNetworkMode({}, { NetworkMode: 'container:' })).toThrow('invalid container format');
  });
});

test('limits that this kernel lacks are dropped with a warning, not refused', () => {
  const { hostConfig, warnings } = check({ Memory: 64 << 20, PidsLimit: 10, OomKillDisable: true }, ['memory', 'swap']);
  expect(hostConfig).toMatchObject({ Memory: 64 << 20, PidsLimit: null, OomKillDisable: null });
  expect(warnings).toEqual([
    'Your kernel does not support OomKillDisable. OomKillDisable discarded.',
    'Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.',
  ]);
});

test('what dockerd fills in at create is filled in', () => {
  const adapted = adaptHostConfig<HostSettings>({ Memory: 10 << 20, Privileged: true }, testHost, defaultConfig);
  expect(adapted).toMatchObject({
    MemorySwap: 20 << 20,
    IpcMode: 'private',
    CgroupnsMode: 'host',
    ShmSize: 64 << 20,
    NetworkMode: 'default',
    SecurityOpt: ['label=disable'],
  });
  expect(adapted.MaskedPaths).toBeUndefined();
  expect(adaptHostConfig<HostSettings>({}, testHost, defaultConfig).MaskedPaths).toContain('/proc/kcore');
});

test('a Config is refused for a relative directory, a bad signal, a nameless variable and tiny intervals', () => {
  expect(() => validateConfig({ WorkingDir: 'srv' })).toThrow('it needs to be an absolute path');
  expect(() => validateConfig({ StopSignal: 'SIGNOPE' })).toThrow('invalid signal: SIGNOPE');
  expect(() => validateConfig({ Env: ['=x'] })).toThrow('invalid environment variable: =x');
  expect(() => validateConfig({ Healthcheck: { Interval: 10 } })).toThrow(
    'Interval in Healthcheck cannot be less than 1ms',
  );
  expect(() => validateConfig({ Hostname: 'x'.repeat(65) })).toThrow('is too long');
  expect(validateConfig({ WorkingDir: '/a/../srv/' }).WorkingDir).toBe('/srv');
  expect([parseSignal('term'), parseSignal('9'), parseSignal('SIGRTMIN+3'), parseSignal('65')]).toEqual([
    15,
    9,
    37,
    undefined,
  ]);
});

describe('the user', () => {
  const files = {
    '/etc/passwd': '# comment\nroot:x:0:0::/root:/bin/sh\nweb:x:100:101::/srv:/bin/sh\nbig:x:4294967296:0::/:\n',
    '/etc/group': 'root:x:0:\nweb:x:101:\nwheel:x:10:root,web\n',
  };
  const of = (spec: string, ...groups: string[]) => resolveUser(spec, groups, (path) => files[path]);

  test('is looked up in the image, with its groups and the primary one among them (CVE-2023-25173)', () => {
    expect(of('')).toEqual({ uid: 0, gid: 0, additionalGids: [0, 10], home: '/root' });
    expect(of('web', 'wheel', '99')).toEqual({ uid: 100, gid: 101, additionalGids: [101, 10, 99], home: '/srv' });
    expect(of('web:root')).toEqual({ uid: 100, gid: 0, additionalGids: [0], home: '/srv' });
    expect(of('1234:5678')).toEqual({ uid: 1234, gid: 5678, additionalGids: [5678], home: '' });
  });

  test('cannot be one beyond 31 bits, which would wrap around to root (CVE-2024-40635)', () => {
    for (const spec of ['4294967296', '2147483648', '-1', 'big', '0:4294967296'])
      expect(() => of(spec)).toThrow('uids and gids must be in range 0-2147483647');
  });

  test('must exist when it is a name', () => {
    expect(() => of('nobody')).toThrow('unable to find user nobody: no matching entries in passwd file');
    expect(() => of('web:nogroup')).toThrow('unable to find group nogroup: no matching entries in group file');
    expect(resolveUser('7', [], () => undefined)).toMatchObject({ uid: 7, gid: 0 });
  });
});

test('device requests need a driver that is there, and CDI names that somebody described', () => {
  const none = { devices: new Map(), shared: new Map(), errors: [] };
  expect(() => requestedEdits([{ Driver: '', Count: -1, Capabilities: [['gpu']] }], none)).toThrow(
    'could not select device driver "" with capabilities: [[gpu]]',
  );
  expect(() => requestedEdits([{ Driver: 'cdi', DeviceIDs: ['v.com/x=1'] }], none)).toThrow(
    'CDI device injection failed: unresolvable CDI devices v.com/x=1',
  );
  const gpu = { ...none, devices: new Map([['nvidia.com/gpu=all', { env: ['X=1'] }]]) };
  expect(requestedEdits([{ Count: -1, Capabilities: [['gpu']] }], gpu)).toEqual([{ env: ['X=1'] }]);
});
