/**
 * What containers do while nobody looks after them: they write, end, run out of memory; their shims die; whole crowds wait to be
 * found again. One daemon for all, killed and started again.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { expectAgreement, expectNothingLeft, removeAll } from './support/kill.ts';
import { all, tell } from './support/table.ts';

let daemon: TestDaemon;
let shared: string;
beforeAll(async () => {
  daemon = await startDaemon();
  shared = join(daemon.directory, 'shared');
  mkdirSync(shared);
});
afterAll(() => daemon?.stop());

interface Inspected {
  Id: string;
  RestartCount: number;
  State: { Status: string; Running: boolean; Pid: number; ExitCode: number; OOMKilled: boolean; FinishedAt: string };
}
const inspect = async (name: string): Promise<Inspected> =>
  (await daemon.api<Inspected>('GET', `/containers/${name}/json`)).json;
const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}/fd/0`);
const parentOf = (pid: number): number =>
  Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
const start = (name: string, script: string, ...flags: string[]): string =>
  daemon.ok('run', '-d', '--name', name, '-v', `${shared}:/shared`, ...flags, daemon.image, 'sh', '-c', script);

interface Told {
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
}
const eventsOf = async (action: string, since: number): Promise<Told[]> => {
  const filters = encodeURIComponent(JSON.stringify({ event: [action] }));
  const until = (Date.now() / 1000 + 0.001).toFixed(3);
  const { text } = await daemon.api(
    'GET',
    `/events?since=${(since / 1000).toFixed(3)}&until=${until}&filters=${filters}`,
  );
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Told);
};

describe('while the daemon is down', () => {
  it('containers go on writing: none comes twice, and none is missing but a line that the daemon had in its hands when it was killed', async () => {
    await removeAll(daemon);
    const writers = all ? 20 : 4;
    /** Lines during the outage; about thirty seconds of them when all is drilled. */
    const enough = all ? 300 : 150;
    const names = Array.from({ length: writers }, (_, i) => `writer${i}`);
    for (const name of names)
      start(name, `i=0; while :; do echo $i; echo $i >/shared/${name}; i=$((i+1)); sleep ${all ? 0.1 : 0.01}; done`);
    const written = (name: string): number => Number(readFileSync(join(shared, name), 'utf8'));
    await eventually(() => names.every((name) => existsSync(join(shared, name)) && written(name) > 20));
    await daemon.kill();
    const goals = new Map(names.map((name) => [name, written(name) + enough]));
    await eventually(() => names.every((name) => written(name) > goals.get(name)!), { within: 200_000 });
    await daemon.restart();
    const later = new Map(names.map((name) => [name, written(name) + 20]));
    await eventually(() => names.every((name) => written(name) > later.get(name)!));
    let inHand = 0;
    for (const name of names) {
      expect((await inspect(name)).State.Running).toBe(true);
      const last = later.get(name)!;
      const lines = await eventually(() => {
        const read = daemon.ok('logs', name).split('\n');
        return read.length > last ? read : undefined;
      });
      const gaps = lines.map(Number).map((line, i, all) => line - (all[i - 1] ?? -1) - 1);
      // A line is in hand between read(2) of the pipe and write(2) of the log: at most one, as they come one by one.
      expect(
        gaps.every((gap) => gap === 0 || gap === 1),
        name,
      ).toBe(true);
      const lost = gaps.filter((gap) => gap === 1).length;
      expect(lost, name).toBeLessThanOrEqual(1);
      inHand += lost;
    }
    await removeAll(daemon);
    tell({
      drill: 2,
      what: 'Numbered lines over an outage',
      cases: writers,
      outcome: 'all alive, no duplicate, no gap but a line in hand at the kill',
      figures: `${enough} lines or more by each of ${writers} containers while the daemon was down; ${inHand} lines were in hand`,
      where: ['test/drills/outages.test.ts'],
    });
  }, 300_000);

  it('containers end: exact codes and times, one die each, policies obeyed', async () => {
    const go = join(shared, 'go');
    const wait = 'while [ ! -e /shared/go ]; do sleep 0.05; done';
    const endings: Record<string, { script: string; code: number; flags?: string[] }> = {
      zero: { script: 'exit 0', code: 0 },
      three: { script: 'exit 3', code: 3 },
      killed: { script: 'kill -9 $$; sleep 1000', code: 137 },
      oom: { script: 'tail /dev/zero', code: 137, flags: ['-m', '16m'] },
    };
    const policies: Record<string, { script: string; policy: string; again: boolean }> = {
      always: { script: 'exit 0', policy: 'always', again: true },
      unless: { script: 'exit 3', policy: 'unless-stopped', again: true },
      failing: { script: 'exit 3', policy: 'on-failure:5', again: true },
      content: { script: 'exit 0', policy: 'on-failure:5', again: false },
    };
    // The shell of "killed" must not be init, which takes no signal of its own.
    for (const [name, { script, flags }] of Object.entries(endings)) {
      const text =
        name === 'killed'
          ? `(${wait}; exit 0); sh -c 'kill -9 $$'; exit $?`
          : name === 'oom'
            ? `${wait}; exec ${script}`
            : `${wait}; ${script}`;
      start(name, text, ...(flags ?? []));
    }
    // Those that come back stay: the file is there by then.
    for (const [name, { script, policy }] of Object.entries(policies))
      start(name, `[ -e /shared/go ] && exec sleep 1000; ${wait}; ${script}`, '--restart', policy);
    const names = [...Object.keys(endings), ...Object.keys(policies)];
    const pids = new Map<string, number>();
    for (const name of names) pids.set(name, (await inspect(name)).State.Pid);
    await daemon.kill();
    const since = Date.now();
    writeFileSync(go, '');
    // Not even a zombie: the shim has seen the end.
    await eventually(() => [...pids.values()].every((pid) => !existsSync(`/proc/${pid}`)), { within: 30_000 });
    const ended = Date.now();
    await daemon.restart();
    for (const [name, { code }] of Object.entries(endings)) {
      const seen = await eventually(async () => {
        const found = await inspect(name);
        return found.State.Running ? undefined : found;
      });
      expect([name, seen.State.Status, seen.State.ExitCode]).toEqual([name, 'exited', code]);
      expect(Date.parse(seen.State.FinishedAt)).toBeGreaterThanOrEqual(since - 1);
      expect(Date.parse(seen.State.FinishedAt)).toBeLessThanOrEqual(ended + 100);
    }
    for (const [name, { again }] of Object.entries(policies)) {
      if (again) await eventually(async () => (await inspect(name)).State.Running, { what: `${name} comes back` });
      else expect((await inspect(name)).State.Status).toBe('exited');
    }
    const dies = await eventsOf('die', since);
    for (const name of names)
      expect([name, dies.filter(({ Actor }) => Actor.Attributes.name === name).length]).toEqual([name, 1]);
    await removeAll(daemon);
    tell({
      drill: 3,
      what: 'Exits while down: 0, 3, 137, out of memory, and with each restart policy',
      cases: names.length,
      outcome: 'exact codes, times within the outage, one die each, policies obeyed',
      where: ['test/drills/outages.test.ts'],
    });
  });

  it('all are found again', async () => {
    const crowd = all ? 200 : 12;
    const created: string[] = [];
    for (let i = 0; i < crowd; i++) {
      const body = {
        Image: daemon.image,
        Cmd: ['sleep', '1000'],
        HostConfig: { NetworkMode: i % 10 ? 'none' : 'bridge' },
      };
      created.push((await daemon.api<{ Id: string }>('POST', '/containers/create', body)).json.Id);
    }
    const ids = [...created];
    const worker = async (): Promise<void> => {
      for (let id = ids.shift(); id; id = ids.shift())
        expect((await daemon.api('POST', `/containers/${id}/start`)).status).toBe(204);
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
    await daemon.kill();
    const from = performance.now();
    await daemon.restart();
    const took = Math.round(performance.now() - from);
    const found = await expectAgreement(daemon);
    expect(found.filter(({ State }) => State.Running).length).toBe(crowd);
    await removeAll(daemon);
    tell({
      drill: 1,
      what: 'A crowd is found again after kill -9',
      cases: crowd,
      outcome: 'all running, each confirmed by the kernel',
      figures: `${crowd} containers: the daemon serves ${took} ms after its start`,
      where: ['test/drills/outages.test.ts'],
    });
  }, 300_000);
});

