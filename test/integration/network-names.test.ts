import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sandbox } from '../../src/network/port.ts';
import { eventually } from '../support/eventually.ts';
import { Host } from './network-client.ts';

const host = new Host();
let other: string;

const dig = (netns: string, query: string): Promise<string> =>
  host.sh(`dig +short +time=10 +tries=1 @127.0.0.11 ${query}`, netns);

/** A name server of the outside world: answers everything with one address, or with a very long text over TCP. */
const upstream = (at: string, says: string): string => `python3 -c '
import socket, struct, threading
def answer(query, tcp):
  end = query.index(b"\\0", 12) + 5
  kind = struct.unpack(">H", query[end-4:end-2])[0]
  head = query[:2]
  if kind == 1: records = [struct.pack(">HHHIH", 0xc00c, 1, 1, 60, 4) + socket.inet_aton("${says}")]
  elif kind == 16 and tcp: records = [struct.pack(">HHHIH", 0xc00c, 16, 1, 60, 201) + b"\\xc8" + b"x" * 200] * 20
  else: records = []
  flags = 0x8380 if kind == 16 and not tcp else 0x8180
  return head + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + query[12:end] + b"".join(records)
def datagrams():
  s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("${at}", 53))
  while True:
    query, peer = s.recvfrom(4096); s.sendto(answer(query, False), peer)
threading.Thread(target=datagrams, daemon=True).start()
t = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.bind(("${at}", 53)); t.listen()
while True:
  c, _ = t.accept(); c.recv(2); reply = answer(c.recv(4096), True); c.sendall(struct.pack(">H", len(reply)) + reply); c.close()'`;

beforeAll(async () => {
  await host.ready;
  other = await host.neighbour();
  await host.call('boot');
  await host.call('start', upstream('0.0.0.0', '203.0.113.7'), other);
  await host.call('create', {
    Name: 'front',
    EnableIPv6: true,
    IPAM: {
      Config: [
        {
          Subnet: '10.89.0.0/24',
          IPRange: '10.89.0.128/25',
          Gateway: '10.89.0.1',
          AuxiliaryAddresses: { printer: '10.89.0.128' },
        },
      ],
    },
  });
});

afterAll(() => host.end());

