/** What the daemon leans on lets it down: an OCI runtime that hangs, events that are lost or come twice, a full disk, no descriptors. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { expectNothingLeft, removeAll } from './support/kill.ts';
import { all, tell } from './support/table.ts';

let daemon: TestDaemon;
let hang: string;
let wrapper: string;
beforeAll(async () => {
  daemon = await startDaemon();
  hang = join(daemon.directory, 'hang');
  wrapper = join(daemon.directory, 'slow-runc');
  // Hangs in the subcommand that the file names; its pid is how the test finds it.
  writeFileSync(
    wrapper,
    `#!/bin/sh\nfor word in "$@"; do\n  [ -e ${hang} ] && [ "$word" = "$(cat ${hang})" ] && { echo $$ >${hang}.pid; exec sleep 100000; }\ndone\nexec runc "$@"\n`,
  );
  chmodSync(wrapper, 0o755);
  await daemon.restart('--add-runtime', `slow=${wrapper}`);
});
afterEach(() => rmSync(hang, { force: true }));
afterAll(() => daemon?.stop());

const quantile = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]!;

const settled = { answers: [] as number[], errors: [] as string[] };

/** Reads go on while a command hangs; then the runtime is killed, as its deadline would, or that deadline is waited for. */
async function whileHung(
  command: Promise<{ status: number; text: string }>,
): Promise<{ status: number; text: string }> {
  let answered = false;
  void command.then(() => (answered = true));
  const pid = await eventually(() =>
    existsSync(`${hang}.pid`) ? Number(readFileSync(`${hang}.pid`, 'utf8')) : undefined,
  );
  for (let i = 0; i < 50; i++) {
    const from = performance.now();
    expect((await daemon.api('GET', '/containers/json?all=1')).status).toBe(200);
    expect((await daemon.api('GET', '/containers/hung/json')).status).toBe(200);
    settled.answers.push((performance.now() - from) / 2);
  }
  expect(answered).toBe(false);
  if (!all) process.kill(pid, 'SIGKILL');
  rmSync(hang);
  rmSync(`${hang}.pid`);
  return command;
}

describe('a runtime that sleeps for ever', () => {
  it.each(['create', 'start', 'kill', 'delete'])(
    'in %s holds up no read; the command ends with a clear error or well, and all is taken back',
    async (phase) => {
      const body = { Image: daemon.image, Cmd: ['sleep', '1000'], HostConfig: { Runtime: 'slow' } };
      expect((await daemon.api('POST', '/containers/create?name=hung', body)).status).toBe(201);
      if (phase === 'create' || phase === 'start') {
        writeFileSync(hang, phase);
        const { status, text } = await whileHung(daemon.api('POST', '/containers/hung/start'));
        expect(status).toBeGreaterThanOrEqual(400);
        expect(JSON.parse(text)).toEqual({ message: expect.stringMatching(/\w/) });
        settled.errors.push(text);
        // It is as if it had not been tried.
        expect((await daemon.api('POST', '/containers/hung/start')).status).toBe(204);
      } else {
        expect((await daemon.api('POST', '/containers/hung/start')).status).toBe(204);
        writeFileSync(hang, phase);
        await whileHung(daemon.api('POST', '/containers/hung/stop?t=0'));
      }
      await removeAll(daemon);
    },
    200_000,
  );

  afterAll(() =>
    tell({
      drill: 6,
      what: 'The OCI runtime sleeps for ever in create, start, kill, delete',
      cases: 4,
      outcome:
        'ps and inspect answer meanwhile; the command ends with an error of one sentence; nothing is left; it works afterwards',
      figures: `ps and inspect at the 99th percentile: ${quantile(settled.answers, 0.99).toFixed(1)} ms`,
      where: ['test/drills/faults.test.ts', 'test/integration/runtime-hazards.test.ts'],
    }),
  );
});

type Mischief = 'dropped' | 'doubled' | 'delayed and reordered';

/** Stands between the shims and the daemon's event socket. */
class EventProxy {
  #server: Server;
  #sockets = new Set<Socket>();
  seen = 0;

  constructor(path: string, upstream: string, mode: Mischief) {
    this.#server = createServer((shim) => {
      const copies = { dropped: 0, doubled: 2, 'delayed and reordered': 1 }[mode];
      const daemons = Array.from({ length: copies }, () => connect(upstream));
      for (const socket of [shim, ...daemons]) this.#sockets.add(socket.on('error', () => {}));
      daemons[0]?.pipe(shim);
      daemons[1]?.resume();
      shim.on('data', (chunk: Buffer) => {
        this.seen++;
        // One after the other waits less: what a shim says late overtakes what another said before.
        const delay = mode === 'delayed and reordered' ? 300 - Math.min(250, this.seen * 10) : 0;
        for (const each of daemons) setTimeout(() => each.destroyed || each.write(chunk), delay);
        if (mode === 'dropped') shim.destroy();
      });
      shim.on('close', () => daemons.forEach((each) => each.destroy()));
    }).listen(path);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

