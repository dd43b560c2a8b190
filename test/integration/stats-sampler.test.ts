import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { ContainerRecord } from '../../src/container/record.ts';
import { readHostFacts } from '../../src/host/facts.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { Task } from '../../src/runtime/port.ts';
import { createSampler } from '../../src/stats/sampler.ts';
import { ContainerStats } from '../../src/stats/service.ts';
import { eventually } from '../support/eventually.ts';

test('a process in a cgroup of its own is measured, streamed, listed by top, and forgotten when nobody looks', async () => {
  const host = await readHostFacts({ cgroupDriver: 'cgroupfs' });
  const parent = `stats-test-${process.pid}`;
  const mounts = [...new Set(Object.values(host.cgroup.mounts))];
  const groups = mounts.flatMap((mount) => [join(mount, parent), join(mount, parent, 'c1')]);
  const child = spawn('sh', ['-c', 'read go; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 60'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const record = {
    id: 'c1',
    name: 'box',
    phase: 'running',
    state: { pid: child.pid! },
    hostConfig: { CgroupParent: `/${parent}`, NetworkMode: 'bridge' },
    config: {},
  } as unknown as ContainerRecord;
  const sampler = createSampler({ host, clock: systemClock, log: pino({ level: 'silent' }) });
  const stats = new ContainerStats({
    host,
    sampler,
    config: { cgroupParent: '' },
    containers: {
      resolve: () => record,
      find: () => record,
      task: () => ({ pids: async () => [child.pid!] }) as unknown as Task,
      publish: () => {},
    },
  });
  try {
    for (const group of groups) mkdirSync(group);
    for (const mount of mounts) {
      // A fresh cpuset has no cpus, and takes no process until it has.
      if (mount.endsWith('cpuset')) continue;
      writeFileSync(join(mount, parent, 'c1', 'cgroup.procs'), String(child.pid));
    }
    child.stdin!.write('go\n');
    await eventually(async () => {
      const document: any = await stats.once('box', true, new AbortController().signal);
      expect(document.cpu_stats.cpu_usage.total_usage).toBeGreaterThan(0);
      expect(document.cpu_stats.system_cpu_usage).toBeGreaterThan(document.cpu_stats.cpu_usage.total_usage);
      expect(document.cpu_stats.online_cpus).toBeGreaterThan(0);
      expect(document.memory_stats.usage).toBeGreaterThan(0);
      expect(document.memory_stats.limit).toBe(host.memoryBytes);
      expect(document.pids_stats.current).toBeGreaterThan(0);
      expect(document.precpu_stats.cpu_usage.total_usage).toBe(0);
      return true;
    });

    const gone = new AbortController();
    const other = stats.stream('box', gone.signal)[Symbol.asyncIterator]();
    const first = other.next();
    const seen: any[] = [];
    for await (const document of stats.stream('box', gone.signal)) {
      if (seen.push(document) === 2) break;
    }
    expect(sampler.watched).toBe(1);
    expect(seen[0].preread).toBe('0001-01-01T00:00:00Z');
    expect(seen[1].preread).toBe(seen[0].read);
    expect(seen[1].precpu_stats).toEqual(seen[0].cpu_stats);
    await first;
    const waiting = other.next().then(() => other.next());
    gone.abort();
    expect((await waiting).done).toBe(true);
    expect(sampler.watched).toBe(0);

    const top = await stats.top('box', '');
    expect(top.Titles).toContain('PID');
    expect(top.Processes.map((words) => words[top.Titles.indexOf('PID')])).toEqual([String(child.pid)]);
    await expect(stats.top('box', '-o ppid=PID')).rejects.toThrow('is not allowed');

    record.phase = 'exited';
    expect(await stats.once('box', false, new AbortController().signal)).toMatchObject({
      memory_stats: {},
      pids_stats: {},
    });
    await expect(stats.top('box', '')).rejects.toThrow('container c1 is not running');
  } finally {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    for (const group of groups.reverse()) {
      await eventually(() => {
        rmdirSync(group);
        return true;
      });
    }
  }
});
