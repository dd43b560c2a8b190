/** The classic front of the build engine through the docker CLI, with a real daemon and real containers for RUN. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { postBuild } from '../fixtures/build/fronts.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { tarOf } from '../support/fixture-image.ts';

let daemon: TestDaemon;
let directory: string;

beforeAll(async () => {
  daemon = await startDaemon();
  daemon.ok('pull', '-q', daemon.image);
  daemon.ok('tag', daemon.image, 'busybox');
  directory = mkdtempSync(join(tmpdir(), 'build-classic-'));
});
afterAll(async () => {
  await daemon?.stop();
  rmSync(directory, { recursive: true, force: true });
});

let contexts = 0;
function contextOf(files: Record<string, string>): string {
  const root = join(directory, `context-${contexts++}`);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

const build = (files: Record<string, string>, ...flags: string[]) =>
  daemon.dockerWith({ cwd: contextOf(files) }, 'build', ...flags, '.');

test('a build prints its steps, tags the image, and again comes from the cache', () => {
  const files = {
    Dockerfile:
      'FROM busybox\nARG N=1\nENV M=$N\nWORKDIR /w\nCOPY a .\nRUN echo "$M $N" > out\nUSER nobody\nRUN id -u > /tmp/id\nCMD ["cat", "/w/out"]',
    a: 'content',
  };
  const { stdout, code } = build(files, '-t', 'first:1', '--build-arg', 'N=7');
  expect(code).toBe(0);
  expect(stdout.replace(/[0-9a-f]{12}/g, '<id>').split('\n').slice(1)).toEqual([
    'Step 1/9 : FROM busybox', ' ---> <id>', 'Step 2/9 : ARG N=1', ' ---> <id>', 'Step 3/9 : ENV M=$N', ' ---> <id>', 'Step 4/9 : WORKDIR /w', ' ---> <id>',
    'Step 5/9 : COPY a .', ' ---> <id>', 'Step 6/9 : RUN echo "$M $N" > out', ' ---> Running in <id>', ' ---> Removed intermediate container <id>', ' ---> <id>',
    'Step 7/9 : USER nobody', ' ---> <id>', 'Step 8/9 : RUN id -u > /tmp/id', ' ---> Running in <id>', ' ---> Removed intermediate container <id>', ' ---> <id>',
    'Step 9/9 : CMD ["cat", "/w/out"]', ' ---> <id>', 'Successfully built <id>', 'Successfully tagged first:1', '',
  ]); // prettier-ignore
  expect(daemon.ok('run', '--rm', 'first:1')).toBe('7 7');
  expect(daemon.ok('run', '--rm', 'first:1', 'cat', '/tmp/id')).toBe('65534');
  const again = build(files, '-t', 'first:1', '--build-arg', 'N=7').stdout;
  expect(again.match(/Using cache/g)?.length).toBe(8);
  expect(again.match(/Successfully built .*/)?.[0]).toBe(stdout.match(/Successfully built .*/)?.[0]);
  expect(daemon.ok('ps', '-aq')).toBe('');
  expect(daemon.ok('images', '-q', '--filter', 'dangling=true')).toBe('');
});

test('mounts of a step: a cache that stays, a context, an image, a tmpfs; none of it is left in the layer', () => {
  const dockerfile = [
    'FROM busybox AS made', 'RUN echo from-stage > /made',
    'FROM busybox', 'RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/deep/tmpfs --mount=target=/context --mount=from=made,source=/made,target=/made,rw \\',
    '  cat /context/f /made >> /cache/all && echo written > /made && touch /deep/tmpfs/x && cp /cache/all /result && ! touch /context/no',
    'RUN --mount=type=cache,target=/elsewhere,id=/cache,sharing=locked cat /elsewhere/all >> /result; ls -a / > /names',
  ].join('\n'); // prettier-ignore
  const { code, stderr } = build({ Dockerfile: dockerfile, f: 'from-context\n' }, '-t', 'mounts');
  expect([code, stderr.includes('returned')]).toEqual([0, false]);
  expect(daemon.ok('run', '--rm', 'mounts', 'cat', '/result').split('\n')).toEqual([
    'from-context',
    'from-stage',
    'from-context',
    'from-stage',
  ]);
  const names = daemon.ok('run', '--rm', 'mounts', 'cat', '/names').split('\n');
  for (const name of ['cache', 'deep', 'context', 'made']) expect(names).not.toContain(name);
  expect(daemon.ok('system', 'df', '-v')).toContain('exec.cachemount');
});

test('a step runs with the limits, hosts and network it was given', () => {
  const dockerfile =
    'FROM busybox\nRUN grep a.host /etc/hosts && df -k /dev/shm | tail -1 && ulimit -n && ls /sys/class/net\nRUN --network=none ls /sys/class/net';
  const { stdout, code } = build(
    { Dockerfile: dockerfile },
    '--no-cache',
    '--add-host',
    'a.host:10.1.2.3',
    '--shm-size',
    '32m',
    '--ulimit',
    'nofile=99:99',
  );
  expect(code).toBe(0);
  expect(stdout).toMatch(/10\.1\.2\.3\s+a\.host/);
  expect(stdout).toMatch(/\s32768\s/);
  expect(stdout).toMatch(/^99$/m);
  expect(stdout.match(/^eth0$/gm)?.length).toBe(1);
});