describe('a shim that is killed', () => {
  it('ends its containers, once each, and touches no other shim', async () => {
    const names = Array.from({ length: all ? 30 : 14 }, (_, i) => `member${i}`);
    for (const name of names) start(name, 'exec sleep 1000');
    const pids = new Map<string, number>();
    for (const name of names) pids.set(name, (await inspect(name)).State.Pid);
    const shims = new Map<number, string[]>();
    for (const [name, pid] of pids) shims.set(parentOf(pid), [...(shims.get(parentOf(pid)) ?? []), name]);
    expect(shims.size).toBeGreaterThan(1);
    const [victim, group] = [...shims].sort((a, b) => b[1].length - a[1].length)[0]!;
    const since = Date.now();
    process.kill(victim, 'SIGKILL');
    for (const name of group) {
      await eventually(async () => (await inspect(name)).State.Status === 'exited', { what: `${name} has ended` });
      expect((await inspect(name)).State.ExitCode).toBe(137);
      await eventually(() => !isAlive(pids.get(name)!), { what: `the process of ${name} is killed` });
    }
    for (const name of names.filter((each) => !group.includes(each)))
      expect([name, (await inspect(name)).State.Running, isAlive(pids.get(name)!)]).toEqual([name, true, true]);
    const dies = (await eventsOf('die', since)).map(({ Actor }) => Actor.Attributes.name);
    expect(dies.sort()).toEqual([...group].sort());
    await removeAll(daemon);
    tell({
      drill: 4,
      what: 'A shim is killed, single and grouped',
      cases: group.length,
      outcome: 'every exit of its group seen once as 137, their processes killed, other shims untouched',
      figures: `${shims.size} shims, ${group.length} containers in the one killed`,
      where: ['test/drills/outages.test.ts', 'test/integration/runtime-hazards.test.ts'],
    });
  });

  it('leaves nothing behind, nor does anything above', () => expectNothingLeft(daemon));
});
