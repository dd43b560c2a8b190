/** Much of the same: endpoints that come and go, names that are asked for by thousands. Nothing is left of it, and nobody waits. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { Host } from './network-client.ts';

const host = new Host();
beforeAll(async () => {
  await host.ready;
  await host.call('boot');
});
afterAll(() => host.end());

const names = ['one', 'two', 'three', 'four'];
const portOf = (name: string): object => ({
  exposedPorts: ['80/tcp'],
  portBindings: { '80/tcp': [{ HostIp: '', HostPort: String(8080 + names.indexOf(name)) }] },
});
/** What may leak: links, namespaces, elements of the table, descriptors of the daemon, and helpers. */
const kept = async (): Promise<Record<string, number>> => {
  const count = async (script: string): Promise<number> => Number(await host.sh(`${script} | wc -l`));
  return {
    links: await count('ip -o link'),
    addresses: await count('ip -o addr'),
    namespaces: await count(`ls ${host.directory}/exec/netns`),
    elements: await count('nft list table inet reactord | tr "," "\\n"'),
    descriptors: await count(`ls /proc/${await host.call('pid')}/fd`),
    children: await count(`pgrep -P ${await host.call('pid')} | grep -v $$`),
  };
};

it(
  '200 times connected and disconnected, four containers at once, nothing is left over',
  { timeout: 60_000 },
  async () => {
    await host.call('create', {
      Name: 'busy',
      EnableIPv6: true,
      IPAM: { Config: [{ Subnet: '10.83.0.0/24' }, { Subnet: 'fd83::/64' }] },
    });
    await Promise.all(names.map((name) => host.up(name, portOf(name))));
    const round = async (name: string): Promise<void> => {
      await host.call('connect', name, 'busy', { Aliases: [`alias-${name}`] });
      await host.call('disconnect', name, 'busy');
    };
    await Promise.all(names.map(round));
    const before = await kept();
    await Promise.all(
      names.map(async (name) => {
        for (let cycle = 0; cycle < 50; cycle++) await round(name);
      }),
    );
    await eventually(async () => expect(await kept()).toEqual(before) ?? true, { what: 'all is as before' });
    // Addresses are free again: the first one is given next.
    const next = await host.call('connect', 'one', 'busy', {});
    expect(next.endpoints.busy).toMatchObject({ IPAddress: '10.83.0.2', GlobalIPv6Address: 'fd83::2' });
    expect((await host.call('events')).filter((action: string) => action === 'connect').length).toBe(
      (await host.call('events')).filter((action: string) => action === 'disconnect').length + names.length + 1,
    );
    await Promise.all(names.map((name) => host.call('down', name)));
    await host.call('remove', 'busy');
    expect(await host.sh('ip -br link | grep -E "veth|br-"')).toBe('');
  },
);

/** Sends so many queries as fast as it can, and tells how many were answered by an address of ours. */
const STORM = (count: number): string => `python3 -c '
import socket, struct, select
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20); s.connect(("127.0.0.11", 53))
question = b"\\x06target\\x00" + struct.pack(">HH", 1, 1)
waiting = set(range(${count})); sent = 0; right = 0
while waiting:
  while sent < ${count} and sent - (${count} - len(waiting)) < 200:
    s.send(struct.pack(">HHHHHH", sent, 0x0100, 1, 0, 0, 0) + question); sent += 1
  if not select.select([s], [], [], 10)[0]: break
  reply = s.recv(512); number = struct.unpack(">H", reply[:2])[0]
  if number in waiting: waiting.remove(number); right += reply[-4:-1] == socket.inet_aton("10.82.0.0")[:3]
print(right, len(waiting))'`;

it(
  'a storm of names is answered to the last one, while the daemon does everything else',
  { timeout: 60_000 },
  async () => {
    await host.call('create', { Name: 'windy', IPAM: { Config: [{ Subnet: '10.82.0.0/24' }] } });
    await host.up('target', { mode: 'windy' });
    const askers = await Promise.all(['a', 'b', 'c'].map((name) => host.up(`asker-${name}`, { mode: 'windy' })));
    const storms = Promise.all(askers.map(({ netnsPath }) => host.sh(STORM(5000), netnsPath)));
    let over = false;
    void storms.then(() => (over = true));
    let rounds = 0;
    while (!over && rounds < 100) {
      const guest = await host.up('guest', { mode: 'windy' });
      expect(guest.endpoints.windy!.IPAddress).toMatch(/^10\.82\.0\./);
      await host.call('down', 'guest');
      rounds++;
    }
    expect(await storms).toEqual(askers.map(() => '5000 0'));
    expect(rounds).toBeGreaterThan(1);
  },
);
