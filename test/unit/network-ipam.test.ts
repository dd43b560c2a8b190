import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { formatValue, parseAddress, parseSubnet } from '../../src/network/address.ts';
import { type CreateContext, planNetwork } from '../../src/network/create.ts';
import { linkClash } from '../../src/network/driver-options.ts';
import { checkEndpoint } from '../../src/network/endpoints.ts';
import { NetworkAddresses, planPools, Pool } from '../../src/network/ipam.ts';

const plan = (more: object = {}) =>
  planPools({ ipv4: true, ipv6: false, configs: [], defaultPools: [], used: [], routed: [], seed: 'here', ...more });

const subnets = (...texts: string[]) => texts.map((text) => parseSubnet(text)!);

describe('addresses', () => {
  it('come back as they were written, IPv6 in its shortest form', () => {
    for (const text of [
      '0.0.0.0',
      '172.17.0.1',
      '::',
      '::1',
      'fe80::1',
      '2001:db8::1:0:0:1',
      '2001:db8:0:1:1:1:1:1',
      '1::',
    ])
      expect(formatValue(text.includes(':') ? 6 : 4, parseAddress(text)!.value)).toBe(text);
    expect(formatValue(6, parseAddress('::ffff:1.2.3.4')!.value)).toBe('::ffff:102:304');
    expect(parseAddress('1.2.3')).toBeUndefined();
    expect(parseSubnet('10.0.0.5/24')).toEqual({ family: 4, base: parseAddress('10.0.0.0')!.value, bits: 24 });
    for (const text of ['10.0.0.0/33', '10.0.0.0', 'x/8', '10.0.0.0/8/8', '::/129'])
      expect(parseSubnet(text)).toBeUndefined();
  });

  it('survive text and back, whatever they are', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 2n ** 128n - 1n), (value) => parseAddress(formatValue(6, value))!.value === value),
    );
  });
});

describe('a pool', () => {
  it("gives the lowest free address, each once, and neither the network's own nor the broadcast address", () => {
    const pool = new Pool(parseSubnet('10.0.0.0/29')!);
    const given = Array.from({ length: 6 }, () => pool.next());
    expect(given).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6']);
    expect(pool.next()).toBeUndefined();
    pool.release('10.0.0.3');
    pool.release('10.0.0.5');
    expect([pool.next(), pool.take('10.0.0.5'), pool.take('10.0.0.5'), pool.next()]).toEqual([
      '10.0.0.3',
      true,
      false,
      undefined,
    ]);
  });

  it('never gives one address to two, in any order of taking and releasing', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { maxLength: 60 }), (moves) => {
        const pool = new Pool(parseSubnet('10.0.0.0/28')!);
        const held: string[] = [];
        for (const move of moves) {
          if (move < 12 || held.length === 0) {
            const address = pool.next();
            if (!address) return held.length === 14;
            if (held.includes(address)) return false;
            held.push(address);
          } else pool.release(held.splice(move % held.length, 1)[0]!);
        }
        return true;
      }),
    );
  });
});

