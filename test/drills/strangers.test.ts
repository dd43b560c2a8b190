/** What others do to it: damage its database or hold it, kill what it looks after, and open connections that come to nothing. */
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { admitted } from './support/admitted.ts';
import { expectNothingLeft, removeAll } from './support/kill.ts';
import { all, tell } from './support/table.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await startDaemon();
});
afterAll(() => daemon?.stop());

interface State {
  Status: string;
  Running: boolean;
  Pid: number;
  ExitCode: number;
}
const stateOf = async (name: string): Promise<State> =>
  (await daemon.api<{ State: State }>('GET', `/containers/${name}/json`)).json.State;
const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}/fd/0`);

describe('the database', () => {
  it('that is damaged is set aside; nothing it knew is removed, and put back it knows all again', async () => {
    const path = join(daemon.dataRoot, 'reactord.db');
    await daemon.restart('--live-restore');
    daemon.ok('run', '-d', '--name', 'precious', daemon.image, 'sh', '-c', 'echo data >/data; exec sleep 1000');
    daemon.ok('create', '--name', 'still', daemon.image, 'true');
    const { Pid } = await stateOf('precious');
    await daemon.terminate();
    renameSync(path, `${path}.whole`);
    writeFileSync(path, 'no database '.repeat(1000));
    await daemon.restart('--live-restore');
    expect(daemon.log()).toContain('set aside');
    expect(daemon.ok('ps', '-aq')).toBe('');
    expect(isAlive(Pid)).toBe(true);
    daemon.ok('pull', '-q', daemon.image);
    // Another start knows of it, too.
    await daemon.terminate();
    await daemon.restart('--live-restore');
    expect(isAlive(Pid)).toBe(true);
    await daemon.terminate();
    for (const name of readdirSync(daemon.dataRoot))
      if (/^reactord\.db(-|$|\.damaged)/.test(name)) rmSync(join(daemon.dataRoot, name));
    renameSync(`${path}.whole`, path);
    await daemon.restart();
    expect(await stateOf('precious')).toMatchObject({ Running: true, Pid });
    expect(daemon.ok('exec', 'precious', 'cat', '/data')).toBe('data');
    daemon.ok('start', '-a', 'still');
    await removeAll(daemon);
  });

  it.runIf(all)('that somebody else holds: the command says so, and all works when it is free', async () => {
    const held = new DatabaseSync(join(daemon.dataRoot, 'reactord.db'));
    held.exec('BEGIN IMMEDIATE');
    const { status, text } = await daemon.api('POST', '/volumes/create', { Name: 'late' });
    expect([status, text]).toEqual([500, expect.stringContaining('locked')]);
    held.exec('ROLLBACK');
    held.close();
    await eventually(async () => (await daemon.api('POST', '/volumes/create', { Name: 'early' })).status === 201);
    daemon.ok('volume', 'prune', '-af');
  });

  afterAll(() =>
    tell({
      drill: 9,
      what: 'The database is damaged, or held by somebody else',
      cases: all ? 2 : 1,
      outcome:
        'set aside; the daemon serves; containers go on; nothing that only the lost records knew is removed; put back, all is known again',
      where: ['test/drills/strangers.test.ts', 'test/unit/store.test.ts'],
    }),
  );
});

describe('a container', () => {
  it('whose init is killed from outside has ended, with the code of the signal', async () => {
    daemon.ok('run', '-d', '--name', 'victim', daemon.image, 'sleep', '1000');
    process.kill((await stateOf('victim')).Pid, 'SIGTERM');
    process.kill((await stateOf('victim')).Pid, 'SIGKILL');
    await eventually(async () => (await stateOf('victim')).Status === 'exited');
    expect((await stateOf('victim')).ExitCode).toBe(137);
    daemon.ok('start', 'victim');
    await removeAll(daemon);
  });
});

describe('clients', () => {
  const descriptors = (): number => readdirSync(`/proc/${daemon.pid()}/fd`).length;

  it('that send half a request and stall, or leave in the middle of it, cost a descriptor and hold up nobody', async () => {
    const before = descriptors();
    const crowd = all ? 2000 : 200;
    const halves = [
      'GET /containers/json HTTP/1.1\r\nHost: ',
      'POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"Image":',
      'POST /build HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n200\r\nabc',
    ];
    const sockets: Socket[] = [];
    for (let i = 0; i < crowd; i++) {
      const socket = await admitted(daemon.socket);
      socket.write(halves[i % halves.length]!);
      // Some say that they have said all.
      if (i % 2) socket.end();
      sockets.push(socket.resume());
    }
    for (let i = 0; i < 20; i++) expect((await daemon.api('GET', '/containers/json')).status).toBe(200);
    daemon.ok('run', '--rm', daemon.image, 'true');
    for (const socket of sockets) socket.destroy();
    await eventually(() => descriptors() <= before + 5, { within: 60_000, what: 'the descriptors come back' });
    tell({
      drill: 8,
      what: 'Clients that stall in the middle of a request, and half-open ones',
      cases: crowd,
      outcome: 'others unaffected, descriptors back',
      where: ['test/drills/strangers.test.ts', 'test/api/api-server.test.ts'],
    });
  });

  it('that stall in the middle of what they send hold up no stop', async () => {
    const parts = ['/build', '/build?version=2', '/images/load', '/images/create?fromSrc=-'];
    const head = 'Host: d\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n200\r\nabc';
    const sockets: Socket[] = [];
    for (const part of parts) {
      const socket = await admitted(daemon.socket);
      socket.write(`POST ${part} HTTP/1.1\r\n${head}`);
      sockets.push(socket.resume());
    }
    expect((await daemon.api('GET', '/_ping')).status).toBe(200);
    expect(await daemon.terminate()).toBe(0);
    for (const socket of sockets) socket.destroy();
    await daemon.restart();
  });

  it('leave nothing behind', async () => {
    await expectNothingLeft(daemon);
  });
});
