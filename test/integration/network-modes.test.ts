import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sandbox } from '../../src/network/port.ts';
import { eventually } from '../support/eventually.ts';
import { Host } from './network-client.ts';

const PORTS = {
  exposedPorts: ['80/tcp', '7/udp'],
  portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }], '7/udp': [{ HostIp: '', HostPort: '7007' }] },
};

const ECHO = `python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 7))
while True:
  data, peer = s.recvfrom(2048); s.sendto(b"echo " + data, peer)'`;

const ask = (address: string): string => `python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(15); s.bind(("", 5555))
s.sendto(b"hello", ("${address}", 7007)); print(s.recv(99).decode())'`;

/** A host with one container that answers on both ports. */
function hostWith(options: object): { host: Host; other: () => string; sandbox: () => Sandbox } {
  const host = new Host(options);
  let other = '';
  let sandbox: Sandbox;
  beforeAll(async () => {
    await host.ready;
    other = await host.neighbour();
    await host.call('boot');
    sandbox = await host.up('web', PORTS);
    await host.serve(sandbox);
    await host.call('start', ECHO, sandbox.netnsPath);
    await eventually(() => host.sh('busybox netstat -lun | grep :7', sandbox.netnsPath), { what: 'the echo server' });
  });
  afterAll(() => host.end());
  return { host, other: () => other, sandbox: () => sandbox };
}

describe('with the firewall', () => {
  const { host, other, sandbox } = hostWith({ bip: '10.77.0.1/24', fixedCidr: '10.77.0.128/25', ipv6: true });

  it("a published port answers in IPv6 with the caller's own address", async () => {
    expect(await host.get('http://[2001:db8:ff::1]:8080/', other())).toContain('2001:db8:ff::53');
    expect(await host.get('http://[::1]:8080/')).toContain('from ');
  });

  it('a published datagram port answers from loopback and from others, also after the container changed', async () => {
    expect(await host.sh(ask('127.0.0.1'))).toBe('echo hello');
    expect(await host.sh(ask('198.51.100.1'), other())).toBe('echo hello');
    await host.call('down', 'web');
    await host.up('first-free');
    const next = await host.up('web', PORTS);
    expect(next.endpoints.bridge!.IPAddress).not.toBe(sandbox().endpoints.bridge!.IPAddress);
    await host.call('start', ECHO, next.netnsPath);
    await eventually(() => host.sh('busybox netstat -lun | grep :7', next.netnsPath), { what: 'the echo server' });
    expect(await host.sh(ask('198.51.100.1'), other())).toBe('echo hello');
    await Promise.all(['web', 'first-free'].map((name) => host.call('down', name)));
  });

  it('a port bound to loopback answers there only, and a range gives its first free port', async () => {
    const range = {
      exposedPorts: ['80/tcp'],
      portBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '9000-9002' }] },
    };
    const first = await host.up('r1', range);
    const second = await host.up('r2', range);
    expect([first, second].map((one) => one.ports['80/tcp']![0]!.HostPort)).toEqual(['9000', '9001']);
    await host.serve(second);
    expect(await host.get('http://127.0.0.1:9001/')).toContain('from ');
    expect(await host.silent('http://198.51.100.1:9001/', other())).toBe(true);
    await Promise.all(['r1', 'r2'].map((name) => host.call('down', name)));
  });

  it('the default bridge is as configured', async () => {
    expect(sandbox().endpoints.bridge).toMatchObject({
      IPAddress: '10.77.0.128',
      Gateway: '10.77.0.1',
      IPPrefixLen: 24,
    });
    expect(sandbox().endpoints.bridge!.GlobalIPv6Address).toMatch(/^fd/);
    expect(await host.sh('sysctl -n net.ipv6.conf.all.forwarding')).toBe('1');
  });

  it('what an earlier daemon left goes, and what others made stays', async () => {
    const alias = (await host.sh('ip -j link show docker0')).match(/"ifalias":"([^"]+)"/)![1]!;
    await host.sh(`ip link add left0 type bridge; ip link set left0 alias ${alias.replace(/[0-9a-f]{64}$/, 'f'.repeat(64))}
      ip link add theirs0 type bridge; nft add table inet theirs
      nft add element inet reactord any4 '{ tcp . 99 : 10.77.0.9 . 99 }'
      touch ${host.directory}/exec/netns/left`);
    await host.call('reboot');
    const links = await host.sh('ip -br link');
    expect(links).not.toContain('left0');
    expect(links).toContain('theirs0');
    expect(await host.sh('nft list tables')).toContain('theirs');
    expect(await host.sh('nft list map inet reactord any4')).not.toContain('99');
    expect(await host.sh(`ls ${host.directory}/exec/netns`)).toBe('');
  });
});

