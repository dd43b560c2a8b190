/** What was answered is true: over power cuts, and against a model of a few lines over long random walks with kills in between. */
import { appendFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { watchDisk } from './support/disk.ts';
import { expectAgreement, expectNothingLeft, removeAll } from './support/kill.ts';
import { chance, seed } from './support/seeded.ts';
import { all, tell } from './support/table.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(() => daemon?.stop());

describe('a power cut', () => {
  it('loses nothing that was acknowledged, and leaves a sound database, whatever became of what no sync had reached', async () => {
    const by = chance();
    const { below, pick } = by;
    const cuts = all ? 40 : 3;
    const known = { containers: new Set<string>(), volumes: new Set<string>(), networks: new Set<string>() };
    const database = join(daemon.dataRoot, 'reactord.db');
    let acknowledged = 0;
    let torn = 0;
    let bytes = 0;
    for (let cut = 0; cut < cuts; cut++) {
      const command = async (i: number): Promise<void> => {
        const name = `p${cut}x${i}`;
        const kind = pick(['containers', 'volumes', 'networks'] as const);
        const path = kind === 'containers' ? `/containers/create?name=${name}` : `/${kind}/create`;
        const body = kind === 'containers' ? { Image: daemon.image, Cmd: ['true'] } : { Name: name };
        const { status, text } = await daemon.api('POST', path, body);
        if (status === 201) known[kind].add(name);
        else if (!text.includes('predefined address pools')) throw new Error(`${status} ${text}`);
        acknowledged++;
      };
      const disk = await watchDisk(
        daemon.pid(),
        [database, `${database}-wal`],
        join(daemon.directory, `strace-${cut}`),
      );
      // Clients that never rest: in the turn of an answer others have written, and wait for their sync.
      let left = 3 + below(12);
      const enough = Promise.withResolvers<void>();
      const clients = Array.from({ length: 4 }, async (_, client) => {
        for (let i = 0; left > 0; i++) {
          await command(client * 100 + i);
          if (--left <= 0) enough.resolve();
        }
      });
      await Promise.race([enough.promise, Promise.all(clients)]);
      await daemon.kill();
      await Promise.allSettled(clients);
      const lost = await disk.cut(by);
      bytes += lost;
      if (lost) torn++;
      // A page that was being written, and an index that never reached the disk.
      if (below(2)) appendFileSync(`${database}-wal`, Buffer.alloc(below(5000), 0xa5));
      rmSync(`${database}-shm`, { force: true });
      await daemon.restart();
      expect(daemon.log()).not.toContain('was damaged');
      const names = daemon.ok('ps', '-a', '--format', '{{.Names}}').split('\n');
      const volumes = daemon.ok('volume', 'ls', '-q').split('\n');
      const networks = daemon.ok('network', 'ls', '--format', '{{.Name}}').split('\n');
      expect([...known.containers].filter((name) => !names.includes(name))).toEqual([]);
      expect([...known.volumes].filter((name) => !volumes.includes(name))).toEqual([]);
      expect([...known.networks].filter((name) => !networks.includes(name))).toEqual([]);
      for (const name of networks.filter((each) => each.startsWith('p'))) daemon.ok('network', 'rm', name);
      known.networks.clear();
    }
    // Else nothing was tried.
    expect(torn).toBeGreaterThan(0);
    await removeAll(daemon);
    daemon.ok('volume', 'prune', '-af');
    await daemon.terminate();
    const opened = new DatabaseSync(database);
    expect(opened.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
    opened.close();
    await daemon.restart();
    tell({
      drill: 9,
      what: 'Power cut: what no sync had reached is lost or turned to rubbish',
      cases: cuts,
      outcome: 'integrity_check ok, nothing acknowledged lost; half images: see the store that is killed at any point',
      figures: `seed ${seed}, ${acknowledged} commands acknowledged, ${torn} cuts tore ${Math.round(bytes / 1024)} KB from under the database, 0 lost`,
      where: ['test/drills/acknowledged.test.ts', 'test/integration/image-crash.test.ts', 'test/unit/store.test.ts'],
    });
  }, 900_000);
});

type ModelState = 'absent' | 'created' | 'running' | 'paused' | 'exited';
/** Status answered and the state afterwards, by the state before. */
type Command = Record<ModelState, [status: number, next: ModelState]> & {
  method?: string;
  path: (name: string) => string;
  body?: object;
};

const down = { created: [409, 'created'], exited: [409, 'exited'] } as const;
const COMMANDS: Record<string, Command> = {
  create: {
    path: (name) => `/containers/create?name=${name}`,
    absent: [201, 'created'],
    created: [409, 'created'],
    running: [409, 'running'],
    paused: [409, 'paused'],
    exited: [409, 'exited'],
  },
  start: {
    path: (name) => `/containers/${name}/start`,
    absent: [404, 'absent'],
    created: [204, 'running'],
    running: [304, 'running'],
    paused: [409, 'paused'],
    exited: [204, 'running'],
  },
  stop: {
    path: (name) => `/containers/${name}/stop?t=0`,
    absent: [404, 'absent'],
    created: [304, 'created'],
    running: [204, 'exited'],
    paused: [204, 'exited'],
    exited: [304, 'exited'],
  },
  kill: {
    path: (name) => `/containers/${name}/kill`,
    absent: [404, 'absent'],
    created: [...down.created],
    running: [204, 'exited'],
    paused: [204, 'exited'],
    exited: [...down.exited],
  },
  pause: {
    path: (name) => `/containers/${name}/pause`,
    absent: [404, 'absent'],
    created: [...down.created],
    running: [204, 'paused'],
    paused: [409, 'paused'],
    exited: [...down.exited],
  },
  // 500 is dockerd's own answer.
  unpause: {
    path: (name) => `/containers/${name}/unpause`,
    absent: [404, 'absent'],
    created: [500, 'created'],
    running: [500, 'running'],
    paused: [204, 'running'],
    exited: [500, 'exited'],
  },
  restart: {
    path: (name) => `/containers/${name}/restart?t=0`,
    absent: [404, 'absent'],
    created: [204, 'running'],
    running: [204, 'running'],
    paused: [204, 'running'],
    exited: [204, 'running'],
  },
  exec: {
    path: (name) => `/containers/${name}/exec`,
    body: { Cmd: ['true'] },
    absent: [404, 'absent'],
    created: [...down.created],
    running: [201, 'running'],
    paused: [409, 'paused'],
    exited: [...down.exited],
  },
  remove: {
    method: 'DELETE',
    path: (name) => `/containers/${name}`,
    absent: [404, 'absent'],
    created: [204, 'absent'],
    running: [409, 'running'],
    paused: [409, 'paused'],
    exited: [204, 'absent'],
  },
  removeByForce: {
    method: 'DELETE',
    path: (name) => `/containers/${name}?force=1`,
    absent: [404, 'absent'],
    created: [204, 'absent'],
    running: [204, 'absent'],
    paused: [204, 'absent'],
    exited: [204, 'absent'],
  },
};

describe('a random walk of commands', () => {
  it('finds the daemon where the model is, kills in between included', async () => {
    const { below, pick } = chance();
    const steps = all ? 1500 : 60;
    const model = new Map<string, ModelState>(['one', 'two', 'three'].map((name) => [name, 'absent']));
    const covered = new Set<string>();
    const trace: string[] = [];
    let kills = 0;
    const compare = async (name: string): Promise<void> => {
      const { status, json } = await daemon.api<{ State: { Status: string } }>('GET', `/containers/${name}/json`);
      const is = status === 404 ? 'absent' : json.State.Status;
      expect(is, `${name} after ${trace.slice(-8).join(', ')}`).toBe(model.get(name));
    };
    for (let step = 0; step < steps; step++) {
      if (step % 20 === 19) {
        trace.push('kill -9');
        kills++;
        await daemon.kill();
        await daemon.restart();
        for (const name of model.keys()) await compare(name);
        continue;
      }
      const name = pick([...model.keys()]);
      const before = model.get(name)!;
      // Refusals of what is not there are soon known.
      const verb = before === 'absent' && below(3) ? 'create' : pick(Object.keys(COMMANDS));
      const command = COMMANDS[verb]!;
      const [wanted, next] = command[before];
      const body =
        verb === 'create'
          ? { Image: daemon.image, Cmd: ['sleep', '1000'], HostConfig: { NetworkMode: 'none' } }
          : command.body;
      const { status, text } = await daemon.api(command.method ?? 'POST', command.path(name), body);
      trace.push(`${verb} ${name} (${before}): ${status}`);
      expect([status, text.includes('"message"')], `${trace.slice(-8).join(', ')}: ${text}`).toEqual([
        wanted,
        wanted >= 400,
      ]);
      model.set(name, next);
      covered.add(`${verb} ${before}`);
      await compare(name);
    }
    await expectAgreement(daemon);
    await removeAll(daemon);
    tell({
      drill: 14,
      what: 'Model against real: random walks of API calls, with kill -9 in between',
      cases: steps,
      outcome:
        'no difference in status or state; every path of the chart against its invariants: see the model of the chart',
      figures: `seed ${seed}, ${covered.size} of ${Object.keys(COMMANDS).length * 5} pairs of command and state, ${kills} kills`,
      where: ['test/drills/acknowledged.test.ts', 'test/unit/container-model.test.ts'],
    });
  }, 600_000);

  it('leaves nothing behind', () => expectNothingLeft(daemon));
});
