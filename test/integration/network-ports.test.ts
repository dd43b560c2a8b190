/** Every kind of published port, in both families, from everywhere it can be asked; and what explains why somebody is not reached. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sandbox } from '../../src/network/port.ts';
import { eventually } from '../support/eventually.ts';
import { Host } from './network-client.ts';

const host = new Host();
let other: string;
let web: Sandbox;
let near: Sandbox;

/** Both families in one socket. */
const ECHO = `python3 -c '
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); s.bind(("::", 7))
while True:
  data, peer = s.recvfrom(2048); s.sendto(b"echo " + data, peer)'`;
const ask = (address: string, port: number): string => `python3 -c '
import socket
s = socket.socket(socket.AF_INET6 if ":" in "${address}" else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
s.sendto(b"hello", ("${address}", ${port})); print(s.recv(99).decode())'`;

const PORTS = {
  exposedPorts: ['80/tcp', '7/udp', '9/sctp', '81/tcp', '82/tcp'],
  portBindings: {
    '80/tcp': [
      { HostIp: '', HostPort: '8080' },
      { HostIp: '198.51.100.1', HostPort: '8081' },
      { HostIp: '2001:db8:ff::1', HostPort: '8081' },
      { HostIp: '127.0.0.1', HostPort: '8082' },
      { HostIp: '::1', HostPort: '8082' },
      { HostIp: '', HostPort: '' },
    ],
    '7/udp': [{ HostIp: '', HostPort: '7007' }],
    '9/sctp': [{ HostIp: '', HostPort: '9009' }],
    '81/tcp': [{ HostIp: '', HostPort: '9100-9109' }],
    '82/tcp': [{ HostIp: '', HostPort: '9100-9109' }],
  },
};

beforeAll(async () => {
  await host.ready;
  other = await host.neighbour();
  await host.call('boot');
  await host.call('create', {
    Name: 'dual',
    EnableIPv6: true,
    IPAM: { Config: [{ Subnet: '10.84.0.0/24' }, { Subnet: 'fd84::/64' }] },
  });
  [web, near] = await Promise.all([host.up('web', { mode: 'dual', ...PORTS }), host.up('near', { mode: 'dual' })]);
  await host.serve(web);
  await host.call('start', ECHO, web.netnsPath);
  for (const port of [81, 82]) await host.call('start', `busybox httpd -f -h /usr -p ${port}`, web.netnsPath);
  await eventually(() => host.sh('busybox netstat -lun | grep :7', web.netnsPath), { what: 'the echo server' });
});
afterAll(() => host.end());

const portOf = (spec: string, index: number): string => web.ports[spec]![index]!.HostPort;

describe('a published port', () => {
  it.each<[string, string, () => string | undefined]>([
    ['loopback', '127.0.0.1', () => undefined],
    ['loopback', '[::1]', () => undefined],
    ['the host', '198.51.100.1', () => undefined],
    ['the host', '[2001:db8:ff::1]', () => undefined],
    ['another host', '198.51.100.1', () => other],
    ['another host', '[2001:db8:ff::1]', () => other],
    ['a neighbour', '10.84.0.1', () => near.netnsPath],
    ['a neighbour', '[fd84::1]', () => near.netnsPath],
    ['the container itself', '10.84.0.1', () => web.netnsPath],
    ['the container itself', '[fd84::1]', () => web.netnsPath],
  ])('of every address answers %s at %s', async (_, address, netns) => {
    expect(await host.get(`http://${address}:8080/`, netns())).toContain('from ');
    expect(await host.get(`http://${address}:${portOf('80/tcp', 6)}/`, netns())).toContain('from ');
    expect(await host.sh(ask(address.replace(/[[\]]/g, ''), 7007), netns())).toBe('echo hello');
  });

  it('of one address answers there only', async () => {
    expect(await host.get('http://198.51.100.1:8081/', other)).toContain('198.51.100.53');
    expect(await host.get('http://[2001:db8:ff::1]:8081/', other)).toContain('2001:db8:ff::53');
    expect(await host.silent('http://127.0.0.1:8081/')).toBe(true);
    for (const address of ['127.0.0.1', '[::1]']) expect(await host.get(`http://${address}:8082/`)).toContain('from ');
    for (const address of ['198.51.100.1', '[2001:db8:ff::1]'])
      expect(await host.silent(`http://${address}:8082/`, other)).toBe(true);
  });

  it('of a range takes the first that is free, each its own', async () => {
    const given = [portOf('81/tcp', 0), portOf('82/tcp', 0)];
    expect([...given].sort()).toEqual(['9100', '9101']);
    for (const port of given) {
      for (const address of ['198.51.100.1', '[2001:db8:ff::1]'])
        expect(await host.sh(`curl -g -s -o /dev/null -w '%{http_code}' http://${address}:${port}/`, other)).toBe(
          '404',
        );
    }
  });

  it('of SCTP is led to the container in both families, where the kernel speaks it with traffic', async () => {
    for (const [map, address] of [
      ['any4', '10.84.0.2'],
      ['any6', 'fd84::2'],
    ])
      expect(await host.sh(`nft list map inet reactord ${map}`)).toMatch(
        new RegExp(
          `sctp . 9009 : ${web.endpoints.dual!.IPAddress === address || map === 'any6' ? '\\S+' : address} . 9`,
        ),
      );
    const program = (family: string, rest: string): string =>
      `python3 -c 'import socket; s = socket.socket(socket.${family}, socket.SOCK_STREAM, 132); s.settimeout(10); ${rest}'`;
    const speaks = !(await host.sh(program('AF_INET', 'print("yes")'))).includes('Error');
    if (!speaks) return;
    await host.call(
      'start',
      program(
        'AF_INET6',
        's.settimeout(None); s.bind(("::", 9)); s.listen(); [s.accept()[0].send(b"sctp") for _ in range(9)]',
      ),
      web.netnsPath,
    );
    for (const [family, address] of [
      ['AF_INET', '198.51.100.1'],
      ['AF_INET6', '2001:db8:ff::1'],
    ] as const)
      expect(await host.sh(program(family, `s.connect(("${address}", 9009)); print(s.recv(9).decode())`), other)).toBe(
        'sctp',
      );
  });
});

