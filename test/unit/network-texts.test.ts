import { describe, expect, it } from 'vitest';
import { decode, encode } from 'dns-packet';
import { addressOfReverse, type Asker, decide } from '../../src/network/dns/answer.ts';
import { Frames, framed } from '../../src/network/dns/forward.ts';
import { Names } from '../../src/network/dns/names.ts';
import {
  embeddedResolvConf,
  hostsText,
  parseExtraHost,
  parseResolvConf,
  plainResolvConf,
  resolvConfText,
} from '../../src/network/files.ts';
import {
  addElements,
  bridgeElements,
  deleteElements,
  portElements,
  wholeTable,
} from '../../src/network/firewall-rules.ts';
import { hostAddresses, portMapOf, portWishes } from '../../src/network/ports.ts';

describe('published ports', () => {
  const wishes = (portBindings: object, more: object = {}) =>
    portWishes({ portBindings: portBindings as never, publishAll: false, exposedPorts: [], ...more });

  it("are wished for in all of Docker's notations", () => {
    expect(wishes({ '80/tcp': null, '53/udp': [], '22': [{ HostIp: '[::1]', HostPort: '2000-2010' }] })).toEqual([
      { port: 22, protocol: 'tcp', hostIp: '::1', first: 2000, last: 2010 },
      { port: 53, protocol: 'udp', hostIp: '', first: 0, last: 0 },
      { port: 80, protocol: 'tcp', hostIp: '', first: 0, last: 0 },
    ]);
    expect(wishes({}, { publishAll: true, exposedPorts: ['9/sctp'] })).toEqual([
      { port: 9, protocol: 'sctp', hostIp: '', first: 0, last: 0 },
    ]);
  });

  it.each([
    [{ '0/tcp': [] }, 'invalid port specification'],
    [{ '80/icmp': [] }, 'invalid proto: icmp'],
    [{ '80/tcp': [{ HostIp: '', HostPort: '90-80' }] }, 'invalid port specification: "90-80"'],
    [{ '80/tcp': [{ HostIp: 'home', HostPort: '' }] }, 'invalid IP address: home'],
  ])('are refused: %j', (bindings, words) => {
    expect(() => wishes(bindings)).toThrow(words);
  });

  it('stand for both families by default, and show as Docker has them', () => {
    const [wish] = wishes({ '80/tcp': [] });
    expect(hostAddresses(wish!, { ip: '0.0.0.0', ipv6: true })).toEqual(['0.0.0.0', '::']);
    expect(hostAddresses(wish!, { ip: '127.0.0.1', ipv6: true })).toEqual(['127.0.0.1']);
    const port = { port: 80, protocol: 'tcp', hostIp: '0.0.0.0', hostPort: 8080, target: '172.17.0.2' } as const;
    expect(portMapOf([port], ['80/tcp', '81/tcp'])).toEqual({
      '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }],
      '81/tcp': null,
    });
  });
});

describe('the nft table', () => {
  const port = { port: 80, protocol: 'tcp', hostIp: '0.0.0.0', hostPort: 8080, target: '172.17.0.2' } as const;
  const options = { portsBehindFirewall: false, guarded: new Set<4 | 6>() };

  it('holds a published port as one element and never as a rule', () => {
    expect(addElements(portElements(port))).toBe('add element inet reactord any4 { tcp . 8080 : 172.17.0.2 . 80 }\n');
    expect(deleteElements(portElements({ ...port, hostIp: '192.0.2.1' }))).toBe(
      'delete element inet reactord addr4 { tcp . 192.0.2.1 . 8080 }\n',
    );
    expect(portElements({ ...port, hostIp: '::' })).toEqual([]);
    const rules = (count: number): number => {
      const ports = Array.from({ length: count }, (_, index) =>
        portElements({ ...port, hostPort: 1000 + index }),
      ).flat();
      return wholeTable(ports, options).match(/^add rule/gm)!.length;
    };
    expect(rules(1000)).toBe(rules(1));
  });

  it("never touches the chain of people's own rules, and looks at it first", () => {
    const text = wholeTable([], options);
    expect(text).toContain('add chain inet reactord user\n');
    expect(text).not.toMatch(/flush chain inet reactord user|delete|flush table|flush ruleset/);
    expect(text.match(/add rule inet reactord forward .*/)![0]).toContain('jump user');
  });

  it("leaves translation to the host's own rules where that is wanted, and guards what it opened", () => {
    expect(wholeTable([], { ...options, portsBehindFirewall: true })).not.toContain(
      'add rule inet reactord prerouting',
    );
    expect(wholeTable([], { ...options, guarded: new Set<4 | 6>([4]) })).toContain(
      'forward meta nfproto ipv4 iifname != @bridges drop',
    );
  });

  it('knows a bridge by its kind', () => {
    const bridge = {
      link: 'br0',
      subnets: ['10.0.0.0/24', 'fd00::/64'],
      masquerade: new Set<4 | 6>([4, 6]),
      internal: false,
      icc: true,
      open: new Set<4 | 6>(),
      routed: new Set<4 | 6>(),
      source4: '',
      source6: '',
    };
    const sets = (more: object) => bridgeElements({ ...bridge, ...more }).map((element) => element.set);
    expect(sets({})).toEqual(['bridges', 'same', 'own4', 'masq4', 'own6', 'masq6']);
    expect(sets({ internal: true, icc: false })).toEqual(['bridges', 'apart', 'internal', 'own4', 'own6']);
    expect(sets({ source4: '192.0.2.9' })).toContain('snat4');
    expect(sets({ masquerade: new Set([4]), open: new Set([6]) })).toEqual([
      'bridges',
      'same',
      'open6',
      'own4',
      'masq4',
      'own6',
    ]);
  });
});