test('a step that fails says where, with what, and how to look around; nothing is left running', () => {
  const { stdout, stderr, code } = build({
    Dockerfile: 'FROM busybox\nRUN echo good > /good\nRUN echo the last words; exit 9',
  });
  expect(code).toBe(9);
  expect(stderr).toContain("The command '/bin/sh -c echo the last words; exit 9' returned a non-zero code: 9");
  expect(stdout).toContain('Step failed on line 3: RUN echo the last words; exit 9 (exit code 9)');
  const [, id] = /docker run -it ([0-9a-f]{12})/.exec(stdout)!;
  expect(daemon.ok('run', '--rm', id!, 'cat', '/good')).toBe('good');
  expect(daemon.ok('ps', '-aq')).toBe('');
});

test('what is wrong with a request is an HTTP error before anything is built', async () => {
  const parse = build({ Dockerfile: 'FROM busybox\nRUNN x' });
  expect(parse.stderr).toContain('dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)');
  expect((await daemon.api('POST', '/build?squash=1')).status).toBe(400);
  expect((await daemon.api('POST', '/build?buildargs=nonsense')).status).toBe(400);
  expect((await daemon.api('POST', '/build/cancel?id=nothing')).status).toBe(404);
  expect(build({ Dockerfile: 'FROM busybox', x: '' }, '-f', 'x').stderr).toContain('cannot be empty');
});

test('a Dockerfile outside of the context', () => {
  writeFileSync(join(directory, 'elsewhere'), 'FROM busybox\nCOPY . /c\nRUN ls -A /c');
  const { stdout, code } = build({ inside: 'x' }, '--no-cache', '-f', join(directory, 'elsewhere'));
  expect([code, /\ninside\n ---> Removed/.test(stdout)]).toEqual([0, true]);
});

test('a Dockerfile from standard input, and a quiet build', () => {
  const { stdout } = daemon.dockerWith({ input: 'FROM busybox\nLABEL from=stdin' }, 'build', '-q', '-');
  expect(stdout.trim()).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(daemon.ok('inspect', '-f', '{{.Config.Labels.from}}', stdout.trim())).toBe('stdin');
});

test('independent stages, one of which is slow, still print in the order of the file', () => {
  const dockerfile =
    'FROM busybox AS a\nRUN sleep 0.5; echo first\nFROM busybox AS b\nRUN echo second\nFROM busybox\nCOPY --from=a /bin/sh /a\nCOPY --from=b /bin/sh /b';
  const { stdout, code } = build({ Dockerfile: dockerfile }, '--no-cache');
  expect(code).toBe(0);
  expect([...stdout.matchAll(/^Step (\d)\/7/gm)].map(([, n]) => n)).toEqual(['1', '2', '3', '4', '5', '6', '7']);
  expect(stdout.indexOf('\nfirst')).toBeLessThan(stdout.indexOf('\nsecond'));
});

test('a build whose upload stalls can be cancelled, and its client is told', async () => {
  const headers = { 'Content-Type': 'application/x-tar' };
  const call = request({ socketPath: daemon.socket, method: 'POST', path: '/build?buildid=stalled', headers });
  const answered = once(call, 'response') as Promise<[IncomingMessage]>;
  call.write('no more than this');
  await eventually(async () => (await daemon.api('POST', '/build/cancel?id=stalled')).status === 204);
  const [answer] = await answered;
  expect([answer.statusCode, JSON.parse((await answer.toArray()).join(''))]).toEqual([
    500,
    { message: 'the build was cancelled' },
  ]);
  call.destroy();
});

test('a client that leaves cancels its build, down to the running step', async () => {
  const body = await tarOf([{ name: 'Dockerfile', content: 'FROM busybox\nRUN sleep 1000' }]);
  const call = request({
    socketPath: daemon.socket,
    path: '/build?nocache=1',
    method: 'POST',
    headers: { 'content-type': 'application/x-tar' },
  });
  call.on('error', () => {});
  call.end(body);
  await eventually(() => daemon.ok('ps', '-q') !== '', { what: 'the step runs' });
  call.destroy();
  await eventually(() => daemon.ok('ps', '-aq') === '', { what: 'the step is gone' });
  await eventually(() => readdirSync(join(daemon.dataRoot, 'builder')).length === 0, { what: 'the build is gone' });
});

test('a daemon that was killed in the middle of a build leaves nothing of it', async () => {
  const child = spawn('nsenter', [`--net=${daemon.netns}`, 'docker', 'build', '--no-cache', '-'], {
    env: { ...process.env, DOCKER_HOST: `unix://${daemon.socket}`, DOCKER_BUILDKIT: '0' },
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.stdin.end('FROM busybox\nRUN sleep 1000');
  await eventually(() => daemon.ok('ps', '-q') !== '', { what: 'the step runs' });
  await daemon.kill();
  await daemon.restart();
  await eventually(() => readdirSync(join(daemon.dataRoot, 'builder')).length === 0, { what: 'the build is gone' });
  await eventually(() => daemon.ok('ps', '-aq') === '', { what: 'the orphaned step is gone' });
});

test('version 2 by the classic address: BuildKit traces and an image id', async () => {
  const body = await tarOf([
    { name: 'sub/Other', content: 'FROM busybox\nCOPY f /f\nRUN echo traced' },
    { name: 'f', content: 'x' },
  ]);
  const lines = await postBuild(daemon, 'version=2&t=traced&dockerfile=sub/Other&buildid=b1', body);
  const traces = lines
    .filter(({ id }) => id === 'moby.buildkit.trace')
    .map(({ aux }) => Buffer.from(aux, 'base64').toString('latin1'));
  expect(traces.join('')).toContain('traced');
  expect(lines.at(-1)!.aux.ID).toBe(daemon.ok('inspect', '-f', '{{.Id}}', 'traced'));
});
