/** Networks through the real CLI: what is found by filters and pruned, who may join when, and what is refused in dockerd's words. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { stopClean } from './stop-clean.ts';

let daemon: TestDaemon;
const ok = (...args: string[]): string => daemon.ok(...args);
const create = (name: string, ...options: string[]): string => ok('network', 'create', ...options, name);
const names = (...filters: string[]): string[] =>
  ok('network', 'ls', '--format', '{{.Name}}', ...filters.flatMap((filter) => ['-f', filter]))
    .split('\n')
    .filter(Boolean)
    .sort();

beforeAll(async () => {
  daemon = await startDaemon({ flags: ['--default-address-pool', 'base=10.64.0.0/22,size=24'] });
  ok('tag', daemon.image, 'busybox');
});
afterAll(() => stopClean(daemon));

describe('filters', () => {
  let id: string;
  beforeAll(() => {
    id = create('red', '--label', 'color=red', '--subnet', '10.71.0.0/24');
    create('rose', '--label', 'color=red', '--label', 'kept', '--subnet', '10.72.0.0/24');
    create('blue', '--label', 'color=blue', '--subnet', '10.73.0.0/24');
    ok('run', '-d', '--name', 'user', '--network', 'blue', 'busybox', 'sleep', '1000');
  });

  test.each<[string[], string[]]>([
    [['label=color'], ['blue', 'red', 'rose']],
    [['label=color=red'], ['red', 'rose']],
    [['name=ro'], ['rose']],
    [
      ['driver=null', 'driver=host'],
      ['host', 'none'],
    ],
    [['type=builtin'], ['bridge', 'host', 'none']],
    [
      ['type=custom', 'scope=local'],
      ['blue', 'red', 'rose'],
    ],
    [['scope=swarm'], []],
    [['dangling=true'], ['red', 'rose']],
    [['dangling=false'], ['blue', 'bridge', 'host', 'none']],
  ])('of the list: %j', (filters, expected) => {
    expect(names(...filters)).toEqual(expected);
  });

  test('by id, and one that is none', () => {
    expect(names(`id=${id.slice(0, 8)}`)).toEqual(['red']);
    expect(daemon.docker('network', 'ls', '-f', 'size=3').stderr).toContain("invalid filter 'size'");
  });

  test('of a prune: by label, without a label, by age; what is used or predefined stays', () => {
    const prune = (...filters: string[]): string[] =>
      ok('network', 'prune', '-f', ...filters.flatMap((filter) => ['--filter', filter]))
        .split('\n')
        .filter((line) => line && !line.startsWith('Deleted'))
        .sort();
    expect(prune('label=color=green')).toEqual([]);
    expect(prune('until=1h')).toEqual([]);
    expect(prune('label!=kept')).toEqual(['red']);
    expect(prune('until=0s', 'label=color=red')).toEqual(['rose']);
    expect(prune()).toEqual([]);
    ok('rm', '-f', 'user');
    expect(prune()).toEqual(['blue']);
    expect(names()).toEqual(['bridge', 'host', 'none']);
  });
});

describe('a container joins and leaves', () => {
  const addresses = (name: string): string => ok('exec', name, 'ip', '-o', 'addr');

  test('before it starts, while it runs and after it stopped, in both families', () => {
    create('dual', '--ipv6', '--subnet', '10.74.0.0/24', '--subnet', 'fd74::/64');
    ok('create', '--name', 'joiner', 'busybox', 'sleep', '1000');
    ok('network', 'connect', '--ip', '10.74.0.50', '--ip6', 'fd74::50', '--alias', 'first', 'dual', 'joiner');
    ok('start', 'joiner');
    expect(addresses('joiner')).toMatch(/10\.74\.0\.50\/24[^]*fd74::50\/64/);
    ok('network', 'disconnect', 'dual', 'joiner');
    expect(addresses('joiner')).not.toMatch(/10\.74\.|fd74/);
    ok('network', 'connect', '--ip', '10.74.0.51', 'dual', 'joiner');
    expect(addresses('joiner')).toContain('10.74.0.51/24');
    ok('stop', '-t', '0', 'joiner');
    ok('network', 'disconnect', 'dual', 'joiner');
    ok('network', 'connect', '--ip', '10.74.0.52', 'dual', 'joiner');
    ok('start', 'joiner');
    expect(addresses('joiner')).toContain('10.74.0.52/24');
    expect(ok('run', '--rm', '--network', 'dual', 'busybox', 'ping', '-c1', '-W5', 'joiner')).toContain(
      '1 packets received',
    );
    const six = ok('exec', 'joiner', 'sh', '-c', 'ip -6 -o addr show scope global').match(/fd74:[0-9a-f:]+/)![0];
    expect(ok('run', '--rm', '--network', 'dual', 'busybox', 'ping', '-6', '-c1', '-W5', six)).toContain(
      '1 packets received',
    );
    ok('rm', '-f', 'joiner');
  });

  test('inspect -v shows which container answers each name and port', () => {
    const options = ['--network', 'dual', '--network-alias', 'shared'];
    ok('run', '-d', '--name', 'one', ...options, '-p', '127.0.0.1:8091:80', 'busybox', 'sleep', '1000');
    ok('run', '-d', '--name', 'two', ...options, 'busybox', 'sleep', '1000');
    const found = JSON.parse(
      daemon.inside('curl', '-s', '--unix-socket', daemon.socket, 'http://d/networks/dual?verbose=1').stdout,
    );
    expect(found.Names).toMatchObject({
      one: ['one'],
      two: ['two'],
      shared: expect.toSatisfy((list) => list.length === 2),
    });
    expect(found.Ports).toEqual([
      { Host: '127.0.0.1:8091/tcp', Container: 'one', Target: expect.stringMatching(/^10\.74\.0\.\d+:80$/) },
    ]);
    ok('rm', '-f', 'one', 'two');
    ok('network', 'rm', 'dual');
  });
});

describe('refused', () => {
  test.each<[string[], string]>([
    [['create', 'bridge'], 'operation is not permitted on predefined bridge network'],
    [['rm', 'host'], 'host is a pre-defined network and cannot be removed'],
    [['create', '--subnet', '10.75.0.0/24', '--gateway', '10.76.0.1', 'x'], 'no matching subnet for gateway 10.76.0.1'],
    [['create', '--subnet', '172.17.0.0/24', 'x'], 'Pool overlaps with other one on this address space'],
    [['create', '--subnet', '10.75.0.0/33', 'x'], 'invalid subnet 10.75.0.0/33: invalid CIDR block notation'],
    [['create', '-o', 'com.docker.network.bridge.name=lo', 'x'], 'existing interface lo is not a bridge'],
    [['create', '-d', 'macvlan', '-o', 'parent=lo', 'x'], 'loopback interface is not a valid macvlan parent link'],
    [['connect', 'absent', 'busybox'], 'absent'],
  ])('network %j', (args, message) => {
    const subnet = message.includes('overlaps')
      ? [ok('network', 'inspect', '-f', '{{(index .IPAM.Config 0).Subnet}}', 'bridge')]
      : [];
    const given = args.map((arg) => (arg === '172.17.0.0/24' ? subnet[0]! : arg));
    const { code, stderr } = daemon.docker('network', ...given);
    expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    expect(names()).toEqual(['bridge', 'host', 'none']);
  });

  test('when all default pools are given, and free again when one goes', () => {
    const given: string[] = [];
    for (;;) {
      const { code, stderr } = daemon.docker('network', 'create', `pool-${given.length}`);
      if (code !== 0) {
        expect(stderr).toContain('all predefined address pools have been fully subnetted');
        break;
      }
      given.push(`pool-${given.length}`);
    }
    // Four pieces, of which the default bridge has one.
    expect(given.length).toBe(3);
    ok('network', 'rm', given.pop()!);
    create('again');
    ok('network', 'rm', 'again', ...given);
  });

  test('when every address of a network is taken, until a container goes', () => {
    create('tiny', '--subnet', '10.77.0.0/30');
    ok('run', '-d', '--name', 'only', '--network', 'tiny', 'busybox', 'sleep', '1000');
    const { stderr } = daemon.docker('run', '--rm', '--network', 'tiny', 'busybox', 'true');
    expect(stderr).toContain("no available IPv4 addresses on this network's address pools: tiny");
    ok('rm', '-f', 'only');
    ok('run', '--rm', '--network', 'tiny', 'busybox', 'true');
    ok('network', 'rm', 'tiny');
  });
});
