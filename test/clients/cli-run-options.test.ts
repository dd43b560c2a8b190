/** Every option of `docker run`: what it does in the container, or in dockerd's words why not. Several options share a container. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunResult, startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { OptionCases } from './cli-options.ts';
import { stopClean } from './stop-clean.ts';

let daemon: TestDaemon;
const cases = new OptionCases(() => daemon);
beforeAll(async () => {
  daemon = await startDaemon();
  daemon.ok('tag', daemon.image, 'busybox');
  daemon.ok('network', 'create', '--ipv6', '--subnet', '10.88.0.0/24', '--subnet', 'fd88::/64', 'mine');
});
afterAll(() => stopClean(daemon));

const run = (options: string[], script: string): string =>
  cases.ok('run', ['--rm', ...options], 'busybox', 'sh', '-c', script);
/** Of a container that is made for it and removed. */
function inspected(options: string[]): any {
  const id = cases
    .ok('run', ['-d', ...options], 'busybox', 'sleep', '100')
    .split('\n')
    .at(-1)!;
  const [found] = JSON.parse(daemon.ok('inspect', id));
  daemon.ok('rm', '-f', '-v', id);
  return found;
}

describe('names and files', () => {
  test('hosts, resolvers, names and addresses', () => {
    const seen = run(
      [
        ...['--add-host', 'db:192.0.2.4', '--add-host', 'six:2001:db8::1', '--add-host', 'up:host-gateway'],
        ...['--dns', '192.0.2.53', '--dns-option', 'ndots:3', '--dns-search', 'example.test'],
        ...['-h', 'box', '--domainname', 'site.test'],
      ],
      'cat /etc/hosts /etc/resolv.conf; hostname -f',
    );
    expect(seen).toMatch(/^192\.0\.2\.4\tdb$/m);
    expect(seen).toMatch(/^2001:db8::1\tsix$/m);
    expect(seen).toMatch(/^172\.\d+\.0\.1\tup$/m);
    expect(seen).toMatch(/nameserver 192\.0\.2\.53\nsearch example\.test\noptions ndots:3/);
    expect(seen).toContain('box.site.test');
    const addressed = run(
      [
        ...['--network', 'mine', '--network-alias', 'alias', '--ip', '10.88.0.9', '--ip6', 'fd88::9'],
        ...['--mac-address', '02:42:0a:58:00:09', '--link-local-ip', '169.254.8.8'],
      ],
      'cat /sys/class/net/eth0/address; ip -o addr show eth0; ping -c1 -w3 alias',
    );
    for (const text of ['02:42:0a:58:00:09', '10.88.0.9/24', 'fd88::9/64', '1 packets received'])
      expect(addressed).toContain(text);
  });

  test('environment, labels, annotations, id file, user and groups', () => {
    const [variables, labels, idFile] = ['variables', 'labels', 'id'].map((name) => join(daemon.directory, name));
    writeFileSync(variables!, '# none\nFROM_FILE=1\n');
    writeFileSync(labels!, 'from.file=1\n');
    const found = inspected([
      ...['--env-file', variables!, '-e', 'GIVEN=2', '--label-file', labels!, '-l', 'given=2', '--cidfile', idFile!],
      ...['--annotation', 'note=3', '--expose', '80', '--expose', '90-91/udp', '--name', 'told', '-P'],
    ]);
    expect(found.Config.Env).toEqual(expect.arrayContaining(['FROM_FILE=1', 'GIVEN=2']));
    expect(found.Config.Labels).toMatchObject({ 'from.file': '1', given: '2' });
    expect(found.HostConfig.Annotations).toEqual({ note: '3' });
    expect(Object.keys(found.NetworkSettings.Ports).sort()).toEqual(['80/tcp', '90/udp', '91/udp']);
    expect([found.Name, found.Id]).toEqual(['/told', readFileSync(idFile!, 'utf8')]);
    expect(run(['-u', '5:6', '--group-add', '77', '-w', '/srv/dir'], 'id; pwd')).toBe(
      'uid=5 gid=6 groups=6,77\n/srv/dir',
    );
    expect(cases.ok('run', ['--rm', '--entrypoint', 'echo'], 'busybox', 'hi')).toBe('hi');
  });
});

