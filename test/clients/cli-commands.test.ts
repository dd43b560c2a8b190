/** Every command on containers with every option of the real CLI, save those of run: cli-run-options.test.ts. */
import { spawnSync } from 'node:child_process';
import { chownSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunResult, startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { OptionCases } from './cli-options.ts';
import { stopClean } from './stop-clean.ts';
import { onTerminal } from './terminal.ts';

let daemon: TestDaemon;
const cases = new OptionCases(() => daemon);
const { call, ok } = {
  call: (...args: Parameters<OptionCases['call']>): RunResult => cases.call(...args),
  ok: (...args: Parameters<OptionCases['ok']>): string => cases.ok(...args),
};
const refused = (command: string, options: string[], ...words: string[]): string => {
  const { code, stderr } = call(command, options, ...words);
  expect(code).not.toBe(0);
  return stderr;
};
/** Answers signals: 9 for TERM and USR1, a word for HUP. */
const LISTENS = 'trap "exit 9" TERM USR1; trap "echo hup" HUP; echo ready; while :; do usleep 20000; done';

beforeAll(async () => {
  daemon = await startDaemon();
  daemon.ok('tag', daemon.image, 'busybox');
  daemon.ok('run', '-d', '--name', 'box', '-p', '127.0.0.1:8055:80', '-p', '8056:81/udp', 'busybox', 'sleep', '1000');
});
afterAll(() => stopClean(daemon));

const listening = async (name: string): Promise<void> => {
  daemon.ok('run', '-d', '--name', name, 'busybox', 'sh', '-c', LISTENS);
  await eventually(() => daemon.ok('logs', name).includes('ready'));
};
const stateOf = (name: string): string => daemon.ok('inspect', '-f', '{{.State.Status}} {{.State.ExitCode}}', name);

describe('exec', () => {
  test('takes variables, a directory, a user, privileges and input', () => {
    const variables = join(daemon.directory, 'exec-variables');
    writeFileSync(variables, 'FILE=2\n');
    const options = ['-e', 'GIVEN=1', '--env-file', variables, '-w', '/tmp', '-u', '5:6', '-i'];
    expect(ok('exec', options, 'box', 'sh', '-c', 'echo $GIVEN $FILE $(pwd) $(id -u):$(id -g)')).toBe('1 2 /tmp 5:6');
    const effective = (options: string[]): string => ok('exec', options, 'box', 'grep', 'CapEff', '/proc/self/status');
    expect(effective(['--privileged'])).not.toBe(effective([]));
    ok('exec', ['-d'], 'box', 'touch', '/made');
    expect(ok('exec', [], 'box', 'ls', '/made')).toBe('/made');
    cases.note('exec', ['-t', '--detach-keys']);
    const left = onTerminal(
      daemon,
      [{ send: 'hello' }, { expect: 'hello' }, { send: '\x18' }],
      ...['exec', '-it', '--detach-keys', 'ctrl-x', 'box', 'cat'],
    );
    expect(left.code).toBe(1);
    expect(left.output).toContain('read escape sequence');
  });

  test.each<[string[], string[], number, string]>([
    [[], ['absent-command'], 127, 'exec: "absent-command": executable file not found in $PATH'],
    [[], ['/etc'], 126, 'exec: "/etc"'],
    [[], [''], 127, 'executable file not found'],
    [['-w', 'relative'], ['pwd'], 128, 'Cwd must be an absolute path'],
    [['-w', '/absent'], ['pwd'], 127, 'no such file or directory'],
    [['-u', 'nobody-here'], ['id'], 1, 'unable to find user nobody-here: no matching entries in passwd file'],
    [['--detach-keys', 'bad-key', '-t'], ['id'], 1, 'Invalid escape keys (bad-key) provided'],
    [[], ['sh', '-c', 'kill -9 $$'], 137, ''],
    [[], ['sh', '-c', 'exit 300'], 44, ''],
  ])('%j %j ends with %i', (options, command, code, message) => {
    const done = call('exec', options, 'box', ...command);
    expect([done.code, done.stdout + done.stderr]).toEqual([code, expect.stringContaining(message)]);
  });
});

test('kill takes every form of a signal, and refuses what is none', async () => {
  await listening('target');
  for (const signal of ['HUP', 'SIGHUP', '1']) ok('kill', ['-s', signal], 'target');
  await eventually(() => daemon.ok('logs', 'target').includes('hup'));
  // A first process gets only what it listens to; a thread of real time signals does not end it.
  ok('kill', ['--signal', 'RTMIN+1'], 'target');
  ok('kill', ['-s', 'sigusr1'], 'target');
  expect(ok('wait', [], 'target', 'target')).toBe('9\n9');
  expect(refused('kill', ['-s', 'NOPE'], 'box')).toContain('cannot kill container: box: invalid signal: NOPE');
  expect(refused('kill', ['-s', '0'], 'box')).toContain('cannot kill container: box: invalid signal: 0');
  expect(refused('kill', ['-s', '99'], 'box')).toContain('the linux daemon does not support signal 99');
  expect(refused('kill', [], 'target')).toMatch(/cannot kill container: target: container \w+ is not running/);
  expect(refused('kill', [], 'absent')).toContain('cannot kill container: absent: No such container: absent');
  expect(refused('wait', [], 'absent')).toContain('No such container: absent');
  daemon.ok('rm', 'target');
});

test('stop and restart take a signal and a time', async () => {
  await listening('slow');
  ok('stop', ['-s', 'USR1', '-t', '30'], 'slow');
  expect(stateOf('slow')).toBe('exited 9');
  ok('restart', [], 'slow');
  expect(stateOf('slow')).toBe('running 0');
  ok('restart', ['-s', 'KILL', '-t', '5'], 'slow');
  expect(stateOf('slow')).toBe('running 0');
  expect(refused('rename', [], 'slow', 'slow')).toContain('Renaming a container with the same name');
  expect(refused('rename', [], 'slow', 'a b')).toContain('Invalid container name (a b)');
  expect(refused('rename', [], 'slow', 'box')).toContain('The container name "/box" is already in use');
  ok('rename', [], 'slow', 'renamed');
  expect(refused('rm', [], 'renamed')).toContain('cannot remove container "renamed": container is running');
  ok('pause', [], 'renamed');
  expect(refused('pause', [], 'renamed')).toContain('is already paused');
  expect(refused('exec', [], 'renamed', 'true')).toContain('Container renamed is paused, unpause the container');
  expect(refused('rm', [], 'renamed')).toContain('container is paused and must be unpaused first');
  expect(refused('start', [], 'renamed')).toContain('cannot start a paused container, try unpause instead');
  expect(refused('attach', [], 'renamed')).toContain('You cannot attach to a paused container');
  ok('unpause', [], 'renamed');
  expect(refused('unpause', [], 'renamed')).toContain('is not paused');
  ok('rm', ['-f', '-v'], 'renamed');
  expect(refused('rm', [], 'renamed')).toContain('No such container: renamed');
  cases.note('rm', ['--link']);
  expect(refused('rm', ['--link'], 'box/other')).toContain('No such container: box/other');
});

test('logs come with each option alone and together', () => {
  const script = 'for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done';
  const options = ['-l', 'kind=talk', '-e', 'MODE=loud', '--log-opt', 'labels=kind', '--log-opt', 'env=MODE'];
  daemon.docker('run', '--name', 'talk', ...options, 'busybox', 'sh', '-c', script);
  const lines = (...options: string[]): number =>
    (({ stdout, stderr }) => (stdout + stderr).split('\n').length - 1)(call('logs', options, 'talk'));
  expect([lines(), lines('-n', '3'), lines('--tail', 'all'), lines('-n', '0'), lines('-n', '-1')]).toEqual([
    10, 3, 10, 0, 10,
  ]);
  expect([lines('--since', '10m'), lines('--since', '0'), lines('--until', '1'), lines('-f')]).toEqual([10, 10, 0, 10]);
  expect(ok('logs', ['--details', '-t', '-n', '10'], 'talk').split('\n')[0]).toMatch(
    /^\S+Z MODE=loud,kind=talk out 1$/,
  );
  expect(refused('logs', ['--since', 'bad'], 'talk')).toContain('failed to parse value as time or duration');
  expect(refused('logs', [], 'absent')).toContain('No such container: absent');
  daemon.ok('run', '--name', 'silent', '--log-driver', 'none', 'busybox', 'echo', 'x');
  expect(refused('logs', [], 'silent')).toContain('configured logging driver does not support reading');
  const numbers = (options: string[]): string[] => {
    daemon.ok('run', '--name', 'turns', ...options, 'busybox', 'seq', '1', '100');
    const kept = ok('logs', [], 'turns').split('\n');
    daemon.ok('rm', 'turns');
    return kept;
  };
  // Two files of a thousand bytes.
  const kept = numbers(['--log-opt', 'max-size=1k', '--log-opt', 'max-file=2']);
  expect([kept.length < 30, kept.at(-1)]).toEqual([true, '100']);
  expect(numbers(['--log-driver', 'local'])).toHaveLength(100);
  daemon.ok('rm', 'talk', 'silent');
});

test('cp takes owners along, follows links, and streams archives both ways', () => {
  const here = (name: string): string => join(daemon.directory, 'cp', name);
  mkdirSync(here('dir/sub'), { recursive: true });
  writeFileSync(here('file'), 'one');
  writeFileSync(here('dir/inner'), 'two');
  symlinkSync('file', here('link'));
  chownSync(here('file'), 1000, 1000);
  ok('cp', ['-a'], here('file'), 'box:/tmp/owned');
  ok('cp', ['-q'], here('file'), 'box:/tmp/plain');
  ok('cp', [], here('link'), 'box:/tmp/link');
  ok('cp', ['-L'], here('link'), 'box:/tmp/followed');
  ok('cp', [], here('dir'), 'box:/tmp');
  ok('cp', [], here('dir/.'), 'box:/tmp/content');
  expect(daemon.ok('exec', 'box', 'stat', '-c', '%n %u %F', '/tmp/owned', '/tmp/link', '/tmp/followed')).toBe(
    '/tmp/owned 1000 regular file\n/tmp/link 0 symbolic link\n/tmp/followed 1000 regular file',
  );
  expect(daemon.ok('exec', 'box', 'find', '/tmp/dir', '/tmp/content', '-type', 'f')).toBe(
    '/tmp/dir/inner\n/tmp/content/inner',
  );
  ok('cp', ['-a'], 'box:/tmp/owned', here('back'));
  expect(readFileSync(here('back'), 'utf8')).toBe('one');
  ok('cp', [], 'box:/tmp/dir/.', here('content'));
  expect(readFileSync(here('content/inner'), 'utf8')).toBe('two');
  ok('cp', [], 'box:/tmp/link', here('link-back'));
  expect(readlinkSync(here('link-back'))).toBe('file');
  const archive = join(daemon.directory, 'cp.tar');
  writeFileSync(archive, spawnSync('tar', ['-c', '-C', here('.'), 'dir']).stdout);
  daemon.ok('exec', 'box', 'mkdir', '-p', '/in');
  cases.note('cp', []);
  expect(daemon.dockerWith({ input: readFileSync(archive, 'latin1') }, 'cp', '-', 'box:/in').code).toBe(0);
  expect(daemon.docker('cp', 'box:/in/dir', '-').stdout).toContain('two');
  expect(refused('cp', [], here('file'), 'box:/absent/')).toMatch(/no such directory/i);
  expect(refused('cp', [], here('dir'), 'box:/etc/passwd')).toMatch(/cannot copy directory|not a directory/i);
  expect(refused('cp', [], here('absent'), 'box:/')).toContain('no such file or directory');
  expect(refused('cp', [], 'box:/absent', here('x'))).toContain('Could not find the file /absent in container box');
  expect(refused('cp', [], 'absent:/x', here('x'))).toContain('No such container: absent');
  expect(refused('cp', [], 'box:/tmp', 'box:/x')).toContain('copying between containers is not supported');
});

test('commit writes what it is told into the image, with and without a pause', () => {
  const changes = [
    'ENV X=1',
    'LABEL l=2',
    'EXPOSE 80',
    'USER 5',
    'WORKDIR /w',
    'CMD ["a"]',
    'ENTRYPOINT b',
    'VOLUME /v',
  ];
  const options = ['-a', 'me', '-m', 'words', '-p=false', ...changes.flatMap((change) => ['-c', change])];
  ok('commit', options, 'box', 'made:1');
  const [{ Author, Comment, Config }] = JSON.parse(daemon.ok('image', 'inspect', 'made:1'));
  expect([Author, Comment]).toEqual(['me', 'words']);
  expect(Config).toMatchObject({
    Labels: { l: '2' },
    User: '5',
    WorkingDir: '/w',
    Cmd: ['a'],
    Entrypoint: ['/bin/sh', '-c', 'b'],
    Volumes: { '/v': {} },
  });
  expect(refused('commit', ['-c', 'FOO bar'], 'box')).toContain('unknown instruction: FOO');
  expect(refused('commit', ['-c', 'RUN x'], 'box')).toContain('run is not a valid change command');
  expect(refused('commit', [], 'box', 'UPPER')).toContain('must be lowercase');
  expect(refused('commit', [], 'absent')).toContain('No such container: absent');
  daemon.ok('rmi', 'made:1');
});

test('diff, export, inspect and port tell of a container', () => {
  daemon.ok('exec', 'box', 'sh', '-c', 'echo x > /etc/added; rm /etc/group');
  expect(ok('diff', [], 'box').split('\n')).toEqual(expect.arrayContaining(['C /etc', 'A /etc/added', 'D /etc/group']));
  const file = join(daemon.directory, 'exported.tar');
  ok('export', ['-o', file], 'box');
  expect(spawnSync('tar', ['-tf', file], { encoding: 'utf8' }).stdout).toContain('etc/added');
  expect(refused('export', ['-o', '/absent/x'], 'box')).toContain('/absent');
  expect(Number(ok('inspect', ['-s', '-f', '{{.SizeRw}}'], 'box'))).toBeGreaterThan(0);
  expect(refused('inspect', [], 'absent')).toMatch(/no such (object|container): absent/i);
  expect(ok('port', [], 'box')).toBe('80/tcp -> 127.0.0.1:8055\n81/udp -> 0.0.0.0:8056\n81/udp -> [::]:8056');
  expect(ok('port', [], 'box', '80')).toBe('127.0.0.1:8055');
  expect(refused('port', [], 'box', '9')).toContain("No public port '9");
  for (const command of ['diff', 'export', 'port', 'top', 'pause', 'unpause', 'restart', 'stop', 'start', 'attach'])
    expect(refused(command, [], 'absent')).toMatch(/No such container: absent/i);
});

test('ls shows what it is asked for', () => {
  daemon.ok('create', '--name', 'newest', 'busybox', 'true');
  const names = (...options: string[]): string[] => ok('ls', [...options, '--format', '{{.Names}}']).split('\n');
  expect(names()).toEqual(['box']);
  expect([names('-a'), names('-l'), names('-n', '1')]).toEqual([['newest', 'box'], ['newest'], ['newest']]);
  expect(ok('ls', ['-q', '--no-trunc', '-f', 'name=box'])).toMatch(/^[0-9a-f]{64}$/);
  expect(ok('ls', ['-s', '--format', '{{.Size}}'])).toMatch(/B \(virtual /);
  for (const filter of ['status=weird', 'health=weird', 'exited=x', 'weird=1', 'publish=a/b'])
    expect(refused('ls', ['-f', filter])).toContain('invalid');
  daemon.ok('rm', 'newest');
});

test('prune removes what its filters leave', () => {
  for (const label of ['keep', 'drop']) daemon.ok('create', '--name', label, '-l', label, 'busybox', 'true');
  ok('prune', ['-f', '--filter', 'until=1h']);
  ok('prune', ['-f', '--filter', 'label!=drop', '--filter', 'label=drop']);
  expect(daemon.ok('ps', '-a', '--format', '{{.Names}}')).toBe('drop\nkeep\nbox');
  expect(ok('prune', ['-f', '--filter', 'label!=keep'])).toContain('Deleted Containers');
  expect(daemon.ok('ps', '-a', '--format', '{{.Names}}')).toBe('keep\nbox');
  expect(refused('prune', ['-f', '--filter', 'weird=1'])).toContain('invalid filter');
  expect(refused('prune', ['-f', '--filter', 'until=x'])).toContain('failed to parse value as time or duration: "x"');
  daemon.ok('rm', 'keep');
});

test('start shows the output, hands the input in, and says what it cannot do', () => {
  daemon.ok('create', '-i', '--name', 'cat', 'busybox', 'cat');
  cases.note('start', ['-a', '-i']);
  expect(daemon.dockerWith({ input: 'hello\n' }, 'start', '-a', '-i', 'cat').stdout).toBe('hello\n');
  expect(daemon.dockerWith({ input: 'again\n' }, 'start', '-i', 'cat').stdout).toBe('again\n');
  expect(refused('start', ['--checkpoint', 'c', '--checkpoint-dir', '/x'], 'cat')).toMatch(/checkpoint/);
  expect(refused('start', ['-a', '--detach-keys', 'bad-key'], 'cat')).toContain('received 400');
  expect(refused('start', ['-a'], 'cat', 'box')).toContain('cannot start and attach multiple containers at once');
  daemon.ok('rm', 'cat');
});

test('attach leaves input and signals alone when told, and hands signals on otherwise', async () => {
  await listening('signalled');
  cases.note('attach', ['--sig-proxy', '--no-stdin', '--detach-keys']);
  const attached = daemon.spawnDocker(
    'attach',
    '--no-stdin',
    '--sig-proxy=true',
    '--detach-keys',
    'ctrl-x',
    'signalled',
  );
  const ended = new Promise((resolve) => attached.once('exit', resolve));
  let heard = '';
  attached.stdout!.on('data', (chunk) => (heard += String(chunk)));
  await eventually(() => {
    daemon.ok('kill', '-s', 'HUP', 'signalled');
    return heard.includes('hup');
  });
  attached.kill('SIGTERM');
  expect(await ended).toBe(9);
  expect(stateOf('signalled')).toBe('exited 9');
  expect(refused('attach', [], 'signalled')).toContain('You cannot attach to a stopped container');
  daemon.ok('rm', 'signalled');
});

test('stats and top look at what runs', () => {
  const options = ['--no-stream', '--no-trunc', '-a', '--format', '{{.ID}} {{.Name}} {{.PIDs}}'];
  expect(ok('stats', options, 'box')).toMatch(/^[0-9a-f]{64} box [1-9]\d*$/);
  expect(refused('stats', ['--no-stream'], 'absent')).toContain('No such container: absent');
  expect(ok('top', [], 'box', '-o', 'pid,comm').split('\n')[0]).toMatch(/^PID +COMMAND$/);
  expect(refused('top', [], 'box', '-o', 'comm')).toContain("Couldn't find PID field in ps output");
  expect(refused('top', [], 'box', '--bad')).toContain('ps: error: unknown gnu long option');
});

test('update changes limits and the policy of a running container, and names what stands against it', () => {
  const options = [
    ...['-m', '64m', '--memory-swap', '128m', '--memory-reservation', '32m', '--cpus', '0.5', '-c', '512'],
    ...['--cpuset-cpus', '0', '--cpuset-mems', '0', '--pids-limit', '50', '--restart', 'on-failure:3'],
  ];
  ok('update', options, 'box');
  const [{ HostConfig }] = JSON.parse(daemon.ok('inspect', 'box'));
  expect(HostConfig).toMatchObject({
    Memory: 64 << 20,
    MemorySwap: 128 << 20,
    MemoryReservation: 32 << 20,
    NanoCpus: 5e8,
    CpuShares: 512,
    CpusetCpus: '0',
    PidsLimit: 50,
    RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 },
  });
  for (const [option, value, message] of [
    ['-m', '256m', 'Memory limit should be smaller than already set memoryswap limit'],
    ['-m', '5m', 'Minimum memory limit allowed is 6MB'],
    ['--cpu-period', '50000', 'CPU Period cannot be updated as NanoCPUs has already been set'],
    ['--cpu-quota', '20000', 'CPU Quota cannot be updated as NanoCPUs has already been set'],
    ['--cpus', '5000', 'range of CPUs is from 0.01 to'],
    ['--cpuset-cpus', '99', 'Requested CPUs are not available'],
    ['--blkio-weight', '5', 'blkio weight|discarded'],
    ['--restart', 'weird', "unknown policy 'weird'"],
  ] as const) {
    const { stdout, stderr } = call('update', [option, value], 'box');
    expect(stdout + stderr, `${option} ${value}`).toMatch(new RegExp(message));
  }
  const realtime = call('update', ['--cpu-rt-period', '10', '--cpu-rt-runtime', '100'], 'box');
  expect(realtime.stderr).toMatch(/real-time/);
  daemon.ok('run', '-d', '--rm', '--name', 'passing', 'busybox', 'sleep', '100');
  expect(refused('update', ['--restart', 'always'], 'passing')).toMatch(
    /Cannot update container \w+: Restart policy cannot be updated because AutoRemove is enabled/,
  );
  daemon.ok('rm', '-f', 'passing');
});

test('no option of these commands is without a case', () => {
  const commands =
    'attach commit cp diff exec export inspect kill logs ls pause port prune rename restart rm start stats stop top unpause update wait';
  expect(cases.missing(...commands.split(' '))).toEqual([]);
});
