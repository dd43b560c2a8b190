/** What the host has of its own, rules and links, and how the daemon leaves it alone. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sandbox } from '../../src/network/port.ts';
import { Host } from './network-client.ts';

const PORTS = { exposedPorts: ['80/tcp'], portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] } };
const PUBLISHED = ['http://198.51.100.1:8080/', 'http://[2001:db8:ff::1]:8080/'];
const DUAL = { EnableIPv6: true, IPAM: { Config: [{ Subnet: '10.86.0.0/24' }, { Subnet: 'fd86::/64' }] } };
const NAME = 'com.docker.network.bridge.name';

const host = new Host();
let other: string;

/** Another machine beyond the host, seen from its neighbour; resolves when both know their ways. */
async function connectThird(middle: Host, neighbour: string): Promise<void> {
  const third = `${middle.directory}/third`;
  await middle.sh(`touch ${third} && unshare --net=${third} ip link set lo up
    ip link add up1 type veth peer name eth0 netns ${third}
    echo 0 > /proc/sys/net/ipv6/conf/up1/accept_dad
    ip addr add 203.0.113.1/24 dev up1; ip addr add 2001:db8:3::1/64 dev up1 nodad; ip link set up1 up
    nsenter --net=${third} sh -c 'echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip addr add 203.0.113.53/24 dev eth0; ip addr add 2001:db8:3::53/64 dev eth0 nodad; ip link set eth0 up; ip route add default via 203.0.113.1; ip route add default via 2001:db8:3::1'
    nsenter --net=${neighbour} sh -c 'ip route add default via 198.51.100.1; ip route add default via 2001:db8:ff::1'`);
}

/** Whether the third is reached through the host, in both families. */
const beyond = async (middle: Host, neighbour: string): Promise<boolean[]> => {
  const answers = ['203.0.113.53', '2001:db8:3::53'].map((address) =>
    middle.sh(`busybox ping -c1 -W2 ${address}`, neighbour),
  );
  return (await Promise.all(answers)).map((said) => said.includes('1 packets received'));
};

beforeAll(async () => {
  await host.ready;
  other = await host.neighbour();
  await connectThird(host, other);
  await host.call('boot');
  await host.call('create', { Name: 'dual', ...DUAL });
});
afterAll(() => host.end());

describe('rules of the host', () => {
  let web: Sandbox;
  beforeAll(async () => {
    web = await host.up('web', { mode: 'dual', ...PORTS });
    await host.serve(web);
  });
  afterAll(() => host.call('down', 'web'));
  const answers = async (): Promise<boolean[]> =>
    Promise.all(PUBLISHED.map(async (url) => !(await host.silent(url, other))));

  it('in the chain `user` come before ours, for each family', async () => {
    expect(await answers()).toEqual([true, true]);
    await host.sh('nft add rule inet reactord user ip saddr 198.51.100.53 tcp dport 80 drop');
    expect(await answers()).toEqual([false, true]);
    await host.sh('nft add rule inet reactord user ip6 saddr 2001:db8:ff::53 drop');
    expect(await answers()).toEqual([false, false]);
    await host.call('reboot');
    await host.call('restore', 'web', { mode: 'dual', ...PORTS });
    expect(await answers()).toEqual([false, false]);
    await host.sh('nft flush chain inet reactord user');
    expect(await answers()).toEqual([true, true]);
  });

  it('in other tables are final: where the host forwards nothing, no port is an exception', async () => {
    await host.sh(
      "nft 'table inet theirs { chain forward { type filter hook forward priority 10; policy drop; ct state established accept; }; }'",
    );
    expect(await answers()).toEqual([false, false]);
    await host.sh(`nft add rule inet theirs forward oifname $(ip -br link | grep -o '^br-[0-9a-f]*') accept`);
    expect(await answers()).toEqual([true, true]);
    await host.sh('nft delete table inet theirs');
  });

  it('decide about forwarding: what we turned on serves our networks only, what was on stays so', async () => {
    expect(await host.sh('sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding')).toBe('1\n1');
    expect(await beyond(host, other)).toEqual([false, false]);
    const router = new Host();
    await router.ready;
    const neighbour = await router.neighbour();
    await connectThird(router, neighbour);
    await router.sh('sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1');
    await router.call('boot');
    await router.call('create', { Name: 'dual', ...DUAL });
    expect(await beyond(router, neighbour)).toEqual([true, true]);
    await router.end();
  });
});

