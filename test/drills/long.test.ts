/** What comes with the years: thousands of lives, a firewall that is flushed, a clock that jumps, a new build under live containers. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { expectSameHeap, heap, HEAP_OPTIONS } from './support/heap.ts';
import { expectAgreement, expectNothingLeft, removeAll } from './support/kill.ts';
import { all, part, tell } from './support/table.ts';
import { counts, steadyCounts, usage } from './support/usage.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  process.env.NODE_OPTIONS = HEAP_OPTIONS;
  daemon = await startDaemon();
  delete process.env.NODE_OPTIONS;
});
afterAll(() => daemon?.stop());

interface Inspected {
  RestartCount: number;
  State: { Status: string; Running: boolean; Pid: number; Health?: { Status: string; Log: { Start: string }[] } };
}
const inspect = async (name: string): Promise<Inspected> =>
  (await daemon.api<Inspected>('GET', `/containers/${name}/json`)).json;

/** A web server whose port is published. */
const serve = (name: string): string =>
  daemon.ok('run', '-d', '--name', name, '-p', '8080:80', daemon.image, 'httpd', '-f', '-p', '80', '-h', '/etc');
const reached = (): boolean =>
  daemon.inside('curl', '-s', '-m', '2', 'http://127.0.0.1:8080/hostname').stdout.trim().length > 0;

describe('life after life', () => {
  it('grows nothing: descriptors, processes, rules, links, mounts', async () => {
    const cycles = Number(process.env.DRILL_CYCLES ?? (all ? 2000 : 16));
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
    await run(Math.max(clients, Math.min(100, cycles / 4)));
    const first = await steadyCounts(daemon);
    await run(cycles / 4);
    const before = await heap(daemon);
    const memory = usage(daemon).megabytes;
    await run((cycles / 4) * 3);
    let last: Record<string, number> = {};
    await eventually(() => {
      last = counts(daemon);
      return Object.keys(first).every((key) => last[key]! <= first[key]!);
    }).catch(() => expect(last).toEqual(first));
    const after = await expectSameHeap(daemon, before);
    const figures = Object.entries(last).map(([key, n]) => `${n} ${key}`);
    tell({
      drill: 15,
      what: 'Soak: create, start, exec, stop, remove by eight clients',
      cases: cycles,
      outcome:
        'no growth of descriptors, processes, rules, links, mounts, nor of the heap once it is swept (5 %); after the end no cgroup, namespace or directory',
      figures: `${cycles} lives; ${figures.join(', ')}; heap ${before.toFixed(1)} → ${after.toFixed(1)} MB, memory ${memory} → ${usage(daemon).megabytes} MB`,
      where: ['test/drills/long.test.ts', 'test/integration/network-traffic.test.ts'],
    });
  }, 3_600_000);
});

describe('a firewall', () => {
  it('that somebody flushes is made whole again: published ports are reached, no rule comes twice', async () => {
    serve('web');
    await eventually(reached);
    const rules = (): number => daemon.inside('nft', 'list', 'ruleset').stdout.split('\n').length;
    const before = rules();
    const rounds = all ? 5 : 1;
    for (let round = 0; round < rounds; round++) {
      daemon.inside('nft', 'flush', 'ruleset');
      expect(rules()).toBeLessThan(before);
      await eventually(() => rules() === before && reached(), { within: 30_000, what: 'the rules are back' });
    }
    await removeAll(daemon);
    tell({
      drill: 15,
      what: 'The firewall is flushed under containers that publish ports',
      cases: rounds,
      outcome: 'all rules are back by themselves, none twice; the ports are reached',
      where: ['test/drills/long.test.ts'],
    });
  });
});

/** Loaded before the daemon: its wall clock is off by the milliseconds in a file. Timers go on as they do when somebody sets a clock. */
const JUMPING = (file: string): string => `
import { readFileSync } from 'node:fs';
const Real = Date;
const offset = () => { try { return Number(readFileSync(${JSON.stringify(file)}, 'utf8')) } catch { return 0 } };
globalThis.Date = class Date extends Real {
  constructor(...args) { super(...(args.length ? args : [Real.now() + offset()])) }
  static now() { return Real.now() + offset() }
};
`;