describe('without communication between containers (--icc=false)', () => {
  const { host, sandbox } = hostWith({ icc: false });
  const addressOf = (one: Sandbox): string => one.endpoints.bridge!.IPAddress;

  it('a link opens what the other exposes, to its parent alone, and follows the other to a new address', async () => {
    const web = Buffer.from('web').toString('hex').padEnd(64, '0');
    const parent = await host.up('parent', { links: [{ containerId: web, alias: 'site' }] });
    const stranger = await host.up('stranger');
    await host.serve(parent);
    const reached = (target: Sandbox): Promise<string> => host.get(`http://${addressOf(target)}/`, parent.netnsPath);
    expect(await reached(sandbox())).toContain(addressOf(parent));
    expect(await host.silent(`http://${addressOf(sandbox())}/`, stranger.netnsPath)).toBe(true);
    expect(await host.silent(`http://${addressOf(parent)}/`, sandbox().netnsPath)).toBe(true);
    expect((await host.call('reach', 'parent', 'web')).paths[0].checks).toContainEqual(
      expect.objectContaining({ holds: true, detail: expect.stringContaining('a link opens') }),
    );
    await host.call('down', 'web');
    expect(await host.sh('nft list set inet reactord linked')).not.toContain('elements');
    await host.up('first-free');
    const moved = await host.up('web', PORTS);
    await host.serve(moved);
    expect(addressOf(moved)).not.toBe(addressOf(sandbox()));
    expect(await host.sh(`cat ${parent.hostsPath}`)).toContain(`${addressOf(moved)}\tsite`);
    expect(await reached(moved)).toContain(addressOf(parent));
    await host.call('reboot');
    expect(await reached(moved)).toContain(addressOf(parent));
  });
});

describe('without a firewall (--iptables=false)', () => {
  const { host, other } = hostWith({ firewall: false });

  it('published ports are passed on by the sockets that hold them, and no rule is written', async () => {
    expect(await host.get('http://127.0.0.1:8080/')).toContain('from ');
    for (const address of ['198.51.100.1', '[2001:db8:ff::1]'])
      expect(await host.get(`http://${address}:8080/`, other())).toContain('from ');
    expect(await host.sh(ask('198.51.100.1'), other())).toBe('echo hello');
    expect(await host.sh('nft list ruleset')).not.toContain('inet reactord ');
  });
});

describe("with published ports behind the host's firewall", () => {
  const { host, other } = hostWith({ portsBehindFirewall: true });

  it("the host's own input rules decide who reaches them", async () => {
    const places = ['198.51.100.1', '[2001:db8:ff::1]'].map((address) => `http://${address}:8080/`);
    for (const place of places) expect(await host.get(place, other())).toContain('from ');
    await host.sh(
      `nft 'table inet ufw { chain input { type filter hook input priority filter; iifname "up0" tcp dport 8080 drop; }; }'`,
    );
    for (const place of places) expect(await host.silent(place, other())).toBe(true);
    expect(await host.get('http://127.0.0.1:8080/')).toContain('from ');
  });
});
