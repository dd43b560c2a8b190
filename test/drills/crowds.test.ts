/** Many at once, and for long: execs whose container dies, clients that stall or vanish, life after life. What was used is given back. */
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { expectNothingLeft, removeAll } from './support/kill.ts';
import { all, tell } from './support/table.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(() => daemon?.stop());

const descriptors = (): number => readdirSync(`/proc/${daemon.pid()}/fd`).length;
const megabytes = (): number =>
  Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${daemon.pid()}/status`, 'utf8'))![1]) / 1024);
const childProcesses = (): number =>
  readFileSync(`/proc/${daemon.pid()}/task/${daemon.pid()}/children`, 'utf8').split(' ').filter(Boolean).length;

describe('execs whose container is killed', () => {
  it('end, each once; no client hangs; the descriptors come back', async () => {
    const rounds = all ? 8 : 2;
    const crowd = all ? 60 : 25;
    const before: number[] = [];
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
        { within: 60_000 },
      );
      daemon.ok('kill', 'host');
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
      if (round === 0) before.push(await eventually(() => descriptors()));
    }
    await eventually(() => descriptors() <= before[0]! * 1.05 + 2, { what: 'the descriptors come back' });
    tell({
      drill: 7,
      what: 'Concurrent execs while init is killed',
      cases: rounds * crowd,
      outcome: 'no hung client, each exit told at most once, descriptors back',
      figures: `${rounds} rounds of ${crowd}`,
      where: ['test/drills/crowds.test.ts'],
    });
  }, 600_000);
});

describe('readers that stall or vanish', () => {
  it('cost bounded memory, and hold up nobody', async () => {
    await removeAll(daemon);
    const crowd = all ? 900 : 90;
    // One container floods; a reader of another, and of this one, must not notice the crowd.
    daemon.ok('run', '-d', '--name', 'flood', daemon.image, 'sh', '-c', 'while :; do seq 1 2000; sleep 0.1; done');
    daemon.ok(
      'run',
      '-d',
      '--name',
      'calm',
      daemon.image,
      'sh',
      '-c',
      'i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done',
    );
    const before = { fds: descriptors(), memory: megabytes() };
    const requests = [
      'POST /containers/flood/attach?stream=1&stdout=1',
      'GET /containers/flood/logs?follow=1&stdout=1',
      'GET /events',
    ];
    const sockets: Socket[] = [];
    for (let i = 0; i < crowd; i++) {
      const socket = connect(daemon.socket).on('error', () => {});
      // It asks and never reads.
      socket.pause().write(`${requests[i % requests.length]} HTTP/1.1\r\nHost: d\r\n\r\n`);
      sockets.push(socket);
    }
    await eventually(() => descriptors() >= before.fds + crowd * 0.9, {
      within: 60_000,
      what: 'the crowd is connected',
    });
    // A third of them vanishes in the middle.
    for (const socket of sockets.filter((_, i) => i % 3 === 0)) socket.destroy();
    const lines = (name: string): number => daemon.ok('logs', '--tail', '5', name).split('\n').length;
    // A line that comes while the tail is read is shown too.
    const last = (): number => Number(daemon.ok('logs', '--tail', '1', 'calm').split('\n').at(-1));
    const from = last();
    await eventually(() => last() > from + 20, { within: 60_000, what: 'the calm one is logged meanwhile' });
    expect(lines('flood')).toBeGreaterThanOrEqual(5);
    expect(daemon.ok('exec', 'calm', 'echo', 'here')).toBe('here');
    const memory = megabytes();
    expect(memory - before.memory, 'MB more for all').toBeLessThan(150 + crowd);
    for (const socket of sockets) socket.destroy();
    await eventually(() => descriptors() <= before.fds + 5, { within: 60_000, what: 'the descriptors come back' });
    await removeAll(daemon);
    tell({
      drill: 8,
      what: 'Attach, logs and events readers that stall or vanish',
      cases: crowd,
      outcome: 'bounded memory, others unaffected, descriptors back',
      figures: `${crowd} readers, ${memory - before.memory} MB more at most: below one for each`,
      where: ['test/drills/crowds.test.ts'],
    });
  }, 300_000);
});

describe('life after life', () => {
  it('grows nothing: descriptors, processes, rules, links', async () => {
    const cycles = Number(process.env.DRILL_CYCLES ?? (all ? 400 : 24));
    const clients = 8;
    const cycle = async (name: string): Promise<void> => {
      const post = async (path: string, body?: object, wanted = [204]): Promise<any> => {
        const answer = await daemon.api('POST', path, body);
        expect(wanted, `${path}: ${answer.text}`).toContain(answer.status);
        return answer.text.startsWith('{') ? answer.json : undefined;
      };
      await post(`/containers/create?name=${name}`, { Image: daemon.image, Cmd: ['sleep', '1000'] }, [201]);
      await post(`/containers/${name}/start`);
      const { Id } = await post(`/containers/${name}/exec`, { Cmd: ['true'], AttachStdout: true }, [201]);
      await post(`/exec/${Id}/start`, {}, [200]);
      await post(`/containers/${name}/stop?t=0`);
      expect((await daemon.api('DELETE', `/containers/${name}`)).status).toBe(204);
    };
    const run = async (count: number): Promise<void> => {
      let left = count;
      const client = async (id: number): Promise<void> => {
        while (left-- > 0) await cycle(`life${id}`);
      };
      await Promise.all(Array.from({ length: clients }, (_, id) => client(id)));
    };
    const measure = (): Record<string, number> => ({
      descriptors: descriptors(),
      processes: childProcesses(),
      rules: daemon.inside('nft', '-a', 'list', 'ruleset').stdout.split('\n').length,
      links: daemon.inside('ip', '-o', 'link').stdout.split('\n').length,
      mounts: readFileSync('/proc/self/mounts', 'utf8')
        .split('\n')
        .filter((line) => line.includes(daemon.directory)).length,
    });
    await run(Math.max(clients, cycles / 4));
    const first = await steady(measure);
    const memory = megabytes();
    await run(cycles);
    let last: Record<string, number> = {};
    await eventually(() => {
      last = measure();
      return Object.keys(first).every((key) => last[key]! <= first[key]!);
    }).catch(() => expect(last).toEqual(first));
    tell({
      drill: 15,
      what: 'Soak: create, start, exec, stop, remove by eight clients',
      cases: cycles,
      outcome:
        'no growth of descriptors, processes, rules, links, mounts; after the end no cgroup, namespace or directory',
      figures: `${cycles} lives; ${Object.entries(last)
        .map(([key, n]) => `${n} ${key}`)
        .join(', ')}; memory ${memory} → ${megabytes()} MB`,
      where: ['test/drills/crowds.test.ts', 'test/integration/network-traffic.test.ts'],
    });
  }, 1_200_000);

  it('leaves nothing behind', () => expectNothingLeft(daemon));
});

/** The measures once idle shims and spare parts have come to rest: the same over a while. */
async function steady(measure: () => Record<string, number>): Promise<Record<string, number>> {
  let last = '';
  let same = 0;
  await eventually(
    () => {
      const now = JSON.stringify(measure());
      same = now === last ? same + 1 : 0;
      last = now;
      return same >= 20;
    },
    { within: 40_000, what: 'the daemon is at rest' },
  );
  return JSON.parse(last) as Record<string, number>;
}