describe('limits', () => {
  test('of memory, processors, processes and files are set and shown', () => {
    const found = inspected([
      ...['-m', '64m', '--memory-reservation', '32m', '--memory-swap', '96m', '--cpus', '0.5', '--cpuset-cpus', '0'],
      ...['--cpuset-mems', '0', '-c', '512', '--pids-limit', '50', '--oom-score-adj', '300', '--shm-size', '1m'],
      ...['--ulimit', 'nofile=100:200'],
    ]);
    expect(found.HostConfig).toMatchObject({
      Memory: 64 << 20,
      MemoryReservation: 32 << 20,
      MemorySwap: 96 << 20,
      NanoCpus: 5e8,
      CpusetCpus: '0',
      CpusetMems: '0',
      CpuShares: 512,
      PidsLimit: 50,
      OomScoreAdj: 300,
      ShmSize: 1 << 20,
      Ulimits: [{ Name: 'nofile', Soft: 100, Hard: 200 }],
    });
    expect(
      run(['--ulimit', 'nofile=100:200', '--oom-score-adj', '300'], 'ulimit -n; cat /proc/self/oom_score_adj'),
    ).toBe('100\n300');
    const parts = inspected(['--cpu-period', '50000', '--cpu-quota', '25000']).HostConfig;
    expect(parts).toMatchObject({ CpuPeriod: 50_000, CpuQuota: 25_000 });
  });

  test('of a disk reach the kernel, which knows whether it is one', () => {
    const throttle = (disk: string): RunResult =>
      cases.call(
        'run',
        [
          ...['--rm', '--device-read-bps', `${disk}:1mb`, '--device-write-bps', `${disk}:1mb`],
          ...[
            '--device-read-iops',
            `${disk}:9`,
            '--device-write-iops',
            `${disk}:9`,
            '--cgroup-parent',
            `/reactord-test-${daemon.netns.split('-')[1]}/own`,
          ],
        ],
        'busybox',
        'true',
      );
    expect(throttle('/dev/absent').stderr).toContain('/dev/absent');
    const disk = ['/dev/vda', '/dev/sda', '/dev/nvme0n1', '/dev/loop0'].find((path) => existsSync(path));
    if (disk) expect(throttle(disk)).toMatchObject({ code: 0, stdout: '' });
  });

  test.each([
    ['--blkio-weight', '300'],
    ['--blkio-weight-device', '/dev/null:300'],
    ['--memory-swappiness', '50'],
    ['--oom-kill-disable'],
    ['--kernel-memory', '50m'],
  ])('%s is kept, or discarded with a warning', (...options) => {
    const { code, stderr } = cases.call('run', ['--rm', ...options], 'busybox', 'true');
    expect(code, stderr).toBe(0);
    expect(stderr.trim()).toMatch(/^$|^WARNING: .*(discarded|running out of resources|deprecated)/i);
  });
});

describe('isolation', () => {
  test('namespaces are the host’s, another container’s, or its own', () => {
    daemon.ok('run', '-d', '--name', 'other', '--ipc', 'shareable', 'busybox', 'sleep', '1000');
    expect(run(['--pid', 'container:other'], 'ps')).toContain('sleep 1000');
    expect(run(['--ipc', 'container:other', '--network', 'container:other'], 'echo joined')).toBe('joined');
    const own = (kind: string): string => daemon.inside('readlink', `/proc/self/ns/${kind}`).stdout.trim();
    const host = run(
      ['--pid', 'host', '--ipc', 'host', '--uts', 'host', '--userns', 'host', '--cgroupns', 'host'],
      'for n in pid ipc uts cgroup; do readlink /proc/self/ns/$n; done',
    );
    expect(host.split('\n')).toEqual(['pid', 'ipc', 'uts', 'cgroup'].map(own));
    daemon.ok('rm', '-f', 'other');
  });

  test('capabilities, devices, sysctls and security options', () => {
    const device = ['--device', '/dev/null:/dev/mine', '--device-cgroup-rule', 'c 1:7 rwm'];
    const seen = run(
      [
        ...['--cap-drop', 'ALL', '--cap-add', 'CHOWN', '--security-opt', 'no-new-privileges', '--read-only', ...device],
        ...['--sysctl', 'net.ipv4.ip_forward=0', '--tmpfs', '/scratch:size=1m,mode=711', '--runtime', 'runc'],
      ],
      'grep -E "CapEff|NoNewPrivs" /proc/self/status; ls -l /dev/mine; cat /proc/sys/net/ipv4/ip_forward; touch /x 2>&1; stat -c %a /scratch',
    );
    expect(seen).toMatch(/CapEff:\s+0{15}1\nNoNewPrivs:\s+1\n.*1,\s+3.*\/dev\/mine\n0\n.*Read-only file system\n711$/);
    expect(run(['--privileged'], 'grep CapEff /proc/self/status')).not.toMatch(/00000000a80425fb/);
    const init = cases.call('run', ['--rm', '--init'], 'busybox', 'cat', '/proc/1/cmdline');
    // Where the host has one.
    expect(init.stdout + init.stderr).toMatch(/init.*cat|"docker-init": executable file not found/);
    expect(run(['--runtime', 'io.containerd.runc.v2', '--isolation', 'default'], 'echo the same')).toBe('the same');
  });
});

