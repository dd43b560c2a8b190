/** Escapes of the past, tried from inside containers of one real daemon. The titles carry the names of the holes. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ApiAnswer, startDaemon, type TestDaemon } from '../support/daemon.ts';
import { buildImage, busyboxLayer, pushImage, tarOf } from '../support/fixture-image.ts';

let daemon: TestDaemon;

beforeAll(async () => {
  daemon = await startDaemon({ flags: ['--debug'] });
  daemon.ok('tag', daemon.image, 'busybox');
  daemon.ok('run', '-d', '--name', 'box', 'busybox', 'sleep', '600');
});
afterAll(async () => daemon?.stop());

const run = (...args: string[]): string => daemon.ok('run', '--rm', ...args);
const sh = (script: string): string[] => ['busybox', 'sh', '-c', script];
const exec = (...args: string[]): string => daemon.ok('exec', ...args);

/** An image of busybox with hostile layers over it. */
async function hostile(name: string, ...entries: Parameters<typeof tarOf>[0][]): Promise<string> {
  const layers = [await busyboxLayer(), ...(await Promise.all(entries.map((one) => tarOf(one))))];
  await pushImage(daemon.registry!, `${name}:latest`, buildImage({ layers }));
  const reference = `${daemon.registry!.host}/${name}:latest`;
  daemon.ok('pull', '-q', reference);
  return reference;
}

describe('a process', () => {
  const look = 'ls -l /proc/self/fd; readlink /proc/self/cwd; readlink /proc/self/exe; ls -l /proc/1/fd';

  test('has descriptors 0 to 2 and a directory inside, run and exec alike (CVE-2024-21626, CVE-2019-5736)', () => {
    for (const seen of [run(...sh(look)), exec('box', 'sh', '-c', look), exec('-t', 'box', 'sh', '-c', look)]) {
      // 3 is the directory that ls itself reads.
      const descriptors = [...seen.matchAll(/ (\d+)(?: -> \S+)?\r?$/gm)].map((match) => Number(match[1]));
      expect(Math.max(...descriptors)).toBe(3);
      expect(seen).toMatch(/^\/\r?$/m);
      expect(seen).not.toContain('runc');
    }
    // A descriptor of the runtime as a working directory leads nowhere.
    for (const fd of [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]) {
      const tried = daemon.docker('exec', '-w', `/proc/self/fd/${fd}`, 'box', 'sh', '-c', 'ls ../../../../..; pwd -P');
      expect([fd, tried.code === 0 && tried.stdout]).toEqual([fd, false]);
    }
  });

  test('inherits no capabilities (CVE-2022-24769), keeps its primary group (CVE-2023-25173, CVE-2022-36109)', () => {
    const status = 'grep -E "^(CapInh|CapAmb|Groups)" /proc/self/status';
    const expected = /^Groups:\s+33 100\s*\nCapInh:\s+0{16}\nCapAmb:\s+0{16}$/m;
    expect(run('-u', 'www-data', ...sh(status))).toMatch(expected);
    expect(exec('-u', 'www-data', 'box', 'sh', '-c', status)).toMatch(expected);
    expect(run(...sh(status))).toMatch(/^Groups:\s+0\s*\nCapInh:\s+0{16}$/m);
    expect(run('-u', '5:7', '--group-add', '9', ...sh(status))).toMatch(/^Groups:\s+7 9/m);
  });

  test('cannot be a user whose number wraps around to root (CVE-2024-40635)', () => {
    for (const user of ['4294967296', '2147483648', '-1', '0:4294967296']) {
      for (const tried of [
        daemon.docker('run', '--rm', '-u', user, ...sh('id')),
        daemon.docker('exec', '-u', user, 'box', 'id'),
      ]) {
        expect(tried.code).not.toBe(0);
        expect(tried.stdout + tried.stderr).toContain('uids and gids must be in range 0-2147483647');
      }
    }
  });

  test('opens no crypto sockets of the kernel (AF_ALG), nor the hypervisor’s', () => {
    const script = 'for (2, 38, 40) { socket(my $s, $_, $_ == 38 ? 5 : 1, 0) ? print "$_ open\\n" : print "$_ $!\\n" }';
    const host = ['/usr', '/lib', '/lib64']
      .filter((path) => existsSync(path))
      .flatMap((path) => ['-v', `${path}:${path}:ro`]);
    const refused = ['38 Operation not permitted', '40 Operation not permitted'];
    expect(run(...host, 'busybox', '/usr/bin/perl', '-e', script).split('\n')).toEqual(['2 open', ...refused]);
  });
});