describe('a user-defined network', () => {
  let web: Sandbox;
  let db: Sandbox;

  beforeAll(async () => {
    web = await host.up('web', { mode: 'front', endpoints: { front: { Aliases: ['www', 'shared'] } } });
    db = await host.up('db', {
      mode: 'front',
      hostname: 'database',
      endpoints: { front: { Aliases: ['shared'], IPAMConfig: { IPv4Address: '10.89.0.50' }, Links: ['web:site'] } },
    });
    await host.serve(web);
  });

  it('gives addresses of its range, static ones, and both families', () => {
    expect(web.endpoints.front).toMatchObject({
      IPAddress: '10.89.0.129',
      IPPrefixLen: 24,
      Gateway: '10.89.0.1',
      GlobalIPv6PrefixLen: 64,
    });
    expect(db.endpoints.front).toMatchObject({
      IPAddress: '10.89.0.50',
      DNSNames: ['db', 'shared', expect.any(String), 'database'],
    });
    expect(web.endpoints.front!.GlobalIPv6Address).toMatch(/^fd/);
  });

  it('resolves names, aliases, short ids, hostnames, links and addresses', async () => {
    expect(await host.sh(`cat ${web.resolvConfPath}`)).toBe('nameserver 127.0.0.11\noptions ndots:0');
    expect(await dig(db.netnsPath, 'web')).toBe('10.89.0.129');
    expect(await dig(db.netnsPath, 'WWW.')).toBe('10.89.0.129');
    expect(await dig(db.netnsPath, 'web.front')).toBe('10.89.0.129');
    expect(await dig(db.netnsPath, 'site')).toBe('10.89.0.129');
    expect(await dig(web.netnsPath, 'site')).not.toBe('10.89.0.129');
    expect(await dig(web.netnsPath, 'database')).toBe('10.89.0.50');
    expect(await dig(web.netnsPath, Buffer.from('db').toString('hex').padEnd(12, '0'))).toBe('10.89.0.50');
    expect(await dig(db.netnsPath, '-t AAAA web')).toBe(web.endpoints.front!.GlobalIPv6Address);
    expect(await dig(db.netnsPath, '-x 10.89.0.129')).toBe('web.front.');
    expect(await dig(db.netnsPath, `-x ${web.endpoints.front!.GlobalIPv6Address}`)).toBe('web.front.');
    expect(await dig(db.netnsPath, '+tcp web')).toBe('10.89.0.129');
  });

  it('lets containers of one alias take turns', async () => {
    const answers = [await dig(db.netnsPath, 'shared'), await dig(db.netnsPath, 'shared')].map((text) =>
      text.split('\n'),
    );
    expect(answers.map((lines) => [...lines].sort())).toEqual([
      ['10.89.0.129', '10.89.0.50'],
      ['10.89.0.129', '10.89.0.50'],
    ]);
    expect(answers[0]![0]).not.toBe(answers[1]![0]);
  });

  it("asks the host's servers for the rest, over UDP and for large answers over TCP", async () => {
    expect(await eventually(() => dig(db.netnsPath, 'example.com'))).toBe('203.0.113.7');
    expect((await dig(db.netnsPath, '-t TXT large.example')).length).toBeGreaterThan(4000);
  });

  it('asks servers of its own where it was given some, and those on the loopback of the host', async () => {
    await host.call('start', upstream('127.0.0.54', '203.0.113.8'));
    const own = await host.up('own', {
      mode: 'front',
      dns: ['127.0.0.54'],
      dnsSearch: ['lan'],
      dnsOptions: ['ndots:2'],
    });
    expect(await eventually(() => dig(own.netnsPath, 'example.com'))).toBe('203.0.113.8');
    expect(await host.sh(`cat ${own.resolvConfPath}`)).toBe('nameserver 127.0.0.11\nsearch lan\noptions ndots:2');
    const write = (server: string): Promise<string> => host.sh(`echo nameserver ${server} > /etc/resolv.conf`);
    await write('127.0.0.54');
    await host.call('inspectKernel');
    expect(await dig(db.netnsPath, 'example.com')).toBe('203.0.113.8');
    await write('198.51.100.53');
    await host.call('inspectKernel');
    expect(await dig(db.netnsPath, 'example.com')).toBe('203.0.113.7');
    await host.call('down', 'own');
  });

  it('carries traffic in IPv6, also through a published port', async () => {
    expect(await host.get(`http://[${web.endpoints.front!.GlobalIPv6Address}]/`, db.netnsPath)).toContain(
      db.endpoints.front!.GlobalIPv6Address,
    );
    const six = await host.up('six', {
      mode: 'front',
      portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8066' }] },
      exposedPorts: ['80/tcp'],
    });
    await host.serve(six);
    expect(await host.get('http://[2001:db8:ff::1]:8066/', other)).toContain('2001:db8:ff::53');
    expect(await host.get('http://198.51.100.1:8066/', other)).toContain('198.51.100.53');
    await host.call('down', 'six');
  });

  it('is kept apart from other networks, until a container is connected to both', async () => {
    const lone = await host.up('lone');
    expect(await host.silent('http://10.89.0.129/', lone.netnsPath)).toBe(true);
    expect(await host.call('reach', 'lone', 'web')).toMatchObject({
      reachable: false,
      summary: 'lone and web share no network, and web publishes no port',
    });
    const both: Sandbox = await host.call('connect', 'lone', 'front', {
      Aliases: ['friend'],
      MacAddress: '02:00:00:00:00:42',
      GwPriority: 10,
      DriverOpts: {
        'com.docker.network.endpoint.ifname': 'lan0',
        'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.IFNAME.log_martians=1',
      },
    });
    expect(Object.keys(both.endpoints).sort()).toEqual(['bridge', 'front']);
    expect(both.endpoints.front!.MacAddress).toBe('02:00:00:00:00:42');
    expect(await host.sh('ip -br link show lan0', lone.netnsPath)).toContain('02:00:00:00:00:42');
    expect(await host.sh('cat /proc/sys/net/ipv4/conf/lan0/log_martians', lone.netnsPath)).toBe('1');
    expect(await host.sh('ip route show default', lone.netnsPath)).toContain('via 10.89.0.1 dev lan0');
    expect(await host.get('http://10.89.0.129/', lone.netnsPath)).toContain('from ');
    expect(await dig(web.netnsPath, 'friend')).toBe(both.endpoints.front!.IPAddress);
    expect(await host.call('reach', 'lone', 'web')).toMatchObject({ reachable: true });
    const back: Sandbox = await host.call('disconnect', 'lone', 'front');
    expect(Object.keys(back.endpoints)).toEqual(['bridge']);
    expect(await dig(web.netnsPath, 'friend')).not.toContain('10.89');
    expect(await host.sh('ip -br link', lone.netnsPath)).not.toContain('lan0');
    expect(await host.sh('ip route show default', lone.netnsPath)).toContain('via 172.17.0.1 dev eth0');
    await expect(host.call('disconnect', 'lone', 'front')).rejects.toThrow('is not connected to the network front');
    await host.call('down', 'lone');
  });

  it('counts its containers in inspect, and stays while it has some', async () => {
    const { Containers, Names } = await host.call('inspect', 'front');
    expect(
      Object.values(Containers)
        .map((one: any) => one.Name)
        .sort(),
    ).toEqual(['db', 'web']);
    expect(Names.shared.sort()).toEqual(['db', 'web']);
    await expect(host.call('remove', 'front')).rejects.toMatchObject({
      kind: 'forbidden',
      message: expect.stringContaining('has active endpoints'),
    });
  });

  it('answers names after the daemon came back', async () => {
    await host.call('reboot');
    expect(await dig(db.netnsPath, 'web')).toBe('10.89.0.129');
  });

  it('goes away whole', async () => {
    await Promise.all(['web', 'db'].map((name) => host.call('down', name)));
    await host.call('remove', 'front');
    expect(await host.sh('ip -br link')).not.toContain('br-');
    expect(await host.sh('nft list set inet reactord bridges')).not.toContain('br-');
    await expect(host.call('inspect', 'front')).rejects.toMatchObject({
      kind: 'notFound',
      message: 'network front not found',
    });
  });
});