describe('why can a not reach b?', () => {
  const checks = async (from: string, to: string, path = 0): Promise<Record<string, boolean>> => {
    const reach = await host.call('reach', from, to);
    return Object.fromEntries(reach.paths[path].checks.map((check: any) => [check.question, check.holds]));
  };

  it('on one network: nothing is in the way', async () => {
    const reach = await host.call('reach', 'near', 'web');
    expect(reach).toMatchObject({ reachable: true, summary: expect.stringContaining('web') });
    expect(Object.values(await checks('near', 'web'))).not.toContain(false);
  });

  it('on networks that do not meet: by a published port, while its rule is there', async () => {
    const far = await host.up('far');
    expect(await host.silent(`http://${web.endpoints.dual!.IPAddress}/`, far.netnsPath)).toBe(true);
    const reach = await host.call('reach', 'far', 'web');
    expect(reach.reachable).toBe(true);
    expect(reach.paths.every(({ by }: { by: string }) => by !== 'dual')).toBe(true);
    expect(await host.get('http://172.17.0.1:8080/', far.netnsPath)).toContain('from ');
    await host.sh('nft flush map inet reactord any4');
    expect(await checks('far', 'web')).toMatchObject({ 'published port': true, 'way out': true, rule: false });
  });

  it('internal or without a published port: it says that there is no way', async () => {
    await host.call('create', { Name: 'closed', Internal: true });
    await host.up('shut', { mode: 'closed' });
    const reach = await host.call('reach', 'shut', 'near');
    expect(reach.reachable).toBe(false);
    expect(reach.summary).toMatch(/no .*network|not .*share|internal/i);
    await expect(host.call('reach', 'shut', 'absent')).rejects.toThrow('container absent has no network now');
  });
});

describe('what this kernel lacks', () => {
  it.each<[string, object, RegExp]>([
    ['ipvlan', { Driver: 'ipvlan', Options: { parent: 'up0' } }, /ipvlan/],
    ['a VLAN of a parent', { Driver: 'macvlan', Options: { parent: 'up0.50' } }, /up0\.50/],
  ])('%s is refused in words that say so, or works; nothing half-made stays', async (_, body, words) => {
    const made = host.call('create', { Name: 'special', ...body }).then(
      () => undefined,
      (error: Error) => error.message,
    );
    const refusal = await made;
    if (refusal === undefined) {
      const started = await host.up('guest', { mode: 'special' }).catch((error: Error) => error.message);
      if (typeof started === 'string') expect(started).toMatch(words);
      else await host.call('down', 'guest');
      await host.call('remove', 'special');
    } else {
      expect(refusal).toMatch(words);
      expect(refusal).toMatch(/not supported by this kernel|no parent/);
      await expect(host.call('inspect', 'special')).rejects.toThrow('network special not found');
    }
    expect(await host.sh('ip -br link | grep -E "up0\\.50|dm-"')).toBe('');
    expect(await host.sh(`ls ${host.directory}/exec/netns | wc -l`)).toBe('4');
  });
});