describe('files of a container', () => {
  it('name the container, its links and what was added', () => {
    const text = hostsText({
      hostname: 'web',
      domainname: 'example.org',
      addresses: ['172.17.0.2', ''],
      extraHosts: ['db:10.0.0.1', 'six=[::2]', 'nonsense'].flatMap((entry) => parseExtraHost(entry) ?? []),
      links: [{ address: '172.17.0.3', names: ['cache', 'c1', 'c1'] }],
      ipv6: false,
    });
    expect(text).toBe(
      '127.0.0.1\tlocalhost\n10.0.0.1\tdb\n::2\tsix\n172.17.0.3\tcache c1\n172.17.0.2\tweb.example.org web\n',
    );
  });

  it('lead to servers the container can reach', () => {
    const host = parseResolvConf(
      '# mine\nnameserver 127.0.0.1\nnameserver 192.0.2.53 ; near\nnameserver fe80::1\nsearch a.example\noptions timeout:1\n',
    );
    const none = { dns: [], dnsSearch: [], dnsOptions: [] };
    expect(resolvConfText(plainResolvConf(host, none, false))).toBe(
      'nameserver 192.0.2.53\nsearch a.example\noptions timeout:1\n',
    );
    expect(plainResolvConf(parseResolvConf('nameserver ::1'), none, true).nameservers).toEqual(['8.8.8.8', '8.8.4.4']);
    expect(plainResolvConf(host, { ...none, dns: ['127.0.0.9'], dnsSearch: ['.'] }, false)).toEqual({
      nameservers: ['127.0.0.9'],
      search: [],
      options: ['timeout:1'],
    });
    expect(embeddedResolvConf(host, { ...none, dnsOptions: ['ndots:3'] })).toEqual({
      nameservers: ['127.0.0.11'],
      search: ['a.example'],
      options: ['ndots:3'],
    });
  });
});

describe('names', () => {
  const names = new Names();
  names.set({ containerId: 'c1', networkId: 'n1', ipv4: '10.0.0.2', ipv6: 'fd00::2', names: ['Web', 'shared'] });
  names.set({ containerId: 'c2', networkId: 'n1', ipv4: '10.0.0.3', ipv6: '', names: ['db', 'shared'] });
  names.set({ containerId: 'c3', networkId: 'n2', ipv4: '10.1.0.3', ipv6: '', names: ['far'] });
  const asker: Asker = {
    containerId: 'c2',
    networks: [{ id: 'n1', name: 'front' }],
    links: new Map([['alias', 'web']]),
    upstreams: ['192.0.2.53'],
    outside: true,
  };
  const ask = (name: string, type = 'A', who = asker, turn = 0) =>
    decide({ type: 'query', id: 7, flags: 256, questions: [{ name, type }] }, who, names, turn);
  const data = (verdict: ReturnType<typeof ask>) =>
    'reply' in verdict ? verdict.reply.answers!.map((answer) => answer.data) : verdict;

  it("are known in the asker's own networks only, without case, with the network's name behind, and by link", () => {
    for (const name of ['web', 'WEB', 'web.front', 'alias']) expect(data(ask(name))).toEqual(['10.0.0.2']);
    expect(data(ask('far'))).toEqual({ forward: ['192.0.2.53'] });
    expect(data(ask('web', 'AAAA'))).toEqual(['fd00::2']);
    expect(data(ask('db', 'AAAA'))).toEqual([]);
    expect([0, 1].map((turn) => data(ask('shared', 'A', asker, turn)))).toEqual([
      ['10.0.0.2', '10.0.0.3'],
      ['10.0.0.3', '10.0.0.2'],
    ]);
  });

  it('end inside for those whose networks are all internal', () => {
    const inside = ask('example.com', 'A', { ...asker, outside: false });
    expect('reply' in inside && inside.reply.flags! & 0xf).toBe(2);
  });

  it('belong to addresses too', () => {
    expect(addressOfReverse('2.0.0.10.in-addr.arpa')).toBe('10.0.0.2');
    expect(data(ask('2.0.0.10.in-addr.arpa', 'PTR'))).toEqual(['Web.front']);
    expect(data(ask('9.9.9.9.in-addr.arpa', 'PTR'))).toEqual({ forward: ['192.0.2.53'] });
  });

  it('go with their container', () => {
    names.delete('n2', 'c3');
    expect(names.find('n2', 'far')).toEqual([]);
  });

  it('are written so that others read them', () => {
    const verdict = ask('web');
    const packet = decode(encode('reply' in verdict ? verdict.reply : (undefined as never)));
    expect(packet).toMatchObject({ type: 'response', id: 7, answers: [{ name: 'web', ttl: 600, data: '10.0.0.2' }] });
  });

  it('come over TCP in any pieces', () => {
    const whole = Buffer.concat([framed(Buffer.from('one')), framed(Buffer.from('two'))]);
    for (let cut = 0; cut <= whole.length; cut++) {
      const frames = new Frames();
      const got = [...frames.push(whole.subarray(0, cut)), ...frames.push(whole.subarray(cut))];
      expect(got.map(String)).toEqual(['one', 'two']);
    }
  });
});