test('mounts of every kind', () => {
  const directory = join(daemon.directory, 'bound');
  mkdirSync(directory);
  writeFileSync(join(directory, 'file'), 'bound');
  const seen = run(
    [
      ...['-v', `${directory}:/ro:ro`, '-v', 'named:/named', '-v', '/anonymous', '--volume-driver', 'local'],
      ...[
        '--mount',
        `type=bind,src=${directory},dst=/bound,readonly`,
        '--mount',
        'type=volume,src=named,dst=/again,ro',
      ],
      ...['--mount', 'type=tmpfs,dst=/memory,tmpfs-size=1m,tmpfs-mode=700'],
    ],
    'cat /ro/file /bound/file; echo kept > /named/x; cat /again/x; stat -c %a /memory; touch /ro/x /bound/x /again/y 2>&1 | grep -c Read-only',
  );
  expect(seen).toBe('boundboundkept\n700\n3');
  daemon.ok('create', '--name', 'donor', '-v', 'named:/named', 'busybox');
  expect(run(['--volumes-from', 'donor:ro'], 'cat /named/x; touch /named/y 2>&1 | grep -c Read-only')).toBe('kept\n1');
  daemon.ok('rm', 'donor');
  daemon.ok('volume', 'rm', 'named');
  expect(run(['--use-api-socket'], 'test -S /var/run/docker.sock && echo here')).toBe('here');
});

test('health, restarts, stops, logs and links are written down', () => {
  daemon.ok('run', '-d', '--name', 'linked', 'busybox', 'sleep', '100');
  const found = inspected([
    ...['--health-cmd', 'true', '--health-interval', '9s', '--health-retries', '4', '--health-start-interval', '2s'],
    ...['--health-start-period', '3s', '--health-timeout', '5s', '--restart', 'on-failure:3', '--link', 'linked:db'],
    ...['--stop-signal', 'INT', '--stop-timeout', '4', '--log-driver', 'local', '--log-opt', 'max-size=1m', '-i', '-t'],
    ...['-p', '127.0.0.1:8081:80', '--platform', 'linux/amd64'],
  ]);
  expect(found.Config).toMatchObject({
    Healthcheck: {
      Test: ['CMD-SHELL', 'true'],
      Interval: 9e9,
      Retries: 4,
      StartInterval: 2e9,
      StartPeriod: 3e9,
      Timeout: 5e9,
    },
    StopSignal: 'INT',
    StopTimeout: 4,
    Tty: true,
    OpenStdin: true,
  });
  expect(found.HostConfig).toMatchObject({
    RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 },
    LogConfig: { Type: 'local', Config: { 'max-size': '1m' } },
    PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '8081' }] },
    Links: [expect.stringMatching(/^\/linked:\/.*\/db$/)],
  });
  expect(inspected(['--no-healthcheck']).Config.Healthcheck).toEqual({ Test: ['NONE'] });
  daemon.ok('rm', '-f', 'linked');
});

