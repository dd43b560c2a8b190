/** The life of containers as the CLI shows and steers it: lists, logs, attach, wait, stop, events, copies, images made of them. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { stopClean } from './stop-clean.ts';

let daemon: TestDaemon;
const ok = (...args: string[]): string => daemon.ok(...args);
beforeAll(async () => {
  daemon = await startDaemon();
  ok('tag', daemon.image, 'busybox');
});
afterAll(() => stopClean(daemon));

const sh = (script: string): string[] => ['busybox', 'sh', '-c', script];
const collect = (child: ReturnType<TestDaemon['spawnDocker']>): { text(): string; ended: Promise<number | null> } => {
  let text = '';
  child.stdout!.on('data', (chunk) => (text += String(chunk)));
  child.stderr!.on('data', (chunk) => (text += String(chunk)));
  return { text: () => text, ended: new Promise((resolve) => child.once('close', (code) => resolve(code))) };
};

test('ps filters by state, name, label, exit code, image and neighbours', () => {
  ok('run', '-d', '--name', 'up', '-l', 'tier=front', '-l', 'app=x', 'busybox', 'sleep', '100');
  daemon.docker('run', '--name', 'down', '-l', 'app=x', ...sh('exit 3'));
  ok('create', '--name', 'new', '-l', 'app=y', 'busybox', 'true');
  const names = (...filters: string[]): string =>
    ok('ps', '-a', '--format', '{{.Names}}', ...filters.flatMap((filter) => ['-f', filter]))
      .split('\n')
      .sort()
      .join(' ');
  expect(names()).toBe('down new up');
  expect(ok('ps', '--format', '{{.Names}}')).toBe('up');
  expect(names('status=running')).toBe('up');
  expect(names('status=created', 'status=exited')).toBe('down new');
  expect(names('exited=3')).toBe('down');
  expect(names('label=app=x')).toBe('down up');
  expect(names('label=app=x', 'label=tier=front')).toBe('up');
  expect(names('ancestor=busybox')).toBe('down new up');
  expect(names('name=^/up$')).toBe('up');
  expect(names('since=down')).toBe('new');
  expect(names('before=down')).toBe('up');
  expect(daemon.docker('ps', '-f', 'colour=red').stderr).toMatch(/invalid filter 'colour'/i);
  expect(ok('ps', '-a', '-f', 'name=down', '--format', '{{.Status}}')).toMatch(/^Exited \(3\) /);
  expect(ok('ps', '-a', '-f', 'name=new', '--format', '{{.Status}}')).toBe('Created');
  expect(ok('ps', '-f', 'name=up', '--format', '{{.Status}}')).toMatch(/^Up /);
  ok('rm', '-f', 'up', 'down', 'new');
});

describe('logs', () => {
  test('keep every line of both outputs, with tail, since and timestamps', () => {
    ok('run', '--name', 'talk', ...sh('for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2'));
    expect(daemon.docker('logs', 'talk')).toEqual({
      code: 0,
      stdout: 'line 1\nline 2\nline 3\nline 4\nline 5\n',
      stderr: 'oops\n',
    });
    const tail = daemon.docker('logs', '--tail', '2', 'talk');
    expect((tail.stdout + tail.stderr).trim().split('\n').length).toBe(2);
    expect(ok('logs', '-t', 'talk').split('\n')[0]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line 1$/);
    expect(ok('logs', '--since', '2100-01-01T00:00:00Z', 'talk')).toBe('');
    expect(ok('logs', '--until', '2000-01-01T00:00:00Z', 'talk')).toBe('');
    expect(ok('inspect', '-f', '{{.LogPath}}', 'talk')).toContain('-json.log');
    ok('rm', 'talk');
  });

  test('are followed to the container’s end', async () => {
    ok('run', '-d', '--name', 'slow', ...sh('echo first; until [ -e /go ]; do usleep 20000; done; echo last'));
    const follower = collect(daemon.spawnDocker('logs', '-f', 'slow'));
    await eventually(() => follower.text().includes('first'));
    ok('exec', 'slow', 'touch', '/go');
    expect(await follower.ended).toBe(0);
    expect(follower.text()).toBe('first\nlast\n');
    ok('rm', 'slow');
  });
});

test('attach sees what comes, and ends with the container’s exit code; wait tells it too', async () => {
  ok('run', '-di', '--name', 'asks', ...sh('read line; echo "got $line"; exit 6'));
  const waiter = collect(daemon.spawnDocker('wait', 'asks'));
  const attached = daemon.spawnDocker('attach', 'asks');
  const seen = collect(attached);
  // Its end would end the output as well: this container's input stays open for the next who attaches.
  attached.stdin!.write('hello\n');
  expect(await seen.ended).toBe(6);
  expect(seen.text()).toBe('got hello\n');
  await waiter.ended;
  expect(waiter.text().trim()).toBe('6');
  ok('rm', 'asks');
});

describe('stop, kill, start, restart, rm', () => {
  test('stop asks first and kills after the timeout; kill sends what it is told', async () => {
    ok('run', '-d', '--name', 'polite', ...sh('trap "exit 4" TERM; echo ready; while :; do usleep 20000; done'));
    await eventually(() => ok('logs', 'polite').includes('ready'));
    ok('stop', 'polite');
    expect(ok('inspect', '-f', '{{.State.ExitCode}} {{.State.Status}}', 'polite')).toBe('4 exited');
    ok('stop', 'polite');
    ok('start', 'polite');
    ok(
      'run',
      '-d',
      '--name',
      'deaf',
      ...sh('trap "" TERM; trap "exit 5" USR1; echo ready; while :; do usleep 20000; done'),
    );
    await eventually(() => ok('logs', 'deaf').includes('ready'));
    ok('kill', '-s', 'USR1', 'deaf');
    expect(ok('wait', 'deaf')).toBe('5');
    ok('start', 'deaf');
    await eventually(() => ok('logs', 'deaf').split('ready').length === 3);
    ok('stop', '-t', '0', 'deaf');
    expect(ok('inspect', '-f', '{{.State.ExitCode}}', 'deaf')).toBe('137');
    expect(daemon.docker('kill', 'deaf').stderr).toContain('is not running');
    ok('restart', '-t', '0', 'deaf');
    expect(ok('inspect', '-f', '{{.State.Running}}', 'deaf')).toBe('true');
    expect(daemon.docker('rm', 'deaf').stderr).toContain('container is running');
    ok('rm', '-f', 'deaf', 'polite');
    expect(daemon.docker('inspect', 'deaf').stderr.toLowerCase()).toContain('no such object: deaf');
  });

  test('start -a shows the output of a container that was created before', () => {
    ok('create', '--name', 'later', ...sh('echo now; exit 2'));
    const done = daemon.docker('start', '-a', 'later');
    expect([done.code, done.stdout]).toEqual([2, 'now\n']);
    expect(daemon.docker('start', '-a', 'later').stdout).toBe('now\n');
    ok('rm', 'later');
  });

  test('a restart policy starts it again, on-failure no more often than told', async () => {
    ok('run', '-d', '--name', 'fails', '--restart', 'on-failure:2', ...sh('exit 1'));
    await eventually(() => ok('inspect', '-f', '{{.RestartCount}} {{.State.Status}}', 'fails') === '2 exited');
    ok('rm', 'fails');
  });

  test('a link names another container until it is removed', () => {
    ok('run', '-d', '--name', 'linked', ...sh('exec sleep 1000'));
    ok('run', '-d', '--name', 'parent', '--link', 'linked:database', ...sh('exec sleep 1000'));
    expect(ok('exec', 'parent', 'ping', '-c1', '-W5', 'database')).toContain('1 packets received');
    expect(daemon.docker('rm', '--link', 'parent').stderr).toContain('cannot remove the default link name');
    expect(daemon.docker('rm', '--link', 'parent/other').stderr).toContain('No such container: parent/other');
    ok('rm', '--link', 'parent/database');
    expect(ok('exec', 'parent', 'cat', '/etc/hosts')).not.toContain('database');
    expect(ok('inspect', '-f', '{{.HostConfig.Links}}', 'parent')).toBe('[]');
    ok('rm', '-f', 'parent', 'linked');
  });

  test('names are unique, and an id may be shortened', () => {
    const id = ok('create', '--name', 'only', 'busybox', 'true');
    const again = daemon.docker('create', '--name', 'only', 'busybox', 'true');
    expect(again.stderr).toContain('Conflict. The container name "/only" is already in use by container');
    expect(ok('inspect', '-f', '{{.Name}}', id.slice(0, 6))).toBe('/only');
    ok('rm', id.slice(0, 12));
  });
});

test('events tell a plain run in order, and again after a restart of the daemon', async () => {
  const form = '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}';
  const watcher = daemon.spawnDocker('events', '--format', form, '--filter', 'label=watch');
  const seen = collect(watcher);
  // The stream has begun when an event of ours arrives on it.
  await eventually(() => {
    ok('create', '-l', 'watch', '--name', 'probe', 'busybox', 'true');
    ok('rm', 'probe');
    return seen.text().includes('destroy probe');
  });
  daemon.docker('run', '--rm', '--name', 'told', '-l', 'watch', ...sh('exit 3'));
  await eventually(() => seen.text().includes('destroy told'));
  watcher.kill();
  const told = seen
    .text()
    .split('\n')
    .filter((line) => line.endsWith(' told'));
  expect(told).toEqual(['create', 'attach', 'start', 'die', 'destroy'].map((action) => `container ${action} told`));
  await daemon.restart();
  const now = String(Math.ceil(Date.now() / 1000) + 1);
  const filters = ['--filter', 'container=told', '--filter', 'event=die'];
  const past = ok('events', '--since', '0', '--until', now, ...filters, '--format', '{{json .}}');
  expect(JSON.parse(past)).toMatchObject({
    Action: 'die',
    Actor: { Attributes: { exitCode: '3', name: 'told', watch: '' } },
  });
});

test('cp takes files and directories in and out, of stopped containers too', () => {
  const directory = join(daemon.directory, 'copies');
  mkdirSync(join(directory, 'tree/sub'), { recursive: true });
  writeFileSync(join(directory, 'tree/sub/file'), 'content');
  ok('create', '--name', 'box', ...sh('cat /tmp/tree/sub/file; echo made > /tmp/made'));
  ok('cp', join(directory, 'tree'), 'box:/tmp');
  expect(daemon.docker('start', '-a', 'box').stdout).toBe('content');
  ok('cp', 'box:/tmp/made', join(directory, 'out'));
  expect(readFileSync(join(directory, 'out'), 'utf8')).toBe('made\n');
  expect(daemon.dockerWith({}, 'cp', 'box:/nowhere', directory).stderr).toMatch(
    /Could not find the file \/nowhere in container box|No such container:path: box:\/nowhere/,
  );
  const tar = daemon.dockerWith({ input: '' }, 'cp', 'box:/tmp/tree', '-').stdout;
  expect(tar).toContain('tree/sub/file');
  ok('rm', 'box');
});

test('commit, export and import make images of a container', () => {
  ok('run', '--name', 'base', ...sh('echo changed > /etc/changed'));
  ok('commit', '-m', 'words', '-c', 'ENV B=2', '-c', 'CMD ["cat", "/etc/changed"]', 'base', 'committed:1');
  expect(ok('run', '--rm', 'committed:1')).toBe('changed');
  expect(ok('run', '--rm', 'committed:1', 'sh', '-c', 'echo $B')).toBe('2');
  const file = join(daemon.directory, 'root.tar');
  ok('export', '-o', file, 'base');
  ok('import', '-c', 'CMD ["cat", "/etc/changed"]', file, 'imported:1');
  expect(ok('run', '--rm', 'imported:1')).toBe('changed');
  expect(ok('history', '--format', '{{.Comment}}', 'committed:1').split('\n')[0]).toBe('words');
  ok('rm', 'base');
  ok('rmi', 'committed:1', 'imported:1');
});
