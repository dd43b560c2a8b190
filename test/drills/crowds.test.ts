/** Many at once: execs whose container dies, clients that stall or vanish. What was used is given back. */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { admitted } from './support/admitted.ts';
import { expectSameHeap, heap, HEAP_OPTIONS } from './support/heap.ts';
import { expectNothingLeft, removeAll } from './support/kill.ts';
import { usage } from './support/usage.ts';
import { all, tell } from './support/table.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon({ env: { NODE_OPTIONS: HEAP_OPTIONS } });
});
afterAll(() => daemon?.stop());

const descriptors = (): number => usage(daemon).descriptors;
const megabytes = (): number => usage(daemon).megabytes;

describe('execs whose container is killed', () => {
  it('end, each once; no client hangs; the descriptors come back', async () => {
    const rounds = Number(process.env.DRILL_ROUNDS ?? (all ? 20 : 2));
    const crowd = all ? 500 : 40;
    const before = { descriptors: 0, memory: 0, heap: 0 };
    const kills: number[] = [];
    for (let round = 0; round < rounds; round++) {
      daemon.ok('run', '-d', '--name', 'host', daemon.image, 'sleep', '1000');
      const since = Date.now();
      const ids = await Promise.all(
        Array.from({ length: crowd }, async () => {
          const body = { Cmd: ['sleep', '1000'], AttachStdout: true, AttachStderr: true };
          return (await daemon.api<{ Id: string }>('POST', '/containers/host/exec', body)).json.Id;
        }),
      );
      const clients = ids.map((id) => daemon.api('POST', `/exec/${id}/start`, { Detach: false }));
      // Killed while the last of them are still being started.
      await eventually(
        async () => {
          const { json } = await daemon.api<{ Running: boolean }>('GET', `/exec/${ids[Math.floor(crowd / 2)]}/json`);
          return json.Running;
        },
        { within: 120_000 },
      );
      const from = performance.now();
      const { status, text: words } = await daemon.api('POST', '/containers/host/kill');
      expect([status, words]).toEqual([204, '']);
      kills.push(Math.round(performance.now() - from));
      await Promise.all(clients);
      for (const id of ids) {
        await eventually(async () => {
          const { json } = await daemon.api<{ Running: boolean; ExitCode: number | null }>('GET', `/exec/${id}/json`);
          return !json.Running;
        });
      }
      const until = (Date.now() / 1000 + 0.001).toFixed(3);
      const { text } = await daemon.api(
        'GET',
        `/events?since=${since / 1000}&until=${until}&filters={"event":["exec_die"]}`,
      );
      const told = text
        .split('\n')
        .filter(Boolean)
        .map((line) => (JSON.parse(line) as { Actor: { Attributes: { execID: string } } }).Actor.Attributes.execID);
      expect(new Set(told).size).toBe(told.length);
      await removeAll(daemon);
      // The first rounds fill what is kept for the next: compiled code, caches, the journal's pages.
      if (round === Math.floor(rounds / 4))
        Object.assign(before, { descriptors: descriptors(), memory: megabytes(), heap: await heap(daemon) });
    }
    await eventually(() => descriptors() <= before.descriptors * 1.05 + 2, { what: 'the descriptors come back' });
    const after = await expectSameHeap(daemon, before.heap);
    expect(megabytes()).toBeLessThan(before.memory * 1.5);
    tell({
      drill: 7,
      what: 'Concurrent execs while init is killed',
      cases: rounds * crowd,
      outcome:
        'no hung client, each exit told at most once, descriptors and heap back within 5 %; the kill itself is told to who asked for it',
      figures: `${rounds} rounds of ${crowd}, half of them running and half waiting for their start; the longest kill ${Math.max(...kills)} ms; heap ${before.heap.toFixed(1)} → ${after.toFixed(1)} MB, memory ${before.memory} → ${megabytes()} MB`,
      where: ['test/drills/crowds.test.ts'],
    });
  }, 3_600_000);

  it.runIf(all)(
    'whose init is killed from outside: its shim is busy for longer than its deadlines, and ends no neighbour',
    async () => {
      interface Inspected {
        State: { Pid: number; Status: string; ExitCode: number };
      }
      const state = async (name: string): Promise<Inspected['State']> =>
        (await daemon.api<Inspected>('GET', `/containers/${name}/json`)).json.State;
      const shimOf = (pid: number): string => /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]!;
      daemon.ok('run', '-d', '--name', 'neighbour', daemon.image, 'sleep', '1000');
      daemon.ok('run', '-d', '--name', 'host', daemon.image, 'sleep', '1000');
      const neighbour = await state('neighbour');
      const init = (await state('host')).Pid;
      expect(shimOf(init)).toBe(shimOf(neighbour.Pid));
      const ids = await Promise.all(
        Array.from({ length: 80 }, async () => {
          const { json } = await daemon.api<{ Id: string }>('POST', '/containers/host/exec', {
            Cmd: ['sleep', '1000'],
          });
          return json.Id;
        }),
      );
      const clients = ids.map((id) => daemon.api('POST', `/exec/${id}/start`, { Detach: true }));
      const runs = async (id: string): Promise<boolean> =>
        (await daemon.api<{ Running: boolean }>('GET', `/exec/${id}/json`)).json.Running;
      await eventually(() => runs(ids[55]!), { within: 60_000 });
      process.kill(init, 'SIGKILL');
      // Whatever is asked of it meanwhile may run into its deadline.
      await daemon.api('POST', '/containers/neighbour/update', { PidsLimit: 100 });
      await eventually(async () => (await state('host')).Status === 'exited', { within: 120_000 });
      expect((await state('host')).ExitCode).toBe(137);
      await Promise.all(clients);
      await eventually(() => daemon.docker('exec', 'neighbour', 'echo', 'here').stdout === 'here\n', {
        within: 60_000,
      });
      expect(await state('neighbour')).toEqual(neighbour);
      await removeAll(daemon);
    },
    300_000,
  );
});