describe('a clock', () => {
  afterEach(() => delete process.env.NODE_OPTIONS);

  it('that jumps, forward and back, ends no wait, stops no health check and no restart, and events keep their order', async () => {
    const file = join(daemon.directory, 'offset');
    const preload = join(daemon.directory, 'jump.mjs');
    writeFileSync(preload, JUMPING(file));
    process.env.NODE_OPTIONS = `--import=${preload}`;
    await daemon.restart();
    const events = daemon.spawnDocker('events', '--format', '{{.TimeNano}} {{.Action}}');
    let told = '';
    events.stdout!.on('data', (chunk: Buffer) => (told += chunk.toString()));
    await eventually(async () => {
      await daemon.api('POST', '/volumes/create', { Name: 'first' });
      await daemon.api('DELETE', '/volumes/first');
      return told !== '';
    });
    told = '';
    const healthy = {
      Image: daemon.image,
      Cmd: ['sleep', '1000'],
      Healthcheck: { Test: ['CMD', 'true'], Interval: 100_000_000 },
    };
    await daemon.api('POST', '/containers/create?name=healthy', healthy);
    await daemon.api('POST', '/containers/healthy/start');
    daemon.ok('run', '-d', '--name', 'loop', '--restart', 'always', daemon.image, 'sleep', '0.2');
    const waiting = daemon.api('POST', '/containers/healthy/wait');
    const HOUR = 3_600_000;
    const jumps = all ? [24 * HOUR, -48 * HOUR, 10_000, -10_000, 400 * 24 * HOUR, 0] : [24 * HOUR, -48 * HOUR];
    for (const jump of jumps) {
      writeFileSync(file, String(jump));
      const restarts = (await inspect('loop')).RestartCount;
      const probe = (await inspect('healthy')).State.Health!.Log.at(-1)?.Start;
      const deaf = ['sh', '-c', "trap '' TERM; while :; do sleep 1; done"];
      daemon.ok('run', '-d', '--name', 'deaf', daemon.image, ...deaf);
      daemon.ok('stop', '-t', '1', 'deaf');
      daemon.ok('rm', 'deaf');
      expect(daemon.ok('run', '--rm', daemon.image, 'echo', 'works')).toBe('works');
      await eventually(async () => (await inspect('loop')).RestartCount > restarts, {
        within: 90_000,
        what: `it is restarted after a jump of ${jump} ms`,
      });
      await eventually(async () => (await inspect('healthy')).State.Health!.Log.at(-1)?.Start !== probe);
      expect((await inspect('healthy')).State.Health!.Status).toBe('healthy');
    }
    expect(await Promise.race([waiting.then(() => 'ended'), Promise.resolve('waits')])).toBe('waits');
    await removeAll(daemon);
    await waiting;
    await eventually(() => told.split(' destroy\n').length > jumps.length + 2);
    events.kill();
    const times = told
      .split('\n')
      .filter(Boolean)
      .map((line) => BigInt(line.split(' ')[0]!));
    expect(times.every((time, i) => i === 0 || time > times[i - 1]!)).toBe(true);
    delete process.env.NODE_OPTIONS;
    await daemon.restart();
    tell({
      drill: 15,
      what: 'The wall clock jumps, by days, forward and back',
      cases: jumps.length,
      outcome: 'waits, graces, health checks and restarts go by the time that passes; events stay in order',
      where: ['test/drills/long.test.ts'],
    });
  }, 600_000);
});

describe('a new build', () => {
  it.each(part(['killed', 'told to leave containers alone'] as const, 1))(
    'takes over from one that was %s: containers, their ports, their logs and execs go on',
    async (how) => {
      delete process.env.REACTORD_SOURCES;
      await daemon.restart('--live-restore');
      serve('web');
      const script = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done';
      daemon.ok('run', '-d', '--name', 'writer', daemon.image, 'sh', '-c', script);
      daemon.ok('exec', '-d', 'writer', 'sleep', '1000');
      const pids = [(await inspect('web')).State.Pid, (await inspect('writer')).State.Pid];
      const lines = (): number[] => daemon.ok('logs', 'writer').split('\n').filter(Boolean).map(Number);
      await eventually(() => lines().length > 20);
      const old = daemon.pid();
      if (how === 'killed') await daemon.kill();
      else await daemon.terminate();
      // The sources themselves are the other build.
      process.env.REACTORD_SOURCES = '1';
      try {
        await daemon.restart('--live-restore');
        expect(daemon.pid()).not.toBe(old);
        expect([(await inspect('web')).State.Pid, (await inspect('writer')).State.Pid]).toEqual(pids);
        await expectAgreement(daemon);
        await eventually(reached);
        const before = lines().length;
        await eventually(() => lines().length > before + 20);
        const gaps = lines().map((line, i, list) => line - (list[i - 1] ?? -1) - 1);
        // A line that a killed daemon had in its hands is gone with it.
        expect(gaps.filter((gap) => gap !== 0).length).toBeLessThanOrEqual(how === 'killed' ? 1 : 0);
        expect(gaps.every((gap) => gap === 0 || gap === 1)).toBe(true);
        expect(daemon.ok('exec', 'writer', 'echo', 'here')).toBe('here');
        daemon.ok('stop', '-t', '0', 'web');
        daemon.ok('start', 'web');
        await eventually(reached);
        await removeAll(daemon);
      } finally {
        delete process.env.REACTORD_SOURCES;
      }
    },
  );

  it('leaves nothing behind, nor does anything above', async () => {
    await daemon.restart();
    expect(existsSync(daemon.socket)).toBe(true);
    await expectNothingLeft(daemon);
    tell({
      drill: 15,
      what: 'Another build takes over live containers',
      cases: all ? 2 : 1,
      outcome: 'the same processes; ports, logs, execs and commands go on',
      where: ['test/drills/long.test.ts', 'test/vm'],
    });
  });
});
