import { describe, expect, test } from 'vitest';
import { check } from '../../src/api/validate.ts';
import { defaultConfig } from '../../src/config/defaults.ts';
import type { HostFacts } from '../../src/host/port.ts';
import { containerCapabilities, DEFAULT_CAPABILITIES } from '../../src/runtime/oci/capabilities.ts';
import type { HostSettings } from '../../src/runtime/oci/docker-types.ts';
import type { HostSide } from '../../src/runtime/oci/host-side.ts';
import { type ContainerMount, mergeTmpfsOptions } from '../../src/runtime/oci/mounts.ts';
import { kernelAtLeast, seccompFor } from '../../src/runtime/oci/seccomp.ts';
import { buildSpec, type SpecInput } from '../../src/runtime/oci/spec.ts';
import { testHost } from '../support/deps.ts';

const host: HostFacts = { ...testHost, capabilities: [...DEFAULT_CAPABILITIES, 'CAP_NET_ADMIN', 'CAP_SYS_ADMIN'] };

const side: HostSide = {
  devices: [],
  hostDevices: [],
  blockDevices: new Map(),
  propagation: new Map(),
  initPath: undefined,
  seccomp: '',
  sysctls: { 'net.ipv4.ip_unprivileged_port_start': '0' },
  cdi: [],
};

const spec = (hostConfig: HostSettings = {}, more: Partial<SpecInput> = {}) =>
  buildSpec({
    id: 'c1',
    config: { Hostname: 'box', Env: ['A=1', 'PATH=/bin'], WorkingDir: '/srv' },
    hostConfig,
    args: ['sleep', '1'],
    user: { uid: 0, gid: 0, additionalGids: [0] },
    host,
    daemon: defaultConfig,
    side,
    netnsPath: '/run/netns/c1',
    mounts: [],
    ...more,
  });

const target = (...capabilities: string[]) => ({ architecture: 'amd64', kernelVersion: '6.1.0', capabilities });
const mountAt = (built: ReturnType<typeof spec>, destination: string) =>
  built.mounts.find((mount) => mount.destination === destination);

describe('a plain container', () => {
  const built = spec();

  test('has a document that fits the runtime specification, as has a privileged one with limits', () => {
    const limited: HostSettings = { Privileged: true, Memory: 64 << 20, MemorySwap: -1, NanoCpus: 1e9, PidsLimit: -1 };
    const ulimits: HostSettings = {
      Ulimits: [{ Name: 'nofile', Soft: 1, Hard: 2 }],
      Sysctls: { 'net.core.somaxconn': '1' },
    };
    for (const settings of [{}, limited, ulimits]) {
      expect(() => check('oci-runtime-config', JSON.parse(JSON.stringify(spec(settings))))).not.toThrow();
    }
  });

  test('runs with Docker’s fourteen capabilities and inherits none (CVE-2022-24769)', () => {
    expect(built.process.capabilities.bounding).toEqual(DEFAULT_CAPABILITIES);
    expect(built.process.capabilities.inheritable).toEqual([]);
    expect(built.process.capabilities.ambient).toEqual([]);
  });

  test('keeps the image’s environment over the defaults and knows its host name', () => {
    expect(built.process.env).toEqual(['PATH=/bin', 'HOSTNAME=box', 'A=1']);
    expect(built.hostname).toBe('box');
    expect(built.process.cwd).toBe('/srv');
  });

  test('cannot read what tells of the host: interrupts, powercap (CVE-2020-8694), firmware, thermal counters', () => {
    const paths = spec({}, { host: { ...host, thermalPaths: ['/sys/devices/system/cpu/cpu0/thermal_throttle'] } }).linux
      .maskedPaths;
    for (const path of ['/proc/interrupts', '/proc/kcore', '/sys/devices/virtual/powercap', '/sys/firmware'])
      expect(paths).toContain(path);
    expect(paths).toContain('/sys/devices/system/cpu/cpu0/thermal_throttle');
    expect(built.linux.readonlyPaths).toContain('/proc/sys');
  });

  test('has namespaces of its own and the one made for its network', () => {
    expect(built.linux.namespaces).toEqual([
      { type: 'mount' },
      { type: 'network', path: '/run/netns/c1' },
      { type: 'uts' },
      { type: 'pid' },
      { type: 'ipc' },
    ]);
    expect(built.linux.cgroupsPath).toBe('/docker/c1');
  });

  test('may use no device but the harmless ones', () => {
    expect(built.linux.resources.devices![0]).toEqual({ allow: false, access: 'rwm' });
    expect(built.linux.devices).toEqual([]);
  });
});