describe('what the kernel tells', () => {
  test('of interrupts, power, heat, keys and memory is masked; the rest of /proc and /sys is read-only', () => {
    const script = `
      for f in /proc/interrupts /proc/keys /proc/timer_list /proc/kcore /proc/latency_stats /proc/sched_debug; do head -c 1 $f; done 2>/dev/null
      ls /sys/firmware /sys/devices/virtual/powercap /proc/acpi /proc/scsi /proc/asound /sys/devices/system/cpu/cpu*/thermal_throttle 2>/dev/null | grep -v :
      for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/uevent_helper /sys/fs/cgroup/*/cgroup.procs; do echo 1 2>/dev/null > $f && echo "wrote $f"; done
      mount -o remount,rw /sys 2>/dev/null && echo remounted; mknod /dev/sda b 8 0 && head -c 1 /dev/sda; echo end`;
    expect(run(...sh(script)).replaceAll(/^\s*\n/gm, '')).toBe('end');
  });

  test('stays masked in an image that brings its own /proc, /sys and /dev (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881)', async () => {
    const link = (name: string, linkname: string) => ({ name, type: 'symlink' as const, linkname });
    const images = [
      await hostile('linked', [
        ...['proc', 'sys', 'dev'].map((name) => link(name, '/etc')),
        link('etc/hostname', '/proc/sysrq-trigger'),
        link('etc/hosts', '../../../../../../etc/passwd'),
      ]),
      await hostile('nested', [
        { name: 'dev/', type: 'directory' as const },
        link('dev/null', '/proc/sys/kernel/core_pattern'),
        link('dev/console', '/proc/sysrq-trigger'),
        link('dev/pts', '/proc/sys'),
        link('dev/shm', '/proc'),
      ]),
    ];
    const before = readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
    for (const image of images) {
      const script = 'cat /proc/interrupts; echo x > /proc/sys/kernel/core_pattern; stat -c %t:%T /dev/null; echo end';
      for (const terminal of [[], ['-t']]) {
        const tried = daemon.docker('run', '--rm', ...terminal, image, 'sh', '-c', script);
        if (tried.code === 0) expect(tried.stdout.replaceAll('\r', '')).toMatch(/(^|\n)1:3\nend\n$/);
        expect(tried.stdout).not.toMatch(/CPU0/);
      }
    }
    expect(readFileSync('/proc/sys/kernel/core_pattern', 'utf8')).toBe(before);
  });

  test('cannot be mounted over', () => {
    for (const target of ['/proc', '/proc/sys', '/proc/1/attr', '/x/../proc/self', '/proc/self/attr/exec'])
      expect(daemon.docker('run', '--rm', '-v', `${daemon.directory}:${target}`, ...sh('true')).code).not.toBe(0);
  });

  test('of a runtime from before these were closed is a warning of `docker info` and of the log', () => {
    const { json } = { json: JSON.parse(daemon.ok('info', '--format', '{{json .}}')) as { Warnings: string[] } };
    const told = json.Warnings.some((warning) => warning.includes('CVE-2025-31133'));
    expect(daemon.log().includes('CVE-2025-31133')).toBe(told);
  });
});

