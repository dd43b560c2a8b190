import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sandbox } from '../../src/network/port.ts';
import { eventually } from '../support/eventually.ts';
import { Host, WEB } from './network-client.ts';

const host = new Host();
const { directory, get, serve } = {
  directory: host.directory,
  get: host.get,
  serve: (sandbox: Sandbox) => host.serve(sandbox),
};
const addressOf = (sandbox: Sandbox, network: string): string => sandbox.endpoints[network]!.IPAddress;
let other: string;

beforeAll(async () => {
  await host.ready;
  other = await host.neighbour();
  await host.call('boot');
});

afterAll(async () => {
  await host.end();
});

describe('two containers on the default bridge', () => {
  let a: Sandbox;
  let b: Sandbox;

  beforeAll(async () => {
    [a, b] = await Promise.all([
      host.up('a'),
      host.up('b', {
        exposedPorts: ['80/tcp', '81/udp'],
        portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] },
      }),
    ]);
    await serve(b);
  });

  it('have addresses of the bridge, a gateway and a loopback', async () => {
    expect(addressOf(a, 'bridge')).toMatch(/^172\.17\.0\.[23]$/);
    expect(await host.sh('ip -br addr show lo; ip route', a.netnsPath)).toContain('default via 172.17.0.1 dev eth0');
    expect(a.netnsPath.startsWith(join(directory, 'exec/netns/'))).toBe(true);
    expect(await host.sh(`cat ${a.hostsPath}`)).toContain(`${addressOf(a, 'bridge')}\ta`);
    expect(await host.sh(`cat ${a.resolvConfPath}`)).toBe('nameserver 198.51.100.53');
  });

  it('reach each other', async () => {
    expect(await host.sh(`busybox ping -c1 -W3 ${addressOf(b, 'bridge')}`, a.netnsPath)).toContain(
      '1 packets received',
    );
    expect(await get(`http://${addressOf(b, 'bridge')}/`, a.netnsPath)).toContain(addressOf(a, 'bridge'));
  });

  it('answer at a published port from loopback, the host, another host, a neighbour and themselves', async () => {
    expect(b.ports['80/tcp']).toEqual([
      { HostIp: '0.0.0.0', HostPort: '8080' },
      { HostIp: '::', HostPort: '8080' },
    ]);
    expect(b.ports['81/udp']).toBeNull();
    expect(await get('http://127.0.0.1:8080/')).toContain('from ');
    expect(await get('http://[::1]:8080/')).toContain('from ');
    expect(await get('http://198.51.100.1:8080/')).toContain('from ');
    expect(await get('http://198.51.100.1:8080/', other)).toContain('198.51.100.53');
    expect(await get('http://172.17.0.1:8080/', a.netnsPath)).toContain('from ');
    expect(await get('http://172.17.0.1:8080/', b.netnsPath)).toContain('from ');
  });

  it('go out under the address of the host', async () => {
    await host.call('start', WEB, other);
    expect(
      await eventually(async () => (await get('http://198.51.100.53/', a.netnsPath)).match(/198\.51\.100\.1/)),
    ).toBeTruthy();
  });

  it('cannot be reached from outside but through what they publish', async () => {
    await host.sh('ip route add 172.17.0.0/16 via 198.51.100.1', other);
    expect(await host.silent(`http://${addressOf(b, 'bridge')}/`, other)).toBe(true);
  });

  it('refuse a port that is taken, in the words clients look for, and leave nothing of the loser', async () => {
    const clash = host.up('c', {
      exposedPorts: ['80/tcp'],
      portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] },
    });
    await expect(clash).rejects.toMatchObject({
      code: 'port-in-use',
      message: expect.stringContaining('Bind for 0.0.0.0:8080 failed: port is already allocated'),
    });
    const pid = await host.call('start', 'busybox nc -l -p 9999');
    await eventually(() => host.sh('busybox netstat -ltn | grep :9999'));
    await expect(
      host.up('c', { portBindings: { '80/tcp': [{ HostIp: '', HostPort: '9999' }] } }),
    ).rejects.toMatchObject({ code: 'port-in-use' });
    await host.call('kill', pid);
    expect((await host.call('inspect', 'bridge')).Containers).not.toHaveProperty(
      Buffer.from('c').toString('hex').padEnd(64, '0'),
    );
  });

  it('are repaired after somebody flushed the rules or deleted the bridge (CVE-2025-54388)', async () => {
    await host.sh('nft flush ruleset; ip link del docker0');
    await host.call('inspectKernel');
    await eventually(async () => (await get('http://198.51.100.1:8080/', other)).includes('198.51.100.53'));
    expect(await get(`http://${addressOf(b, 'bridge')}/`, a.netnsPath)).toContain('from ');
  });

  it('get their links back after somebody deleted them', async () => {
    await host.sh('for link in $(ip -br link | grep -o "^veth[0-9a-f]*"); do ip link del $link; done');
    expect(await host.sh('ip -br link', a.netnsPath)).not.toContain('eth0');
    await host.call('inspectKernel');
    expect(await get(`http://${addressOf(b, 'bridge')}/`, a.netnsPath)).toContain('from ');
  });

  it("keep working when the daemon comes back, with people's own rules in place", async () => {
    await host.sh('nft add rule inet reactord user ip daddr "{ 203.0.113.9, 203.0.113.10 }" drop');
    await host.call('reboot');
    await host.call('restore', 'b', {
      exposedPorts: ['80/tcp'],
      portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] },
    });
    expect(await get('http://127.0.0.1:8080/')).toContain('from ');
    expect(await host.sh('nft list chain inet reactord user')).toContain('203.0.113.9');
    const before = await host.call('repairs');
    await host.call('inspectKernel');
    expect(await host.call('repairs')).toBe(before);
    await expect(
      host.up('c', { portBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }] } }),
    ).rejects.toMatchObject({ code: 'port-in-use' });
  });

  it('leave nothing behind', async () => {
    await Promise.all(['a', 'b'].map((name) => host.call('down', name)));
    await host.call('down', 'a');
    expect(await host.sh('ip -br link | grep veth')).toBe('');
    expect(await host.sh(`ls ${directory}/exec/netns; grep -c ${directory}/exec/netns /proc/self/mountinfo`)).toBe('0');
    expect(await host.sh('nft list map inet reactord any4')).not.toContain('elements');
    const pid = await host.call('start', 'busybox nc -l -p 8080');
    await eventually(() => host.sh('busybox netstat -ltn | grep :8080'), { what: 'the freed port' });
    await host.call('kill', pid);
    expect((await host.up('again')).endpoints.bridge!.IPAddress).toBe('172.17.0.2');
    await host.call('down', 'again');
    const events: string[] = await host.call('events');
    expect(events.filter((action) => action === 'connect').length).toBe(
      events.filter((action) => action === 'disconnect').length,
    );
  });
});
