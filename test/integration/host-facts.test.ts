import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { capabilitiesOf } from '../../src/host/capabilities.ts';
import { parseCpuList } from '../../src/host/cgroup.ts';
import { parseOsRelease, readHostFacts } from '../../src/host/facts.ts';
import { mountOf, parseMountInfo } from '../../src/host/mountinfo.ts';
import { readCgroupStats } from '../../src/stats/cgroup.ts';

test('the machine this runs on has a cgroup tree, capabilities, processors and memory', async () => {
  const facts = await readHostFacts({ cgroupDriver: '' });
  expect(facts.cgroup.controllers.size).toBeGreaterThan(0);
  expect(Object.keys(facts.cgroup.mounts).length).toBeGreaterThan(0);
  expect(facts.capabilities).toContain('CAP_SYS_ADMIN');
  expect(facts.cpus).toBeGreaterThan(0);
  expect(facts.memoryBytes).toBeGreaterThan(1 << 20);
  expect(parseCpuList(facts.cpuset!.cpus)?.size).toBeGreaterThan(0);
  expect((await readHostFacts({ cgroupDriver: 'systemd' })).cgroup.driver).toBe('systemd');
});

test('the kernel’s lists and tables are read as they are written', () => {
  expect([...parseCpuList('0-2,7')!]).toEqual([0, 1, 2, 7]);
  expect([parseCpuList('2-1'), parseCpuList('x'), parseCpuList('1-')]).toEqual([undefined, undefined, undefined]);
  expect(capabilitiesOf('0000000000000003')).toEqual(['CAP_CHOWN', 'CAP_DAC_OVERRIDE']);
  expect(parseOsRelease('NAME="X"\nPRETTY_NAME="A \\"B\\""\nVERSION_ID=12\n')).toEqual({
    name: 'A "B"',
    version: '12',
  });
  const table = parseMountInfo(
    '22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n' +
      '30 22 0:5 / /mnt/a\\040b ro,nodev master:3 - tmpfs none rw,size=1k\n' +
      '31 22 0:6 / /mnt/a\\040b rw - tmpfs none rw\n',
  );
  expect(table[1]).toMatchObject({ target: '/mnt/a b', propagation: 'slave', type: 'tmpfs', options: ['ro', 'nodev'] });
  expect(mountOf(table, '/mnt/a b/c')?.id).toBe(31);
  expect(mountOf(table, '/mnt/a')?.propagation).toBe('shared');
});

test('a cgroup of version 2 is told in Docker’s terms', async () => {
  const root = mkdtempSync(join(tmpdir(), 'host-facts-'));
  const files = {
    'cpu.stat': 'usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 4\nnr_throttled 1\nthrottled_usec 7\n',
    'memory.current': '4096\n',
    'memory.max': 'max\n',
    'memory.stat': 'anon 1024\ninactive_file 512\n',
    'memory.events': 'low 0\noom 2\noom_kill 1\n',
    'io.stat': '8:0 rbytes=1 wbytes=2 rios=3 wios=4\n',
    'pids.current': '3\n',
    'pids.max': '10\n',
  };
  try {
    mkdirSync(join(root, 'docker/c1'), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, 'docker/c1', name), text);
    const cgroup = {
      version: 2 as const,
      driver: 'cgroupfs' as const,
      controllers: new Set<string>(),
      mounts: { unified: root },
    };
    const stats = await readCgroupStats({ cgroup, memoryBytes: 1 << 30 }, { cgroupsPath: '/docker/c1', pid: 0 });
    expect(stats).toMatchObject({
      cpu: {
        cpu_usage: { total_usage: 1_500_000, usage_in_kernelmode: 500_000, usage_in_usermode: 1_000_000 },
        throttling_data: { periods: 4, throttled_periods: 1, throttled_time: 7000 },
      },
      memory: { usage: 4096, limit: 1 << 30, failcnt: 2, stats: { inactive_file: 512 } },
      pids: { current: 3, limit: 10 },
    });
    expect(stats.blkio.io_service_bytes_recursive).toHaveLength(2);
    expect(stats.cpu.cpu_usage).not.toHaveProperty('percpu_usage');
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
