import { describe, expect, test } from 'vitest';
import { cgroupDirectory, parseProcCgroup } from '../../src/stats/cgroup.ts';
import { type Sample, NO_BLKIO, NO_CPU, statsDocument } from '../../src/stats/document.ts';
import { blkioEntries, flatKeyed, interfaces, ioStat, singleNumber, systemCpu } from '../../src/stats/parse.ts';
import { checkPsArguments, parsePs } from '../../src/stats/top.ts';

describe('the kernel’s texts', () => {
  test('numbers, "max" for none', () => {
    expect([singleNumber('42\n'), singleNumber('max\n'), singleNumber('')]).toEqual([42, undefined, undefined]);
    expect(flatKeyed('cache 1\nrss 22\nodd\n')).toEqual({ cache: 1, rss: 22 });
  });

  test('block devices of v1, without the total over all, and of v2', () => {
    expect(blkioEntries('8:0 Read 10\n8:0 Total 15\nTotal 15\n')).toEqual([
      { major: 8, minor: 0, op: 'Read', value: 10 },
      { major: 8, minor: 0, op: 'Total', value: 15 },
    ]);
    expect(ioStat('254:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n')).toEqual({
      bytes: [
        { major: 254, minor: 0, op: 'read', value: 4096 },
        { major: 254, minor: 0, op: 'write', value: 0 },
      ],
      operations: [
        { major: 254, minor: 0, op: 'read', value: 1 },
        { major: 254, minor: 0, op: 'write', value: 0 },
      ],
    });
  });

  test('interfaces without the loopback', () => {
    const head = 'Inter-| Receive | Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes …\n';
    const lines = '    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0:100 2 1 3 0 0 0 0 200 4 5 6 0 0 0 0\n';
    expect(interfaces(head + lines)).toEqual({
      eth0: {
        rx_bytes: 100,
        rx_packets: 2,
        rx_errors: 1,
        rx_dropped: 3,
        tx_bytes: 200,
        tx_packets: 4,
        tx_errors: 5,
        tx_dropped: 6,
      },
    });
    expect(interfaces(head)).toBeUndefined();
  });

  test('the system’s time is all cpus’ together, in nanoseconds', () => {
    expect(systemCpu('cpu  1 2 3 4 0 0 0 9 9 9\ncpu0 1 1 1 1\ncpu1 0 1 2 3\nintr 5\n')).toEqual({
      usage: 100_000_000,
      cpus: 2,
    });
  });

  test('cgroup paths of cgroupfs, systemd and /proc', () => {
    expect(cgroupDirectory('/docker/abc')).toBe('/docker/abc');
    expect(cgroupDirectory('system.slice:docker:abc')).toBe('/system.slice/docker-abc.scope');
    expect(cgroupDirectory('a-b.slice:docker:abc')).toBe('/a.slice/a-b.slice/docker-abc.scope');
    expect([...parseProcCgroup('4:cpu,cpuacct:/x\n1:name=systemd:/y\n0::/z\n')]).toEqual([
      ['cpu', '/x'],
      ['cpuacct', '/x'],
      ['systemd', '/y'],
      ['', '/z'],
    ]);
  });
});

test('the first document has empty pre fields, later ones the sample before', () => {
  const sample = (read: string, total: number): Sample => ({
    read,
    pids: { current: 1 },
    blkio: NO_BLKIO,
    cpu: { ...NO_CPU, cpu_usage: { ...NO_CPU.cpu_usage, total_usage: total } },
    memory: {},
    networks: undefined,
  });
  const box = { id: 'i', name: 'n' };
  const first = statsDocument(box, sample('t1', 5));
  expect(first).toMatchObject({
    name: '/n',
    read: 't1',
    preread: '0001-01-01T00:00:00Z',
    precpu_stats: { cpu_usage: { total_usage: 0 } },
  });
  expect(first).not.toHaveProperty('networks');
  expect(statsDocument(box, sample('t2', 9), sample('t1', 5))).toMatchObject({
    preread: 't1',
    precpu_stats: { cpu_usage: { total_usage: 5 } },
  });
  expect(statsDocument(box, undefined)).toMatchObject({ id: 'i', read: '0001-01-01T00:00:00Z', memory_stats: {} });
});

describe('ps', () => {
  test('keeps the container’s processes and their threads, and the spaces of commands', () => {
    const output =
      'UID   PID  PPID CMD\nroot    7     1 sleep 1 2\nroot    -     - thread\nroot   17     1 other\nroot    -     - theirs\n';
    expect(parsePs(output, new Set([7]))).toEqual({
      Titles: ['UID', 'PID', 'PPID', 'CMD'],
      Processes: [
        ['root', '7', '1', 'sleep 1 2'],
        ['root', '-', '-', 'thread'],
      ],
    });
    expect(() => parsePs('UID CMD\n', new Set())).toThrow("Couldn't find PID field in ps output");
  });

  test('no other column may call itself PID', () => {
    expect(() => checkPsArguments('-o ppid=PID')).toThrow('specifying "ppid=PID" is not allowed');
    expect(() => checkPsArguments('-o pid=PID,user')).not.toThrow();
  });
});