test('the foreground: which streams are attached, and signals that reach the process', async () => {
  const streams = (...options: string[]) =>
    cases.call('run', ['--rm', ...options], 'busybox', 'sh', '-c', 'echo out; echo err >&2');
  expect(streams('-a', 'stdout')).toEqual({ code: 0, stdout: 'out\n', stderr: '' });
  expect(streams('-a', 'stderr', '--disable-content-trust')).toEqual({ code: 0, stdout: '', stderr: 'err\n' });
  expect(streams('--detach-keys', 'ctrl-x', '--pull', 'never', '-q', '--sig-proxy=false').code).toBe(0);
});

describe('what is refused, in dockerd’s words', () => {
  const absent = ['No such container: absent'];
  test.each<[string[], string]>([
    [['--cap-add', 'NOPE'], 'invalid CapAdd: unknown capability'],
    [['--cgroupns', 'weird'], '--cgroupns: invalid CGROUP mode'],
    [
      ['--cpu-rt-period', '10', '--cpu-rt-runtime', '100'],
      'cpu real-time runtime cannot be higher than cpu real-time period',
    ],
    [['--cpus', '5000'], 'range of CPUs is from 0.01 to'],
    [['--cpu-period', '5'], 'CPU cfs period can not be less than 1ms'],
    [['--cpu-quota', '5'], 'CPU cfs quota can not be less than 1ms'],
    [['--cpuset-cpus', 'a'], 'Invalid value a for cpuset cpus: invalid format: a'],
    [['--cpuset-mems', '99'], 'Requested memory nodes are not available'],
    [['--ip', '10.0.0.9'], 'user specified IP address is supported on user defined networks only'],
    [['--ip6', '::zz'], '* invalid IPv6 address: ::zz'],
    [['--network', 'mine', '--ip', '1.2.3'], 'invalid IPv4 address: 1.2.3'],
    [['--ipc', 'weird'], 'invalid IPC mode: weird'],
    [['--ipc', 'container:absent'], absent[0]!],
    [['--pid', 'container:absent'], absent[0]!],
    [['--pid', 'weird'], '--pid: invalid PID mode'],
    [['--uts', 'weird'], '--uts: invalid UTS mode'],
    [['--userns', 'weird'], '--userns: invalid USER mode'],
    [['--volumes-from', 'absent'], absent[0]!],
    [['--link', 'absent:a'], 'could not get container for absent: No such container: absent'],
    [['--isolation', 'hyperv'], "invalid isolation (hyperv): linux only supports 'default'"],
    [['--log-driver', 'weird'], 'error looking up logging plugin weird: plugin "weird" not found'],
    [['--log-opt', 'weird=1'], "unknown log opt 'weird' for json-file log driver"],
    [['--mac-address', 'zz'], 'zz is not a valid mac address'],
    [['-m', '5m'], 'Minimum memory limit allowed is 6MB'],
    [['-m', '64m', '--memory-swap', '32m'], 'Minimum memoryswap limit should be larger than memory limit'],
    [['--memory-reservation', '1m'], 'Minimum memory reservation allowed is 6MB'],
    [['--memory-swappiness', '500'], 'alid memory swappiness range is 0-100'],
    [['--io-maxbandwidth', '1m'], 'only supported on a Docker daemon running on windows'],
    [['--cpu-count', '2'], 'only supported on a Docker daemon running on windows'],
    [['--cpu-percent', '50'], 'only supported on a Docker daemon running on windows'],
    [['--io-maxiops', '1'], 'only supported on a Docker daemon running on windows'],
    [['--oom-score-adj', '5000'], 'range for oom score adj is [-1000, 1000]'],
    [['--platform', 'a/b/c/d'], 'a/b/c/d'],
    [['--restart', 'weird'], "unknown policy 'weird'"],
    [['--restart', 'always:3'], "maximum retry count can only be used with 'on-failure'"],
    [['--rm', '--restart', 'always'], 'conflicting options: cannot specify both --restart and --rm'],
    [['--runtime', 'weird'], 'unknown or invalid runtime name: weird'],
    [['--security-opt', 'weird'], 'Invalid --security-opt: "weird"'],
    [['--shm-size', '-5'], '-5'],
    [['--stop-signal', 'NOPE'], 'invalid signal: NOPE'],
    [['--storage-opt', 'size=1g'], "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"],
    [['--storage-opt', 'weird=1'], 'Unknown option weird'],
    [['--network', 'container:absent', '-p', '80:80'], 'port publishing and the container type network mode'],
    [['--network', 'container:absent', '-h', 'x'], 'hostname and the network mode'],
    [
      ['--network', 'none', '--ip', '1.2.3.4'],
      'supported only when connecting to networks with user configured subnets',
    ],
    [['-v', '/tmp:relative'], `invalid volume specification: '/tmp:relative': invalid mount config for type "bind"`],
    [['-v', '/tmp:/x', '--tmpfs', '/x'], 'Duplicate mount point: /x'],
    [['--mount', 'type=bind,src=/absent,dst=/x'], 'bind source path does not exist: /absent'],
    [['--tmpfs', 'relative'], "invalid mount path: 'relative' mount path must be absolute"],
    [['-w', 'relative'], "the working directory 'relative' is invalid, it needs to be an absolute path"],
    [['--health-retries', '-1'], '--health-retries cannot be negative'],
  ])('%j', (options, message) => {
    // None of them is a 404: the CLI would pull an image that is there.
    const { code, stderr } = cases.call('run', options, 'busybox', 'true');
    expect([code, stderr]).toEqual([expect.toSatisfy((number) => number > 0), expect.stringContaining(message)]);
    expect(stderr).not.toContain('Unable to find image');
  });

  test.each<[string[], string]>([
    [['--network', 'absent'], 'failed to set up container networking: network absent not found'],
    [['--network', 'container:absent'], 'joining network namespace of container: No such container: absent'],
    [['--gpus', 'all'], 'could not select device driver "" with capabilities: [[gpu]]'],
    [['--device', '/dev/absent'], 'error gathering device information while adding custom device "/dev/absent"'],
    [['-u', 'nobody-here'], 'unable to find user nobody-here: no matching entries in passwd file'],
    [['--group-add', 'nobodies'], 'unable to find group nobodies'],
    [['--tmpfs', '/x:weird'], 'invalid tmpfs option "weird"'],
    [['-p', '192.0.2.9:80:80'], 'cannot assign requested address'],
  ])('%j only at the start, and the container stays', (options, message) => {
    const { code, stderr } = cases.call('run', ['--name', 'stays', ...options], 'busybox', 'true');
    expect([code, stderr]).toEqual([expect.toBeOneOf([125, 127]), expect.stringContaining(message)]);
    expect(daemon.ok('ps', '-a', '--format', '{{.Names}} {{.Status}}')).toBe('stays Created');
    daemon.ok('rm', 'stays');
  });
});