describe('the default seccomp profile', () => {
  const calls = (...capabilities: string[]) => seccompFor('', target(...capabilities))!.syscalls;
  const allowed = (name: string, ...capabilities: string[]) =>
    calls(...capabilities).filter((call) => call.names.includes(name) && call.action === 'SCMP_ACT_ALLOW');

  test('refuses the kernel’s crypto sockets and the hypervisor’s, and no other family', () => {
    const matches = ({ value, op }: { value: number; op: string }, family: number): boolean =>
      op === 'SCMP_CMP_LT' ? family < value : op === 'SCMP_CMP_GT' ? family > value : family === value;
    const open = (family: number) => allowed('socket').some((call) => matches(call.args![0]!, family));
    expect([1, 2, 10, 16, 17, 39, 44].every(open)).toBe(true);
    expect([38, 40].some(open)).toBe(false);
  });

  test('lets processes be made, but no namespaces without CAP_SYS_ADMIN', () => {
    expect(allowed('clone')[0]!.args).toEqual([{ index: 0, value: 0x7e020000, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }]);
    expect(allowed('unshare')).toEqual([]);
    expect(calls().find((call) => call.names.includes('clone3'))!.errnoRet).toBe(38);
    expect(allowed('unshare', 'CAP_SYS_ADMIN')).toHaveLength(1);
    expect(allowed('clone3', 'CAP_SYS_ADMIN')).toHaveLength(1);
  });

  test('knows the architecture and the kernel', () => {
    const arm = seccompFor('', { ...target(), architecture: 'arm64', kernelVersion: '4.4.0' })!;
    expect(arm.architectures).toEqual(['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM']);
    expect(arm.syscalls.some((call) => call.names.includes('arch_prctl'))).toBe(false);
    expect(arm.syscalls.some((call) => call.names.includes('ptrace'))).toBe(false);
    expect(allowed('ptrace')).toHaveLength(1);
    expect(kernelAtLeast('4.18.0-el8', '4.8')).toBe(true);
  });

  test('leaves out the x32 ABI where the kernel has none, and nowhere else', () => {
    const both = ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'];
    expect(seccompFor('', { ...target(), x32: false })!.architectures).toEqual(both);
    expect(seccompFor('', { ...target(), x32: true })!.architectures).toEqual([...both, 'SCMP_ARCH_X32']);
    expect(seccompFor('', target())!.architectures).toEqual([...both, 'SCMP_ARCH_X32']);
    const own = JSON.stringify({ defaultAction: 'SCMP_ACT_ERRNO', architectures: ['SCMP_ARCH_X32'], syscalls: [] });
    expect(seccompFor(own, { ...target(), x32: false })!.architectures).toEqual(['SCMP_ARCH_X32']);
  });

  test('gives way to a profile of the container’s own, and to none', () => {
    const own = spec({
      SecurityOpt: [
        'seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"chmod","action":"SCMP_ACT_ERRNO"}]}',
      ],
    });
    expect(own.linux.seccomp).toEqual({
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['chmod'], action: 'SCMP_ACT_ERRNO' }],
    });
    expect(spec({ SecurityOpt: ['seccomp=unconfined'] }).linux.seccomp).toBeUndefined();
    expect(() => spec({ SecurityOpt: ['seccomp={'] })).toThrow('Decoding seccomp profile failed');
  });
});