describe('the pools of a network', () => {
  it("are dockerd's default ones, without what is used or routed elsewhere", () => {
    expect(plan()[0]).toMatchObject({ subnet: '172.17.0.0/16', gateway: '172.17.0.1' });
    const used = subnets(...Array.from({ length: 15 }, (_, index) => `172.${17 + index}.0.0/16`));
    expect(plan({ used })[0]).toMatchObject({ subnet: '192.168.0.0/20' });
    expect(plan({ used, routed: subnets('192.168.1.0/24') })[0]).toMatchObject({ subnet: '192.168.16.0/20' });
    expect(() => plan({ used: [...used, ...subnets('192.168.0.0/16')] })).toThrow(
      'all predefined address pools have been fully subnetted',
    );
    expect(plan({ defaultPools: [{ base: '10.9.0.0/16', size: 24 }], used: subnets('10.9.0.0/23') })[0]).toMatchObject({
      subnet: '10.9.2.0/24',
    });
  });

  it('have a unique local prefix in IPv6, the same each time', () => {
    const [first, again] = [plan({ ipv6: true }), plan({ ipv6: true })];
    expect(first[1]!.subnet).toMatch(/^fd.*\/64$/);
    expect(again).toEqual(first);
    expect(plan({ ipv6: true, used: subnets(first[1]!.subnet) })[1]!.subnet).not.toBe(first[1]!.subnet);
  });

  it("are refused in dockerd's words", () => {
    const given = (config: object, more: object = {}) => plan({ configs: [config], ...more });
    expect(() => given({ Subnet: '10.1.0.0/24' }, { used: subnets('10.1.0.0/16') })).toThrow(
      'Pool overlaps with other one on this address space',
    );
    expect(() => given({ Subnet: 'nonsense' })).toThrow('invalid subnet nonsense: invalid CIDR block notation');
    expect(() => given({ Subnet: '10.1.0.0/24', Gateway: '10.2.0.1' })).toThrow(
      "parent subnet 10.1.0.0/24 doesn't contain this address",
    );
    expect(() => given({ Subnet: '10.1.0.0/24', IPRange: '10.1.1.0/25' })).toThrow("doesn't contain ip-range");
    expect(() => given({ Gateway: '10.2.0.1' })).toThrow('no matching subnet for gateway 10.2.0.1');
    expect(() => plan({ configs: [{ Subnet: '10.1.0.0/24' }, { Subnet: '10.1.0.0/25' }] })).toThrow('Pool overlaps');
  });

  it('give static addresses once, skip gateways and auxiliary ones, and say when they are exhausted', () => {
    const pools = plan({
      configs: [{ Subnet: '10.1.0.0/29', Gateway: '10.1.0.1', AuxiliaryAddresses: { printer: '10.1.0.2' } }],
    });
    const addresses = new NetworkAddresses({ id: 'f00', name: 'small', pools });
    expect(addresses.allocate(4)).toEqual({ address: '10.1.0.3', bits: 29 });
    expect(addresses.allocate(6)).toBeUndefined();
    expect(() => addresses.allocate(4, '10.1.0.3')).toThrow('Address already in use');
    expect(() => addresses.allocate(4, '10.9.0.3')).toThrow("It does not belong to any of this network's subnets");
    addresses.restore('10.1.0.4');
    expect([addresses.allocate(4)?.address, addresses.allocate(4)?.address]).toEqual(['10.1.0.5', '10.1.0.6']);
    expect(() => addresses.allocate(4)).toThrow(
      "no available IPv4 addresses on this network's address pools: small (f00)",
    );
  });
});