test('a network, or the container whose network is joined, may be made later than the container', async () => {
  daemon.ok('create', '--name', 'early', '--network', 'later', 'busybox', 'sleep', '1000');
  daemon.ok('create', '--name', 'sharer', '--network', 'container:host-of', 'busybox', 'sleep', '1000');
  daemon.ok('network', 'create', '--subnet', '10.81.0.0/24', 'later');
  daemon.ok('run', '-d', '--name', 'host-of', '--network', 'later', 'busybox', 'sleep', '1000');
  daemon.ok('start', 'early', 'sharer');
  expect(daemon.ok('exec', 'early', 'ping', '-c1', '-w5', 'host-of')).toContain('1 packets received');
  const namespaceOf = (name: string): string => daemon.ok('exec', name, 'readlink', '/proc/self/ns/net');
  expect(namespaceOf('sharer')).toBe(namespaceOf('host-of'));
  daemon.ok('restart', '-t', '0', 'host-of');
  await eventually(() => namespaceOf('sharer') === namespaceOf('host-of'), { what: 'the sharer follows' });
  await daemon.kill();
  await daemon.restart();
  expect(namespaceOf('sharer')).toBe(namespaceOf('host-of'));
  daemon.ok('rm', '-f', 'early', 'sharer', 'host-of');
  daemon.ok('network', 'rm', 'later');
});

test('no option of the CLI is without a case', () => {
  // `create` has no more of them, and makes the same request.
  expect(cases.missing('run')).toEqual([]);
});