describe('the daemon', () => {
  test('is reached from no container, nor are its shims (CVE-2025-9074, CVE-2020-15257)', () => {
    const gateway = run(...sh("ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'"));
    expect(gateway).toMatch(/^\d+\./);
    const ports = '2375 2376 80 443 9323';
    const script = `cat /proc/net/unix; for port in ${ports}; do nc -w 1 ${gateway} $port </dev/null && echo open; done; echo end`;
    expect(run(...sh(script)).split('\n')).toEqual([expect.stringMatching(/^Num/), 'end']);
    // With the host's network there are names to see, but none that is not guarded by a file's permissions.
    expect(run('--network', 'host', ...sh('cat /proc/net/unix'))).not.toMatch(/ @.*(containerd|shim|docker|reactord)/);
    expect(statSync(daemon.socket).mode & 0o777).toBe(0o660);
    expect(statSync('/run/containerd/s').mode & 0o077).toBe(0);
  });

  test('lets a container reach nothing that listens on the host’s loopback', () => {
    const [host, port] = daemon.registry!.host.split(':');
    const reach = `ip addr del 127.0.0.1/8 dev lo; ip route del local 127.0.0.1 table local; ip route del local 127.0.0.0/8 table local;
      ip route add 127.0.0.0/8 dev eth0 via $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'); nc -w 1 ${host} ${port} </dev/null && echo open; echo end`;
    const answers = ['--sysctl', 'net.ipv4.conf.all.route_localnet=1'];
    expect(run('--cap-add', 'NET_ADMIN', ...answers, ...sh(reach))).toBe('end');
  });

  test('keeps its roots to itself (CVE-2021-41091, CVE-2024-25621)', () => {
    const modeOf = (path: string): string => (statSync(join(daemon.directory, path)).mode & 0o7777).toString(8);
    expect([modeOf('data'), modeOf('run')]).toEqual(['710', '700']);
    const open = readdirSync(join(daemon.directory, 'data')).filter(
      (name) => statSync(join(daemon.directory, 'data', name)).mode & 0o006,
    );
    expect(open).toEqual([]);
    for (const name of readdirSync(join(daemon.directory, 'data/overlay2')).filter((one) => one !== 'base'))
      expect([name, statSync(join(daemon.directory, 'data/overlay2', name)).mode & 0o007 & ~0o001]).toEqual([name, 0]);
  });

  test('runs the host’s ps for top, never the container’s (CVE-2022-1227)', async () => {
    const script = '#!/bin/sh\necho PID CMD; echo 1 evil; touch /ran';
    const image = await hostile('fake-ps', [{ name: 'bin/ps', content: script, mode: 0o755 }]);
    daemon.ok('run', '-d', '--name', 'faker', image, 'sleep', '600');
    expect(daemon.ok('top', 'faker')).toContain('sleep 600');
    expect(daemon.ok('diff', 'faker')).not.toContain('/ran');
    daemon.ok('rm', '-f', 'faker');
  });

  test('has no interface with IPv6 where it is off (GHSA-x84c)', () => {
    expect(run(...sh('cat /proc/net/if_inet6 | grep -v " lo$"; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6'))).toBe(
      '1',
    );
  });

  test('grows by neither failing resizes nor readers that leave (CVE-2022-23471, CVE-2022-31030)', async () => {
    const before = descriptors(daemon.pid());
    const { json } = await daemon.api<{ Id: string }>('POST', '/containers/box/exec', {
      Cmd: ['yes'],
      AttachStdout: true,
    });
    const calls: Promise<ApiAnswer>[] = [];
    for (let n = 0; n < 200; n++) {
      calls.push(
        daemon.api('POST', `/exec/${json.Id}/resize?h=1&w=${n}`),
        daemon.api('POST', `/containers/box/resize?h=1&w=${n}`),
      );
    }
    for (const { status } of await Promise.all(calls)) expect([200, 400, 409, 500]).toContain(status);
    const probe = daemon.ok(
      'run',
      '-d',
      '--health-cmd',
      'yes',
      '--health-interval',
      '1s',
      '--health-timeout',
      '1s',
      'busybox',
      'sleep',
      '60',
    );
    await expect
      .poll(() => daemon.docker('inspect', '-f', '{{len .State.Health.Log}}', probe).stdout.trim(), { timeout: 20_000 })
      .not.toBe('0');
    const [log] = JSON.parse(daemon.ok('inspect', '-f', '{{json .State.Health.Log}}', probe)) as { Output: string }[];
    expect(log!.Output.length).toBeLessThanOrEqual(4096);
    daemon.ok('rm', '-f', probe);
    await expect.poll(() => descriptors(daemon.pid()), { timeout: 20_000 }).toBeLessThanOrEqual(before + 4);
  });
});

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

describe('a secret', () => {
  test('of a client stands in no log, no journal, no event and no feed of the visualizer (CVE-2019-13509)', async () => {
    const secret = 'hunter2-correct-horse';
    const auth = Buffer.from(JSON.stringify({ username: 'u', password: secret })).toString('base64url');
    const registry = daemon.registry!.host;
    daemon.dockerWith({ input: secret }, 'login', '-u', 'u', '--password-stdin', registry);
    await daemon.api('POST', '/auth', { username: 'u', password: secret, serveraddress: registry });
    await daemon.api('POST', `/images/create?fromImage=${registry}/busybox&tag=latest&X-Registry-Auth=${auth}`);
    await daemon.api('POST', `/build?buildargs=${encodeURIComponent(JSON.stringify({ TOKEN: secret }))}`, 'not a tar');
    await daemon.api('POST', `/images/create?fromSrc=http://u:${secret}@127.0.0.1:1/x.tar`);
    daemon.ok('run', '--rm', '-e', `TOKEN=${secret}`, 'busybox', 'true');
    daemon.docker('exec', '-e', `TOKEN=${secret}`, 'box', 'true');
    const feeds = await Promise.all(
      [
        `/events?since=0&until=${Math.floor(Date.now() / 1000)}`,
        '/info',
        '/reactord/actors',
        '/reactord/facts?limit=10000',
      ].map((path) => daemon.api('GET', path)),
    );
    const database = new DatabaseSync(join(daemon.dataRoot, 'reactord.db'), { readOnly: true });
    const journal = database
      .prepare('select group_concat(attributes || coalesce(data, id), char(10)) as text from journal')
      .get()!.text as string;
    database.close();
    expect(journal.length).toBeGreaterThan(1000);
    for (const text of [daemon.log(), journal, ...feeds.map(({ text: body }) => body)]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(auth);
    }
  });
});

describe('--no-new-privileges', () => {
  test('holds for every container that does not say otherwise', async () => {
    await daemon.restart('--no-new-privileges');
    const look = sh('grep NoNewPrivs /proc/self/status');
    expect(run(...look)).toMatch(/1$/);
    expect(run('--security-opt', 'no-new-privileges=false', ...look)).toMatch(/0$/);
    daemon.ok('run', '-d', '--name', 'bound', 'busybox', 'sleep', '600');
    expect(exec('bound', 'grep', 'NoNewPrivs', '/proc/self/status')).toMatch(/1$/);
  });
});