test('capabilities are added and dropped as the client says, ALL standing for every one', () => {
  const of = (settings: HostSettings) => containerCapabilities(settings, host.capabilities);
  expect(of({ CapDrop: ['ALL'], CapAdd: ['net_admin'] })).toEqual(['CAP_NET_ADMIN']);
  expect(of({ CapAdd: ['all'], CapDrop: ['CAP_CHOWN'] })).not.toContain('CAP_CHOWN');
  expect(of({ CapAdd: ['NET_ADMIN', 'CHOWN'] })).toHaveLength(DEFAULT_CAPABILITIES.length + 1);
  expect(() => of({ CapAdd: ['nonsense'] })).toThrow('unknown capability: "CAP_NONSENSE"');
  expect(() => of({ CapAdd: ['sys_boot'] })).toThrow('not supported by your kernel or not available');
});

test('privileged means every capability, all devices, writable /sys and cgroups, no filter and nothing masked', () => {
  const device = { type: 'c' as const, path: '/dev/kvm', major: 10, minor: 232 };
  const built = spec({ Privileged: true }, { side: { ...side, hostDevices: [device] } });
  expect(built.process.capabilities.bounding).toEqual(host.capabilities);
  expect(built.linux.resources.devices).toEqual([{ allow: true, access: 'rwm' }]);
  expect(built.linux.devices).toEqual([device]);
  expect(built.linux.seccomp).toBeUndefined();
  expect(built.linux.maskedPaths).toEqual([]);
  for (const path of ['/sys', '/sys/fs/cgroup']) expect(mountAt(built, path)!.options).not.toContain('ro');
});

test('limits become cgroup values, and unlimited survives as the kernel’s own number', () => {
  const built = spec(
    {
      Memory: 64 << 20,
      MemorySwap: -1,
      NanoCpus: 1_500_000_000,
      PidsLimit: 0,
      BlkioDeviceReadBps: [{ Path: '/dev/sda', Rate: 1000 }],
      Ulimits: [{ Name: 'core', Soft: -1, Hard: -1 }],
    },
    { side: { ...side, blockDevices: new Map([['/dev/sda', { major: 8, minor: 0 }]]) } },
  );
  const { memory, cpu, pids, blockIO } = built.linux.resources;
  expect([memory, cpu, pids]).toEqual([
    { limit: 64 << 20, swap: -1 },
    { period: 100_000, quota: 150_000 },
    { limit: -1 },
  ]);
  expect(blockIO!.throttleReadBpsDevice).toEqual([{ major: 8, minor: 0, rate: 1000 }]);
  expect(JSON.stringify(built.process.rlimits)).toBe(
    '[{"type":"RLIMIT_CORE","soft":18446744073709551615,"hard":18446744073709551615}]',
  );
});

