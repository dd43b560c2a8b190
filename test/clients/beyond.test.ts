/** What reactord has beyond dockerd, as people use it: refusals that explain, labels that steer restarts, sharers that follow. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { stopClean } from './stop-clean.ts';

let daemon: TestDaemon;
const ok = (...args: string[]): string => daemon.ok(...args);
const look = (format: string, name: string): string => ok('inspect', '-f', format, name);
beforeAll(async () => {
  daemon = await startDaemon();
  ok('tag', daemon.image, 'busybox');
});
afterAll(() => stopClean(daemon));

test('a refused command names the state that refused it and what it would accept', async () => {
  const refused = (...args: string[]): string => {
    const { code, stderr } = daemon.docker(...args);
    expect(code).toBe(1);
    return stderr;
  };
  const slow = ['-l', 'io.reactord.restart.first-delay=3200', '--restart', 'always'];
  ok('run', '-d', '--name', 'returns', ...slow, 'busybox', 'false');
  await eventually(() => look('{{.State.Status}}', 'returns') === 'restarting');
  expect(refused('pause', 'returns')).toMatch(
    /is restarting.*\(it is restarting, next try after 3\.2 s; state restarting\.\w+ accepts: stop, restart, kill, remove with force\)/,
  );
  expect(refused('rm', 'returns')).toMatch(
    /^Error response from daemon: cannot remove container "returns": container is restarting: stop/,
  );
  ok('rm', '-f', 'returns');
  ok('create', '--name', 'fresh', 'busybox', 'true');
  expect(refused('pause', 'fresh')).toContain('(it was never started; state created accepts: start, remove)');
  expect(refused('kill', 'fresh')).toContain('is not running (it was never started;');
  ok('rm', 'fresh');
});

test('a container that turns unhealthy is restarted when its label says so, and else is left alone', async () => {
  const probed = [
    '--stop-timeout',
    '0',
    '--health-cmd',
    'test ! -e /bad',
    '--health-interval',
    '100ms',
    '--health-retries',
    '1',
  ];
  for (const value of ['true', 'false'])
    ok(
      'run',
      '-d',
      '--name',
      value,
      ...probed,
      '-l',
      `io.reactord.restart.on-unhealthy=${value}`,
      'busybox',
      'sleep',
      '1000',
    );
  const began = look('{{.State.StartedAt}}', 'true');
  for (const name of ['true', 'false']) ok('exec', name, 'touch', '/bad');
  await eventually(() => look('{{.State.StartedAt}}', 'true') !== began, { what: 'the restart' });
  await eventually(() => look('{{.State.Health.Status}}', 'false') === 'unhealthy');
  expect(look('{{.State.Status}}', 'false')).toBe('running');
  ok('rm', '-f', 'true', 'false');
});

test('a start that fails is tried again, and comes through when what was in its way is gone', async () => {
  ok('run', '-d', '--name', 'first', '-p', '8077:80', 'busybox', 'sleep', '1000');
  const patient = ['-l', 'io.reactord.start.retries=1000', '-l', 'io.reactord.restart.longest-delay=200'];
  ok('create', '--name', 'second', '-p', '8077:80', ...patient, 'busybox', 'sleep', '1000');
  const starter = daemon.spawnDocker('start', 'second');
  const started = new Promise((resolve) => starter.once('exit', resolve));
  await eventually(() => look('{{.State.Status}} {{.State.Error}}', 'second').includes('port is already allocated'));
  ok('rm', '-f', 'first');
  expect(await started).toBe(0);
  expect(look('{{.State.Status}} {{.State.Error}}', 'second')).toBe('running');
  ok('rm', '-f', 'second');
});

test('the delays of a policy are those of the labels', async () => {
  const quick = ['-l', 'io.reactord.restart.first-delay=1', '-l', 'io.reactord.restart.longest-delay=2'];
  ok('run', '-d', '--name', 'quick', '--restart', 'on-failure:8', ...quick, 'busybox', 'false');
  // By the usual delays the eighth would come after 25 seconds.
  await eventually(() => look('{{.RestartCount}} {{.State.Status}}', 'quick') === '8 exited', { within: 12_000 });
  ok('rm', 'quick');
});

test('who lives in the namespaces of another follows its restart', async () => {
  const quick = ['run', '-d', '--stop-timeout', '0'];
  ok(...quick, '--name', 'parent', '--ipc', 'shareable', 'busybox', 'sleep', '1000');
  ok(...quick, '--name', 'net', '--network', 'container:parent', 'busybox', 'sleep', '1000');
  ok(...quick, '--name', 'ipc', '--ipc', 'container:parent', 'busybox', 'sleep', '1000');
  // The kernel ends who lives in a process namespace with its first process: this one's own policy brings it back.
  ok(...quick, '--name', 'pid', '--pid', 'container:parent', '--restart', 'always', 'busybox', 'sleep', '1000');
  const inside = (kind: string, name: string): string =>
    daemon.docker('exec', name, 'readlink', `/proc/self/ns/${kind}`).stdout.trim() || `${name} does not run`;
  const before = inside('net', 'parent');
  ok('restart', '-t', '0', 'parent');
  expect(inside('net', 'parent')).not.toBe(before);
  for (const kind of ['net', 'ipc', 'pid'])
    await eventually(() => inside(kind, kind) === inside(kind, 'parent'), { what: `the sharer of ${kind}` });
  ok('rm', '-f', 'net', 'pid', 'ipc', 'parent');
});