describe('exit events', () => {
  const rows: string[] = [];
  it.each<Mischief>(['dropped', 'doubled', 'delayed and reordered'])(
    'that are %s: every exit is seen, once',
    async (mode) => {
      // Shims connect once, when they start: none of before may be left.
      await daemon.restart('--add-runtime', `slow=${wrapper}`);
      const socket = join(daemon.directory, 'run/runtime/events.sock');
      const aside = join(daemon.directory, 'run/runtime/events.real');
      renameSync(socket, aside);
      const proxy = new EventProxy(socket, aside, mode);
      const since = Date.now();
      try {
        const names = Array.from({ length: 6 }, (_, i) => `ends${i}`);
        for (const [i, name] of names.entries())
          daemon.ok('run', '-d', '--name', name, daemon.image, 'sh', '-c', `exit ${i}`);
        for (const [i, name] of names.entries()) expect(daemon.ok('wait', name)).toBe(String(i));
        const until = (Date.now() / 1000 + 0.001).toFixed(3);
        const { text } = await daemon.api(
          'GET',
          `/events?since=${since / 1000}&until=${until}&filters={"event":["die"]}`,
        );
        expect(text.split('\n').filter(Boolean)).toHaveLength(names.length);
        await eventually(() => proxy.seen > 0);
        rows.push(mode);
        await removeAll(daemon);
      } finally {
        proxy.close();
        rmSync(socket, { force: true });
        renameSync(aside, socket);
      }
    },
  );

  afterAll(() =>
    tell({
      drill: 5,
      what: 'Events of the shims are dropped, doubled, delayed and out of order',
      cases: rows.length * 6,
      outcome: 'every exit seen once, with its code: a standing Wait tells, events are hints',
      where: ['test/drills/faults.test.ts'],
    }),
  );
});

describe('a resource that runs out', () => {
  let refused = 0;
  afterAll(() => {
    tell({
      drill: 10,
      what: 'No space left, no descriptors left',
      cases: 2,
      outcome: 'an error with its cause, no crash, works again afterwards, nothing is left',
      figures: `${refused} of 3 commands refused, with its name, while no descriptor was left`,
      where: ['test/drills/faults.test.ts', 'test/integration/layers-hostile.test.ts'],
    });
  });

  it('descriptors: a command says so, no connection is taken, and all works afterwards', async () => {
    const pid = daemon.pid();
    const before = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))![1]!;
    // One connection is there already: whoever has it is told why.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ask = (method: string, path: string): Promise<{ status: number; text: string }> =>
      new Promise((resolve, reject) => {
        const call = request({ socketPath: daemon.socket, method, path, agent }, (answer) => {
          let text = '';
          answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
        });
        call.on('error', reject).end();
      });
    daemon.ok('create', '--name', 'thirsty', daemon.image, 'sleep', '1000');
    await ask('GET', '/_ping');
    // Below what it has open: not a single one more.
    execFileSync('prlimit', [`--pid=${pid}`, `--nofile=3:${before}`]);
    try {
      for (let i = 0; i < 3; i++) {
        const { status, text } = await ask('POST', '/containers/thirsty/start');
        expect([status, text]).toEqual([500, expect.stringMatching(/EMFILE|too many open files/)]);
        refused++;
      }
      // A new one is closed, or waits in the listener's queue.
      const { code, stderr } = daemon.dockerWith({ timeout: 3_000 }, 'version');
      expect(code).not.toBe(0);
      if (code !== 128) expect(stderr).toMatch(/\w/);
    } finally {
      execFileSync('prlimit', [`--pid=${pid}`, `--nofile=${before}:${before}`]);
      agent.destroy();
    }
    expect(daemon.pid()).toBe(pid);
    await eventually(() => daemon.docker('run', '--rm', daemon.image, 'echo', 'back').stdout === 'back\n', {
      within: 60_000,
    });
    daemon.ok('start', 'thirsty');
    await removeAll(daemon);
    expect(existsSync(`/proc/${pid}/fd/0`)).toBe(true);
  });

  it('the disk: the error names it, nothing acknowledged is lost, and all works when there is room', async () => {
    await daemon.terminate();
    const mount = join(daemon.directory, 'data');
    const old = join(daemon.directory, 'data-full');
    renameSync(mount, old);
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', mount]);
    try {
      await daemon.restart();
      daemon.ok('pull', '-q', daemon.image);
      daemon.ok('create', '--name', 'kept', daemon.image, 'true');
      const { bsize, bavail } = statfsSync(mount);
      execFileSync(
        'dd',
        ['if=/dev/zero', `of=${join(mount, 'ballast')}`, 'bs=4096', `count=${Math.ceil((bsize * bavail) / 4096)}`],
        { stdio: 'ignore' },
      );
    } catch (error) {
      // dd ends with an error when the disk is full, which is what it is for.
      if (!existsSync(join(mount, 'ballast'))) throw error;
    }
    try {
      const { code, stderr } = daemon.dockerWith({ timeout: 30_000 }, 'create', '--name', 'late', daemon.image, 'true');
      expect(code).not.toBe(0);
      expect(stderr).toMatch(/no space left|ENOSPC|disk is full|cannot write/i);
      expect(daemon.ok('ps', '-a', '--format', '{{.Names}}')).toBe('kept');
      rmSync(join(mount, 'ballast'));
      await eventually(() => daemon.docker('run', '--rm', daemon.image, 'echo', 'back').stdout === 'back\n', {
        within: 30_000,
      });
      await daemon.kill();
      await daemon.restart();
      expect(daemon.ok('ps', '-a', '--format', '{{.Names}}')).toBe('kept');
      await removeAll(daemon);
    } finally {
      await daemon.terminate();
      execFileSync('umount', [mount]);
      rmSync(mount, { recursive: true });
      renameSync(old, mount);
      await daemon.restart();
    }
  });

  it('leaves nothing behind', () => expectNothingLeft(daemon));
});