describe('mounts', () => {
  const bind = (
    destination: string,
    more: Partial<Extract<ContainerMount, { kind: 'bind' }>> = {},
  ): ContainerMount => ({
    kind: 'bind',
    source: '/src',
    destination,
    writable: true,
    propagation: 'rprivate',
    ...more,
  });

  test('a user’s mount takes the place of a default one, and a user’s /dev of all below it', () => {
    const built = spec({}, { mounts: [bind('/dev'), bind('/sys')] });
    const under = built.mounts.map((mount) => mount.destination).filter((path) => path.startsWith('/dev'));
    expect(under).toEqual(['/dev']);
    expect(built.mounts.filter((mount) => mount.destination === '/sys')).toHaveLength(1);
  });

  test('outer mounts come before inner ones, whatever the order given', () => {
    const built = spec({}, { mounts: [bind('/a/b/c'), bind('/a'), bind('/a/b')] });
    const order = built.mounts.map((mount) => mount.destination).filter((path) => path.startsWith('/a'));
    expect(order).toEqual(['/a', '/a/b', '/a/b/c']);
  });

  test('read-only reaches into the mounts below where the kernel can, unless told not to', () => {
    const options = (more: object, kernel = '6.1.0') =>
      mountAt(
        spec({}, { host: { ...host, kernelVersion: kernel }, mounts: [bind('/m', { writable: false, ...more })] }),
        '/m',
      )!.options;
    expect(options({})).toEqual(['rbind', 'rro', 'rprivate']);
    expect(options({ readOnlyNonRecursive: true })).toEqual(['rbind', 'ro', 'rprivate']);
    expect(options({}, '5.10.0')).toEqual(['rbind', 'ro', 'rprivate']);
    expect(() => options({ readOnlyForceRecursive: true }, '5.10.0')).toThrow('rro is not supported');
  });

  test('sharing needs a source that is shared, and opens the root for it', () => {
    const mounts = [bind('/m', { propagation: 'rshared' })];
    expect(() => spec({}, { mounts })).toThrow('not a shared mount');
    const shared = spec({}, { mounts, side: { ...side, propagation: new Map([['/src', 'shared']]) } });
    expect(shared.linux.rootfsPropagation).toBe('shared');
  });

  test('a read-only root leaves only what the kernel needs writable', () => {
    const built = spec(
      { ReadonlyRootfs: true, Tmpfs: {} },
      { mounts: [{ kind: 'tmpfs', destination: '/run', options: 'exec' }] },
    );
    expect(built.root.readonly).toBe(true);
    expect(mountAt(built, '/sys/fs/cgroup')!.options).toContain('ro');
    expect(mountAt(built, '/dev')!.options).not.toContain('ro');
    expect(mountAt(built, '/run')!.options).toEqual(['nosuid', 'nodev', 'rprivate', 'exec']);
  });

  test('of contradicting tmpfs options the last holds, and unknown ones are refused', () => {
    expect(mergeTmpfsOptions(['noexec', 'size=1m', 'exec', 'size=2m'])).toEqual(['exec', 'size=2m']);
    expect(() => mergeTmpfsOptions(['bogus'])).toThrow('invalid tmpfs option');
  });
});

test('shared namespaces: host, another container’s, none of one’s own', () => {
  const built = spec(
    { PidMode: 'container:x', IpcMode: 'host', UTSMode: 'host', CgroupnsMode: 'private', NetworkMode: 'host' },
    { netnsPath: '', joined: { pid: 42 } },
  );
  expect(built.linux.namespaces).toEqual([
    { type: 'mount' },
    { type: 'pid', path: '/proc/42/ns/pid' },
    { type: 'cgroup' },
  ]);
  expect(built.hostname).toBeUndefined();
  expect(built.linux.sysctl).toEqual({});
});

test('an init is put in front of the command', () => {
  const built = spec({ Init: true }, { side: { ...side, initPath: '/usr/bin/tini' } });
  expect(built.process.args).toEqual(['/sbin/docker-init', '--', 'sleep', '1']);
  expect(mountAt(built, '/sbin/docker-init')).toMatchObject({ source: '/usr/bin/tini', options: ['bind', 'ro'] });
});

test('a CDI device brings its nodes, mounts, hooks, groups and environment', () => {
  const built = spec(
    {},
    {
      side: {
        ...side,
        cdi: [
          {
            env: ['GPU=0'],
            deviceNodes: [{ path: '/dev/gpu0', type: 'c', major: 195, minor: 0 }],
            mounts: [{ hostPath: '/usr/lib/gpu', containerPath: '/usr/lib/gpu', options: ['ro', 'bind'] }],
            hooks: [{ hookName: 'createContainer', path: '/usr/bin/hook' }],
            additionalGids: [44],
          },
        ],
      },
    },
  );
  expect(built.process.env).toContain('GPU=0');
  expect(built.process.user.additionalGids).toEqual([0, 44]);
  expect(built.linux.devices[0]).toMatchObject({ path: '/dev/gpu0', major: 195 });
  expect(built.linux.resources.devices!.at(-1)).toMatchObject({ allow: true, major: 195, minor: 0 });
  expect(mountAt(built, '/usr/lib/gpu')!.options).toEqual(['ro', 'bind']);
  expect(built.hooks).toEqual({ createContainer: [{ path: '/usr/bin/hook' }] });
});