describe('readers that stall or vanish', () => {
  it('cost bounded memory, and hold up nobody', async () => {
    await removeAll(daemon);
    const crowd = all ? 9_999 : 300;
    const script = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done';
    const flood = 'while :; do seq 1 2000; sleep 0.1; done';
    // One container floods; a reader of another, and of this one, must not notice the crowd.
    daemon.ok('run', '-d', '--name', 'flood', daemon.image, 'sh', '-c', flood);
    daemon.ok('run', '-d', '--name', 'calm', daemon.image, 'sh', '-c', script);
    const before = { fds: descriptors(), heap: await heap(daemon), memory: megabytes() };
    const requests = [
      'GET /containers/flood/logs?follow=1&stdout=1',
      'POST /containers/flood/attach?stream=1&stdout=1',
      // Last: each of the others is an event to all of these.
      'GET /events',
    ];
    const sockets: Socket[] = [];
    for (let i = 0; i < crowd; i++) {
      const socket = await admitted(daemon.socket);
      // It asks and never reads.
      socket.pause().write(`${requests[Math.floor((i * requests.length) / crowd)]} HTTP/1.1\r\nHost: d\r\n\r\n`);
      sockets.push(socket);
    }
    // Who reads a log has it open, too; of what was open before some may have been idle.
    await eventually(() => descriptors() >= before.fds + (crowd * 4) / 3 - 25, {
      within: 60_000,
      what: 'the crowd is connected',
    });
    // Something to miss, for those who wait for events.
    for (let i = 0; i < 100; i++) {
      expect((await daemon.api('POST', '/volumes/create', { Name: `news${i}` })).status).toBe(201);
      expect((await daemon.api('DELETE', `/volumes/news${i}`)).status).toBe(204);
    }
    let peak = megabytes();
    // A third of them vanishes in the middle.
    for (const socket of sockets.filter((_, i) => i % 3 === 0)) socket.destroy();
    const lines = (name: string): number => daemon.ok('logs', '--tail', '5', name).split('\n').length;
    // A line that comes while the tail is read is shown too.
    const last = (): number => Number(daemon.ok('logs', '--tail', '1', 'calm').split('\n').at(-1));
    const from = last();
    await eventually(
      () => {
        peak = Math.max(peak, megabytes());
        return last() > from + 20;
      },
      { within: 60_000, what: 'the calm one is logged meanwhile' },
    );
    expect(lines('flood')).toBeGreaterThanOrEqual(5);
    expect(daemon.ok('exec', 'calm', 'echo', 'here')).toBe('here');
    const each = Math.round(((peak - before.memory) * 1024) / crowd);
    // Whatever the crowd, the heap grows by some before it is swept.
    expect((peak - before.memory) * 1024).toBeLessThan(100 * crowd + 100_000);
    for (const socket of sockets) socket.destroy();
    await eventually(() => descriptors() <= before.fds * 1.05 + 2, {
      within: 60_000,
      what: 'the descriptors come back',
    });
    await removeAll(daemon);
    const after = await expectSameHeap(daemon, before.heap);
    tell({
      drill: 8,
      what: 'Attach, logs and events readers that stall or vanish',
      cases: crowd,
      outcome: 'bounded memory, others unaffected, descriptors and heap back within 5 %',
      figures: `${crowd} readers, ${peak - before.memory} MB more at most, ${each} KB for each; heap ${before.heap.toFixed(1)} → ${after.toFixed(1)} MB`,
      where: ['test/drills/crowds.test.ts'],
    });
  }, 600_000);
});

describe('a crowd', () => {
  it('leaves nothing behind', () => expectNothingLeft(daemon));
});