describe('a request to create a network', () => {
  const context: CreateContext = {
    id: 'abcdef0123456789',
    created: '',
    used: [],
    routed: [],
    defaultPools: [],
    seed: '',
  };
  const refused: [object, string][] = [
    [{ Driver: 'host' }, 'only one instance of "host" network is allowed'],
    [{ Driver: 'wat' }, 'plugin "wat" not found'],
    [{ Driver: 'overlay' }, 'This node is not a swarm manager'],
    [{ Options: { 'com.docker.network.driver.mtu': 'big' } }, 'invalid MTU: big'],
    [{ Options: { 'com.docker.network.bridge.name': 'a name; with more' } }, 'invalid network interface name'],
    [{ Options: { 'com.docker.network.bridge.name': 'all' } }, 'invalid network interface name: "all"'],
    [{ Driver: 'macvlan', Options: { parent: 'default' } }, 'invalid network interface name: "default"'],
    [{ Driver: 'macvlan', Options: { parent: 'eth0', macvlan_mode: 'x' } }, "requested macvlan mode 'x' is not valid"],
    [{ Driver: 'ipvlan', Options: { parent: 'eth0', ipvlan_flag: 'x' } }, "requested ipvlan flag 'x' is not valid"],
    [{ Driver: 'macvlan', Options: { parent: 'lo' } }, 'loopback interface is not a valid macvlan parent link'],
    [{ Options: { 'com.docker.network.host_ipv4': '1.2.3.4 }; add rule' } }, '(nil ip)'],
    [{ Options: { 'com.docker.network.host_ipv6': '1.2.3.4' } }, '(nil ip)'],
    [{ Options: { 'com.docker.network.bridge.inhibit_ipv4': 'maybe' } }, 'is not a boolean'],
    [{ Options: { 'com.docker.network.container_iface_prefix': 'a/b' } }, 'invalid prefix of interface names'],
    [{ EnableIPv4: false }, 'IPv4 or IPv6 must be enabled'],
    [
      { Options: { 'com.docker.network.bridge.gateway_mode_ipv4': 'isolated' } },
      'only be used for an internal network',
    ],
  ];
  it.each(refused)('is refused: %j', (body, words) => {
    expect(() => planNetwork({ Name: 'n', ...body }, context)).toThrow(words);
  });

  it.each<[string, object, string[]]>([
    ['a bridge', {}, ['10.1.0.1', '10.1.0.2']],
    [
      'an isolated bridge',
      { Internal: true, Options: { 'com.docker.network.bridge.gateway_mode_ipv4': 'isolated' } },
      ['', '10.1.0.1'],
    ],
    ['macvlan', { Driver: 'macvlan', Options: { parent: 'eth0' } }, ['10.1.0.1', '10.1.0.2']],
    ['macvlan without a parent', { Driver: 'macvlan' }, ['', '10.1.0.1']],
    ['ipvlan l2', { Driver: 'ipvlan', Options: { parent: 'eth0' } }, ['10.1.0.1', '10.1.0.2']],
    ['ipvlan l3', { Driver: 'ipvlan', Options: { parent: 'eth0', ipvlan_mode: 'l3' } }, ['', '10.1.0.1']],
  ])('%s sets an address aside for the gateway only where one answers', (_, body, expected) => {
    const made = planNetwork({ Name: 'n', IPAM: { Config: [{ Subnet: '10.1.0.0/24' }] }, ...body }, context);
    expect([made.pools[0]!.gateway, new NetworkAddresses(made).allocate(4)?.address]).toEqual(expected);
  });

  it('shares a parent among macvlan networks, a bridge with nobody', () => {
    const made = (id: string, body: object) => planNetwork({ Name: id, ...body }, { ...context, id });
    const on = (driver: string, mode = '') => ({
      Driver: driver,
      Options: { parent: 'eth0', [`${driver}_mode`]: mode },
    });
    const clash = (body: object, other: object): string | undefined =>
      linkClash(made('new', body), [made('old', other)])?.message;
    const bridge = { Options: { 'com.docker.network.bridge.name': 'eth0' } };
    expect(clash(on('macvlan'), on('macvlan', 'private'))).toBeUndefined();
    expect(clash(on('macvlan'), on('macvlan', 'passthru'))).toContain(
      'already using parent interface eth0 in mode passthru',
    );
    expect(clash(on('macvlan', 'passthru'), on('macvlan'))).toContain('cannot use mode passthru');
    expect(clash(on('ipvlan'), on('ipvlan', 'l3'))).toBe('network di-old is already using parent interface eth0');
    expect(clash(bridge, bridge)).toContain('networks have same bridge name');
  });

  it('has no MAC address to give where all containers have that of the parent', () => {
    const on = (Driver: string) => planNetwork({ Name: 'n', Driver, Options: { parent: 'eth0' } }, context);
    const MacAddress = '02:00:00:00:00:42';
    expect(() => checkEndpoint(on('ipvlan'), { MacAddress })).toThrow('do not support custom mac address assignment');
    expect(() => checkEndpoint(on('macvlan'), { MacAddress })).not.toThrow();
  });

  it('names its bridge by its id or as asked', () => {
    expect(planNetwork({ Name: 'n' }, context).link).toBe('br-abcdef012345');
    expect(planNetwork({ Name: 'n', Options: { 'com.docker.network.bridge.name': 'mine0' } }, context).link).toBe(
      'mine0',
    );
  });
});