describe('a bridge that was there before', () => {
  const create = (link: string, more: object = {}): Promise<unknown> =>
    host.call('create', { Name: 'given', ...DUAL, Options: { [NAME]: link }, ...more });
  const subnets = { IPAM: { Config: [{ Subnet: '10.87.0.0/24' }, { Subnet: 'fd87::/64' }] } };

  it.each([
    ['lo', 'existing interface lo is not a bridge'],
    ['up0', 'existing interface up0 is not a bridge'],
    ['all', 'invalid network interface name: "all"'],
  ])('%s is none, and nothing about it changes', async (link, words) => {
    const before = await host.sh(
      '(ip addr show up0; ip addr show lo; sysctl -a) 2>/dev/null | grep -E "conf.(all|lo|up0)."',
    );
    await expect(create(link, subnets)).rejects.toThrow(words);
    await expect(host.call('inspect', 'given')).rejects.toThrow('network given not found');
    expect(await host.sh('nft list set inet reactord bridges')).not.toContain(link);
    expect(
      await host.sh('(ip addr show up0; ip addr show lo; sysctl -a) 2>/dev/null | grep -E "conf.(all|lo|up0)."'),
    ).toBe(before);
  });

  it('is joined with the addresses it has, and stays when the network goes', async () => {
    await host.sh(`ip link add theirs0 type bridge; ip addr add 10.99.0.1/24 dev theirs0; ip link set theirs0 up
      ip -6 addr add 2001:db8:99::1/64 dev theirs0 nodad`);
    await create('theirs0', subnets);
    await expect(host.call('create', { Name: 'second', Options: { [NAME]: 'theirs0' } })).rejects.toThrow(
      'networks have same bridge name',
    );
    const [a, b] = await Promise.all(['ga', 'gb'].map((name) => host.up(name, { mode: 'given' })));
    await host.serve(b!);
    const { IPAddress, GlobalIPv6Address } = b!.endpoints.given!;
    expect(await host.get(`http://${IPAddress}/`, a!.netnsPath)).toContain(a!.endpoints.given!.IPAddress);
    expect(await host.get(`http://[${GlobalIPv6Address}]/`, a!.netnsPath)).toContain('fd87::');
    expect(await host.sh('dig +short +time=10 @127.0.0.11 gb', a!.netnsPath)).toBe(IPAddress);
    await host.call('reboot');
    await Promise.all(['ga', 'gb'].map((name) => host.call('down', name)));
    await host.call('remove', 'given');
    expect(await host.sh('ip addr show theirs0')).toMatch(/10\.99\.0\.1[^]*2001:db8:99::1/);
  });

  it('keeps its IPv6 when a network without joins it', async () => {
    await create('theirs0', { EnableIPv6: false, IPAM: { Config: [{ Subnet: '10.88.0.0/24' }] } });
    expect(await host.sh('sysctl -n net.ipv6.conf.theirs0.disable_ipv6')).toBe('0');
    await host.call('remove', 'given');
    await host.sh('ip link del theirs0');
  });
});

it('a namespace that vanished keeps nobody from being repaired, closed and started again', async () => {
  const gone = await host.up('gone', { mode: 'dual', ...PORTS });
  const near = await host.up('near', { mode: 'dual' });
  const far = await host.up('far', { mode: 'dual' });
  await host.serve(near);
  const { IPAddress, GlobalIPv6Address } = near.endpoints.dual!;
  await host.sh(
    `umount ${gone.netnsPath}; for link in $(ip -br link | grep -o "^veth[0-9a-f]*"); do ip link del $link; done`,
  );
  await host.call('inspectKernel');
  for (const address of [IPAddress, `[${GlobalIPv6Address}]`])
    expect(await host.get(`http://${address}/`, far.netnsPath)).toContain('from ');
  await expect(host.call('connect', 'gone', 'bridge', {})).rejects.toThrow('network: ');
  await host.call('down', 'gone');
  const again = await host.up('gone', { mode: 'dual', ...PORTS });
  await host.serve(again);
  for (const url of PUBLISHED) expect(await host.get(url, other)).toContain('from ');
  await Promise.all(['gone', 'near', 'far'].map((name) => host.call('down', name)));
});

it('inhibit_ipv4: the bridge has no IPv4 address, names are served inside, the gateway is somebody else', async () => {
  await host.call('create', {
    Name: 'bare',
    ...DUAL,
    IPAM: { Config: [{ Subnet: '10.89.0.0/24', Gateway: '10.89.0.9' }, { Subnet: 'fd89::/64' }] },
    Options: {
      [NAME]: 'bare0',
      'com.docker.network.bridge.inhibit_ipv4': 'true',
      'com.docker.network.container_iface_prefix': 'lan',
    },
  });
  const [a, b] = await Promise.all(['ba', 'bb'].map((name) => host.up(name, { mode: 'bare' })));
  await host.serve(b!);
  const { IPAddress, GlobalIPv6Address } = b!.endpoints.bare!;
  expect(await host.sh('ip -4 addr show bare0')).not.toContain('inet');
  expect(await host.sh('ip route show default', a!.netnsPath)).toBe('default via 10.89.0.9 dev lan0');
  expect(await host.sh('dig +short +time=10 @127.0.0.11 bb', a!.netnsPath)).toBe(IPAddress);
  for (const address of [IPAddress, `[${GlobalIPv6Address}]`])
    expect(await host.get(`http://${address}/`, a!.netnsPath)).toContain('from ');
  await Promise.all(['ba', 'bb'].map((name) => host.call('down', name)));
  await host.call('remove', 'bare');
});
