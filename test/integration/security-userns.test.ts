/** --userns-remap on a real daemon: users of containers are nobody on the host, and everything else is as without. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';

const USER = 'reactord-test';
const FIRST = { subuid: 200_000, subgid: 300_000 };
/** The machine's own files, put back afterwards. */
const files = ['subuid', 'subgid'] as const;
const before = files.map((file) => (existsSync(`/etc/${file}`) ? readFileSync(`/etc/${file}`, 'utf8') : undefined));

let daemon: TestDaemon;

beforeAll(async () => {
  files.forEach((file, at) => writeFileSync(`/etc/${file}`, `${before[at] ?? ''}${USER}:${FIRST[file]}:65536\n`));
  daemon = await startDaemon({ flags: ['--userns-remap', USER] });
  // Where the daemon's state lies, its containers' users must be able to pass.
  chmodSync(daemon.directory, 0o711);
  daemon.ok('tag', daemon.image, 'busybox');
  const script = 'echo a > /v/f; chown 5:6 /v/f; mkdir /d; echo c > /d/c; chown 7:8 /d/c; touch /ready; sleep 600';
  daemon.ok('run', '-d', '--name', 'box', '-v', 'volume:/v', 'busybox', 'sh', '-c', script);
  await eventually(() => daemon.docker('exec', 'box', 'test', '-e', '/ready').code === 0);
});
afterAll(async () => {
  await daemon?.stop();
  files.forEach((file, at) =>
    before[at] === undefined ? rmSync(`/etc/${file}`, { force: true }) : writeFileSync(`/etc/${file}`, before[at]),
  );
  expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain('/userns/');
});

const run = (...args: string[]): string => daemon.ok('run', '--rm', ...args);
const sh = (script: string): string[] => ['busybox', 'sh', '-c', script];

test('root of a container is root inside and nobody outside, and changes nothing of the host', () => {
  const pid = daemon.ok('inspect', '-f', '{{.State.Pid}}', 'box');
  expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^Uid:\t200000\t.*\nGid:\t300000\t/m);
  expect(daemon.ok('exec', 'box', 'sh', '-c', 'id -u; cat /proc/self/uid_map')).toMatch(/^0\n\s+0\s+200000\s+65536$/);
  const shared = join(daemon.directory, 'shared');
  mkdirSync(shared);
  chmodSync(shared, 0o755);
  writeFileSync(join(shared, 'private'), 'sentinel', { mode: 0o600 });
  const tried = run(
    '-v',
    `${shared}:/shared`,
    ...sh('cat /shared/private; touch /shared/planted; mknod /dev/sda b 8 0; echo 1 > /etc/hosts && echo own; id -u'),
  );
  expect(tried).toBe('own\n0');
  expect(readdirSync(shared)).toEqual(['private']);
  expect(daemon.ok('info', '--format', '{{.SecurityOptions}}')).toContain('name=userns');
});

test('images, volumes, commits and copies keep the ids that containers know', () => {
  expect(statSync(join(daemon.dataRoot, 'volumes/volume/_data/f'))).toMatchObject({ uid: 5, gid: 6 });
  const listed = daemon.inside(
    'sh',
    '-c',
    'docker cp box:/d - | tar tv --numeric-owner; docker cp box:/v - | tar tv --numeric-owner',
  ).stdout;
  expect(listed.replaceAll(/ +\d+ \d{4}-.*:\d\d /g, ' ')).toBe(
    'drwxr-xr-x 0/0 d/\n-rw-r--r-- 7/8 d/c\ndrwxr-xr-x 0/0 v/\n-rw-r--r-- 5/6 v/f\n',
  );
  const upload = join(daemon.directory, 'upload');
  mkdirSync(join(upload, 'sub'), { recursive: true });
  writeFileSync(join(upload, 'sub/file'), 'x');
  daemon.ok('cp', upload, 'box:/d/upload');
  expect(daemon.ok('exec', 'box', 'stat', '-c', '%u:%g %n', '/d/upload/sub', '/d/upload/sub/file')).toBe(
    '0:0 /d/upload/sub\n0:0 /d/upload/sub/file',
  );
  daemon.ok('commit', 'box', 'committed');
  const mounted = ['--mount', 'type=image,src=committed,dst=/i'];
  for (const options of [[], ['--userns=host']]) {
    expect(run(...options, ...mounted, 'busybox', 'stat', '-c', '%u:%g', '/i/d/c', '/i/bin/sh')).toBe('7:8\n0:0');
    expect(
      run(
        ...options,
        '-v',
        'volume:/v',
        'committed',
        'stat',
        '-c',
        '%u:%g',
        '/d/c',
        '/d/upload/sub/file',
        '/v/f',
        '/bin/sh',
      ),
    ).toBe('7:8\n0:0\n5:6\n0:0');
  }
});