describe('networks of other kinds', () => {
  it('internal: neighbours and their names are reached, nothing outside (CVE-2024-29018)', async () => {
    await host.call('create', { Name: 'closed', Internal: true });
    const [a, b] = await Promise.all([host.up('ia', { mode: 'closed' }), host.up('ib', { mode: 'closed' })]);
    await host.serve(b);
    expect(await host.get(`http://${b.endpoints.closed!.IPAddress}/`, a.netnsPath)).toContain('from ');
    expect(await dig(a.netnsPath, 'ib')).toBe(b.endpoints.closed!.IPAddress);
    expect(await dig(a.netnsPath, 'example.com')).toBe('');
    expect(await host.sh('ip route show default', a.netnsPath)).toBe('');
    await host.sh(`ip route add default via $(ip -4 route | cut -d" " -f1 | cut -d/ -f1 | sed "s/0$/1/")`, a.netnsPath);
    expect(await host.silent('http://198.51.100.53:53/', a.netnsPath)).toBe(true);
    await Promise.all(['ia', 'ib'].map((name) => host.call('down', name)));
  });

  it('icc=false: containers do not reach each other, but published ports and the way out work', async () => {
    await host.call('create', {
      Name: 'strict',
      Options: {
        'com.docker.network.bridge.enable_icc': 'false',
        'com.docker.network.bridge.name': 'strict0',
        'com.docker.network.driver.mtu': '1400',
      },
    });
    const a = await host.up('sa', { mode: 'strict' });
    const b = await host.up('sb', { mode: 'strict', exposedPorts: ['80/tcp'], publishAll: true });
    await host.serve(b);
    expect(await host.silent(`http://${b.endpoints.strict!.IPAddress}/`, a.netnsPath)).toBe(true);
    const port = b.ports['80/tcp']![0]!.HostPort;
    expect(Number(port)).toBeGreaterThanOrEqual(49153);
    expect(await host.get(`http://127.0.0.1:${port}/`)).toContain('from ');
    expect(await host.sh('ip link show strict0; ip link show eth0', a.netnsPath)).toContain('mtu 1400');
    expect(await dig(a.netnsPath, 'example.com')).toBe('203.0.113.7');
    expect((await host.call('reach', 'sa', 'sb')).paths[0].checks).toContainEqual(
      expect.objectContaining({ holds: false, detail: expect.stringContaining('icc is off') }),
    );
    await Promise.all(['sa', 'sb'].map((name) => host.call('down', name)));
  });

  it('routed: what containers publish is reached directly, and they leave under their own addresses', async () => {
    await host.call('create', {
      Name: 'plain',
      Options: { 'com.docker.network.bridge.gateway_mode_ipv4': 'routed' },
      IPAM: { Config: [{ Subnet: '10.90.0.0/24' }] },
    });
    const ports = {
      exposedPorts: ['80/tcp', '81/tcp'],
      portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8090' }] },
    };
    const a = await host.up('ra', { mode: 'plain', ...ports });
    await host.sh('ip route add 10.90.0.0/24 via 198.51.100.1', other);
    await Promise.all([host.serve(a), host.serve({ netnsPath: other })]);
    await host.call('start', 'busybox nc -ll -p 81 -e echo hidden', a.netnsPath);
    expect(await host.get('http://10.90.0.2/', other)).toContain('198.51.100.53');
    expect(await host.silent('http://10.90.0.2:81/', other)).toBe(true);
    expect(await host.sh('busybox ping -c1 -W3 10.90.0.2', other)).toContain('1 packets received');
    // No port of the host leads there in this family.
    expect(a.ports['80/tcp']![0]).toEqual({ HostIp: '0.0.0.0', HostPort: '' });
    expect(await host.silent('http://198.51.100.1:8090/', other)).toBe(true);
    await host.call('reboot');
    expect(await host.get('http://10.90.0.2/', other)).toContain('198.51.100.53');
    expect(await host.get('http://198.51.100.53/', a.netnsPath)).toContain('10.90.0.2');
    await host.call('down', 'ra');
  });

  it('isolated: the host has no address on the bridge, and names are served inside', async () => {
    await host.call('create', {
      Name: 'island',
      Internal: true,
      Options: {
        'com.docker.network.bridge.gateway_mode_ipv4': 'isolated',
        'com.docker.network.bridge.name': 'island0',
      },
    });
    const a = await host.up('xa', { mode: 'island' });
    const b = await host.up('xb', { mode: 'island' });
    await host.serve(b);
    expect(await host.get(`http://${b.endpoints.island!.IPAddress}/`, a.netnsPath)).toContain('from ');
    expect(await dig(a.netnsPath, 'xb')).toBe(b.endpoints.island!.IPAddress);
    expect(await dig(a.netnsPath, 'example.com')).toBe('');
    expect(await host.sh('ip -4 addr show island0')).not.toContain('inet');
    await Promise.all(['xa', 'xb'].map((name) => host.call('down', name)));
  });

  it('macvlan: containers talk over the parent, and find each other and the world by name', async () => {
    await host.call('create', {
      Name: 'lan',
      Driver: 'macvlan',
      Options: { parent: 'up0' },
      IPAM: { Config: [{ Subnet: '198.51.100.0/24', IPRange: '198.51.100.64/26', Gateway: '198.51.100.53' }] },
    });
    const a = await host.up('near', { mode: 'lan' });
    const b = await host.up('far', { mode: 'lan' });
    await host.serve(b);
    expect(await host.get(`http://${b.endpoints.lan!.IPAddress}/`, a.netnsPath)).toContain(a.endpoints.lan!.IPAddress);
    expect(await host.get(`http://${b.endpoints.lan!.IPAddress}/`, other)).toContain('198.51.100.53');
    const named = async (): Promise<void> => {
      expect(await dig(a.netnsPath, 'far')).toBe(b.endpoints.lan!.IPAddress);
      expect(await dig(a.netnsPath, '+tcp far')).toBe(b.endpoints.lan!.IPAddress);
      expect(await dig(a.netnsPath, 'example.com')).toBe('203.0.113.7');
    };
    expect(await host.sh(`cat ${a.resolvConfPath}`)).toContain('nameserver 127.0.0.11');
    await named();
    // The sockets inside went with the daemon; the next one opens its own.
    await host.call('reboot');
    await host.call('restore', 'near', { mode: 'lan' });
    await named();
    // Port 53 is the container's own to use.
    const bind = `python3 -c 'import socket; socket.socket(2, 2).bind(("0.0.0.0", 53)); print("bound")'`;
    expect(await host.sh(bind, a.netnsPath)).toBe('bound');
    await Promise.all(['near', 'far'].map((name) => host.call('down', name)));
    await host.call('remove', 'lan');
    expect(await host.sh('ip -br link show up0')).toContain('up0');
  });

  it('macvlan, private: the machine beyond reaches the containers in both families, they not each other, and it is told why', async () => {
    const pools = [
      { Subnet: '198.51.100.0/24', IPRange: '198.51.100.64/26', Gateway: '198.51.100.53' },
      { Subnet: '2001:db8:ff::/64', IPRange: '2001:db8:ff::100/120', Gateway: '2001:db8:ff::53' },
    ];
    const Options = { parent: 'up0', macvlan_mode: 'private' };
    await host.call('create', { Name: 'lone', Driver: 'macvlan', EnableIPv6: true, Options, IPAM: { Config: pools } });
    const [a, b] = await Promise.all(['pa', 'pb'].map((name) => host.up(name, { mode: 'lone' })));
    await host.serve(b!);
    const { IPAddress, GlobalIPv6Address } = b!.endpoints.lone!;
    for (const address of [IPAddress, `[${GlobalIPv6Address}]`]) {
      expect(await host.get(`http://${address}/`, other)).toContain('from ');
      expect(await host.silent(`http://${address}/`, a!.netnsPath)).toBe(true);
    }
    expect(await host.call('reach', 'pa', 'pb')).toMatchObject({
      reachable: false,
      summary: 'network lone: the mode is private',
    });
    await Promise.all(['pa', 'pb'].map((name) => host.call('down', name)));
    await host.call('remove', 'lone');
  });

  it('macvlan without a parent is closed in itself', async () => {
    const pools = [{ Subnet: '10.98.0.0/24' }, { Subnet: 'fd98::/64' }];
    await host.call('create', { Name: 'hermit', Driver: 'macvlan', EnableIPv6: true, IPAM: { Config: pools } });
    const [a, b] = await Promise.all(['ha', 'hb'].map((name) => host.up(name, { mode: 'hermit' })));
    await host.serve(b!);
    const { IPAddress, GlobalIPv6Address } = b!.endpoints.hermit!;
    for (const address of [IPAddress, `[${GlobalIPv6Address}]`])
      expect(await host.get(`http://${address}/`, a!.netnsPath)).toContain('from ');
    expect(await dig(a!.netnsPath, 'hb')).toBe(IPAddress);
    expect(await dig(a!.netnsPath, 'example.com')).toBe('');
    expect(await host.sh('ip route show default', a!.netnsPath)).toBe('');
    await Promise.all(['ha', 'hb'].map((name) => host.call('down', name)));
    await host.call('remove', 'hermit');
    expect(await host.sh('ip -br link | grep dm-')).toBe('');
  });

  it("none has a loopback only, and container: shares another one's namespace", async () => {
    const none = await host.up('nobody', { mode: 'none' });
    expect(await host.sh('ip -br link | wc -l', none.netnsPath)).toBe('1');
    const first = await host.up('first');
    const second = await host.up('second', {
      mode: `container:${Buffer.from('first').toString('hex').padEnd(64, '0')}`,
    });
    expect(second.netnsPath).toBe(first.netnsPath);
    await Promise.all(['nobody', 'second', 'first'].map((name) => host.call('down', name)));
    expect(await host.sh('ip -br link | grep veth')).toBe('');
  });

  it('connecting and disconnecting again and again leaks nothing', async () => {
    await host.call('create', { Name: 'busy' });
    await host.up('one');
    for (let round = 0; round < 10; round++) {
      await host.call('connect', 'one', 'busy', {});
      await host.call('disconnect', 'one', 'busy');
    }
    await host.call('down', 'one');
    await host.call('remove', 'busy');
    expect(await host.sh('ip -br link | grep veth')).toBe('');
    expect(await host.sh(`ls ${host.directory}/exec/netns`)).toBe('');
  });
});
