/** `docker run` and what goes in and out of a container, with the real CLI. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { onTerminal } from './terminal.ts';
import { stopClean } from './stop-clean.ts';

let daemon: TestDaemon;
const ok = (...args: string[]): string => daemon.ok(...args);
beforeAll(async () => {
  daemon = await startDaemon();
  ok('tag', daemon.image, 'busybox');
});
afterAll(() => stopClean(daemon));

const run = (...args: string[]): string => ok('run', '--rm', ...args);
const sh = (script: string): string[] => ['busybox', 'sh', '-c', script];

describe('run in the foreground', () => {
  test('shows both outputs apart, and ends with the exit code of the command', () => {
    const done = daemon.docker('run', '--rm', ...sh('echo out; echo err >&2; exit 7'));
    expect(done).toEqual({ code: 7, stdout: 'out\n', stderr: 'err\n' });
    expect(daemon.docker('run', '--rm', ...sh('sh -c "kill -9 \\$\\$"; exit $?')).code).toBe(137);
    expect(ok('ps', '-aq')).toBe('');
  });

  test('ends with 127 for a command that is not there, 126 for one that cannot run, 125 for a refusal', () => {
    expect(daemon.docker('run', '--rm', 'busybox', 'no-such-command').code).toBe(127);
    expect(daemon.docker('run', '--rm', 'busybox', '/etc').code).toBe(126);
    const refused = daemon.docker('run', '--rm', '--memory', '1', 'busybox', 'true');
    expect([refused.code, refused.stderr]).toEqual([125, expect.stringContaining('Minimum memory limit')]);
    const absent = daemon.docker('run', '--rm', '--pull', 'never', 'not-there', 'true');
    expect([absent.code, absent.stderr]).toEqual([125, expect.stringContaining('No such image: not-there:latest')]);
    expect(ok('ps', '-aq')).toBe('');
  });

  test('hands stdin in, and its end', () => {
    expect(daemon.dockerWith({ input: 'one\ntwo\n' }, 'run', '-i', '--rm', 'busybox', 'wc', '-l').stdout.trim()).toBe(
      '2',
    );
    const large = 'x'.repeat(3 << 20);
    expect(daemon.dockerWith({ input: large }, 'run', '-i', '--rm', 'busybox', 'cat').stdout.length).toBe(large.length);
    // Without -i there is no input at all.
    expect(daemon.dockerWith({ input: 'one' }, 'run', '--rm', 'busybox', 'cat').stdout).toBe('');
  });

  test('takes environment, directory, user, host name and entrypoint', () => {
    const options = ['-e', 'A=1', '-w', '/tmp/work', '-u', '123:456', '--hostname', 'box'];
    expect(run(...options, ...sh('echo "$A $(pwd) $(id -u):$(id -g) $(hostname)"'))).toBe('1 /tmp/work 123:456 box');
    expect(run('--entrypoint', 'echo', 'busybox', 'a', 'b')).toBe('a b');
  });

  test('mounts directories, read-only ones too, and named volumes that stay', () => {
    const directory = join(daemon.directory, 'shared');
    mkdirSync(directory);
    writeFileSync(join(directory, 'in'), 'from the host');
    expect(run('-v', `${directory}:/data`, ...sh('cat /data/in; echo back > /data/out'))).toBe('from the host');
    expect(readFileSync(join(directory, 'out'), 'utf8')).toBe('back\n');
    expect(daemon.docker('run', '--rm', '-v', `${directory}:/data:ro`, ...sh('touch /data/x')).code).not.toBe(0);
    run('-v', 'kept:/data', ...sh('echo still > /data/file'));
    expect(run('--mount', 'type=volume,src=kept,dst=/elsewhere', ...sh('cat /elsewhere/file'))).toBe('still');
    expect(run('--tmpfs', '/scratch:size=1m', ...sh('grep " /scratch " /proc/mounts'))).toContain('tmpfs');
    ok('volume', 'rm', 'kept');
  });

  test('mounts an image for reading, a part of it too, over a kill of the daemon', async () => {
    ok('run', '--name', 'maker', ...sh('mkdir /part; echo whole > /file; echo part > /part/file'));
    ok('commit', 'maker', 'mounted');
    ok('rm', 'maker');
    const image = { Type: 'image', Source: 'mounted' };
    const created = await daemon.api('POST', '/v1.48/containers/create?name=reader', {
      Image: 'busybox',
      Cmd: ['sleep', '1000'],
      HostConfig: {
        Mounts: [
          { ...image, Target: '/image' },
          { ...image, Target: '/part', ImageOptions: { Subpath: 'part' } },
        ],
      },
    });
    expect(created).toMatchObject({ status: 201 });
    const mounts = (): string[] =>
      readFileSync('/proc/self/mountinfo', 'utf8').match(new RegExp(`/${created.json.Id}/mounts/`, 'g')) ?? [];
    const read = (): string =>
      ok('exec', 'reader', 'sh', '-c', 'cat /image/file /part/file; touch /image/x 2>&1; true');
    ok('start', 'reader');
    expect(read()).toMatch(/^whole\npart\n.*Read-only file system$/);
    expect(JSON.parse(ok('inspect', '-f', '{{json .Mounts}}', 'reader'))).toContainEqual(
      expect.objectContaining({ Type: 'image', Name: 'mounted', Destination: '/image', RW: false }),
    );
    const refusal = daemon.docker('rmi', 'mounted');
    expect([refusal.code, refusal.stderr]).toEqual([1, expect.stringContaining('is using its referenced image')]);
    await daemon.kill();
    await daemon.restart();
    expect(read()).toContain('whole\npart');
    ok('kill', 'reader');
    ok('wait', 'reader');
    expect(mounts()).toEqual([]);
    ok('start', 'reader');
    expect(read()).toContain('whole\npart');
    ok('rm', '-f', 'reader');
    expect(mounts()).toEqual([]);
    ok('rmi', 'mounted');
  });

  test('obeys limits and security options', () => {
    const limited = run(
      '--memory',
      '64m',
      '--pids-limit',
      '20',
      '--read-only',
      '--cap-drop',
      'ALL',
      ...sh('touch /x 2>&1; grep CapEff /proc/self/status; ulimit -n'),
    );
    expect(limited).toContain('Read-only file system');
    expect(limited).toMatch(/CapEff:\s+0000000000000000/);
  });
});

describe('networks', () => {
  test('none has only the loopback, host is the daemon’s own, bridge has an address', () => {
    expect(run('--network', 'none', ...sh('ls /sys/class/net'))).toBe('lo');
    expect(run('--network', 'host', ...sh('ls /sys/class/net'))).toContain('docker0');
    expect(run(...sh('ip -o -4 addr show eth0'))).toMatch(/inet 172\.\d+\.0\.\d+\/16/);
  });

  test('a published port answers on 127.0.0.1 and on the host’s addresses', async () => {
    const page = 'mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www';
    const id = ok('run', '-d', '-p', '8080:80', '-p', '127.0.0.1::80', ...sh(page));
    const fetch = (url: string): string => daemon.inside('curl', '-sS', '--max-time', '3', url).stdout.trim();
    await eventually(() => fetch('http://127.0.0.1:8080/') === 'served');
    const address = /inet (\S+)\//.exec(daemon.inside('ip', '-4', '-o', 'addr', 'show', 'docker0').stdout)![1]!;
    expect(fetch(`http://${address}:8080/`)).toBe('served');
    const [, port] = /127\.0\.0\.1:(\d+)/.exec(ok('port', id, '80/tcp'))!;
    expect(fetch(`http://127.0.0.1:${port}/`)).toBe('served');
    const second = daemon.docker('run', '-d', '--name', 'second', '-p', '8080:80', 'busybox', 'true');
    expect([second.code, second.stderr]).toEqual([125, expect.stringContaining('port is already allocated')]);
    ok('rm', '-f', id, 'second');
    expect(fetch('http://127.0.0.1:8080/')).toBe('');
  });

  test('containers of a user-defined network find each other by name', () => {
    ok('network', 'create', 'net');
    ok('run', '-d', '--name', 'server', '--network', 'net', '--network-alias', 'other', 'busybox', 'sleep', '60');
    expect(
      run(
        '--network',
        'net',
        ...sh('ping -c 1 -W 3 server >/dev/null && ping -c 1 -W 3 other >/dev/null && echo found'),
      ),
    ).toBe('found');
    ok('rm', '-f', 'server');
    ok('network', 'rm', 'net');
  });
});

describe('on a terminal', () => {
  test('a shell talks, knows its size, and follows a resize', () => {
    const { output, code } = onTerminal(
      daemon,
      [
        { expect: '# ' },
        { send: 'stty size; echo done-$((40+2))\n' },
        { expect: 'done-42' },
        { resize: [33, 111] },
        { send: 'until [ "$(stty size)" = "33 111" ]; do usleep 20000; done; echo resized-$((40+2)); exit 5\n' },
        { expect: 'resized-42' },
      ],
      ...['run', '-it', '--rm', 'busybox', 'sh'],
    );
    expect(output).toContain('24 80');
    expect(code).toBe(5);
  });

  test('the detach keys leave the container running, and attach comes back to it', () => {
    const detached = onTerminal(
      daemon,
      [{ expect: '# ' }, { send: '\x10\x11' }],
      'run',
      '-it',
      '--name',
      'shell',
      'busybox',
      'sh',
    );
    expect(detached.code).toBe(0);
    expect(ok('inspect', '-f', '{{.State.Running}}', 'shell')).toBe('true');
    const back = onTerminal(
      daemon,
      [{ send: 'echo again-$((40+2)); exit 3\n' }, { expect: 'again-42' }],
      ...['attach', 'shell'],
    );
    expect(back.code).toBe(3);
    ok('rm', 'shell');
  });
});

describe('beside a running container', () => {
  beforeAll(
    () =>
      void ok(
        'run',
        '-d',
        '--name',
        'box',
        '-e',
        'A=image',
        'busybox',
        'sh',
        '-c',
        'trap "exit 0" TERM; while :; do sleep 1; done',
      ),
  );
  afterAll(() => void daemon.docker('rm', '-f', 'box'));

  test('exec has its own exit code, input, environment, user and directory', () => {
    expect(daemon.docker('exec', 'box', 'sh', '-c', 'echo out; echo err >&2; exit 9')).toEqual({
      code: 9,
      stdout: 'out\n',
      stderr: 'err\n',
    });
    expect(daemon.dockerWith({ input: 'abc' }, 'exec', '-i', 'box', 'wc', '-c').stdout.trim()).toBe('3');
    expect(ok('exec', '-e', 'B=2', '-w', '/tmp', '-u', '7', 'box', 'sh', '-c', 'echo "$A $B $(pwd) $(id -u)"')).toBe(
      'image 2 /tmp 7',
    );
    expect(daemon.docker('exec', 'box', 'no-such-command').code).toBe(127);
    ok('exec', '-d', 'box', 'touch', '/tmp/made');
    const tty = onTerminal(
      daemon,
      [{ expect: '# ' }, { send: 'tty; exit 4\n' }, { expect: '/dev/pts/' }],
      'exec',
      '-it',
      'box',
      'sh',
    );
    expect(tty.code).toBe(4);
    expect(ok('exec', 'box', 'ls', '/tmp/made')).toBe('/tmp/made');
  });

  test('pause holds it, top, stats and diff look into it', () => {
    ok('pause', 'box');
    expect(ok('ps', '--format', '{{.Status}}', '-f', 'name=^box$')).toContain('(Paused)');
    expect(daemon.docker('exec', 'box', 'true').stderr).toContain('is paused');
    ok('unpause', 'box');
    expect(ok('top', 'box')).toContain('sleep 1');
    expect(ok('stats', '--no-stream', '--format', '{{.Name}} {{.PIDs}}', 'box')).toMatch(/^box [1-9]/);
    ok('exec', 'box', 'sh', '-c', 'echo x > /etc/added');
    expect(ok('diff', 'box')).toContain('A /etc/added');
  });

  test('update changes its limits, rename its name', () => {
    ok('update', '--memory', '128m', '--memory-swap', '256m', '--cpus', '0.5', 'box');
    expect(ok('inspect', '-f', '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}', 'box')).toBe('134217728 500000000');
    ok('rename', 'box', 'crate');
    expect(ok('ps', '--format', '{{.Names}}', '-f', 'name=crate')).toBe('crate');
    ok('rename', 'crate', 'box');
  });
});