test('networks, names, ports and shared namespaces work; the host’s are refused, or asked for', () => {
  daemon.ok('network', 'create', 'front');
  daemon.ok(
    'run',
    '-d',
    '--name',
    'web',
    '--network',
    'front',
    '-p',
    '8099:80',
    ...sh('echo web > /index.html; httpd -f -p 80 -h /'),
  );
  expect(
    run(
      '--network',
      'front',
      ...sh('until wget -qO- http://web/; do sleep 1; done; ping -c1 -W2 web >/dev/null && echo ping'),
    ),
  ).toBe('web\nping');
  expect(daemon.inside('curl', '-s', '127.0.0.1:8099/').stdout).toBe('web\n');
  expect(run('--network', 'container:box', '--pid', 'container:box', ...sh('ps | grep -c "sleep 600"'))).not.toBe('0');
  expect(
    run('--network', 'none', '--cap-add', 'NET_ADMIN', ...sh('ip link set lo mtu 1400 && cat /sys/class/net/lo/mtu')),
  ).toBe('1400');
  for (const options of [['--privileged'], ['--network', 'host'], ['--pid', 'host']]) {
    expect(daemon.docker('run', '--rm', ...options, 'busybox', 'true').stderr).toMatch(/user namespace/);
    expect(run(...options, '--userns=host', ...sh('cat /proc/self/uid_map')).trim()).toMatch(/^0\s+0\s+4294967295$/);
  }
});

test('builds run remapped, and leave the ids of the image', () => {
  const context = join(daemon.directory, 'context');
  mkdirSync(context);
  writeFileSync(join(context, 'private'), 'read', { mode: 0o600 });
  writeFileSync(
    join(context, 'Dockerfile'),
    `FROM busybox
RUN touch /built && chown 3:4 /built && grep -q 200000 /proc/self/uid_map
RUN --mount=type=cache,target=/c touch /c/x
RUN --mount=type=cache,target=/c,source=sub touch /c/y
RUN --mount=type=bind,target=/m cat /m/private > /copied
COPY --chown=9:9 private /p`,
  );
  const built = daemon.docker('build', '-t', 'built', context);
  expect([built.code, built.stderr]).toEqual([0, expect.anything()]);
  expect(run('built', ...sh('stat -c %u:%g /built /copied /p; cat /copied').slice(1))).toBe('3:4\n0:0\n9:9\nread');
});

test('what runs is found again after the daemon was killed, in the same user namespace', async () => {
  const namespace = (): string => daemon.ok('exec', 'box', 'readlink', '/proc/self/ns/user');
  const old = namespace();
  await daemon.kill();
  await daemon.restart();
  await eventually(() => daemon.docker('exec', 'box', 'true').code === 0);
  expect(namespace()).toBe(old);
  expect(
    run('--network', 'container:box', '-v', 'volume:/v', ...sh('readlink /proc/self/ns/user; stat -c %u /v/f')),
  ).toBe(`${old}\n5`);
});
