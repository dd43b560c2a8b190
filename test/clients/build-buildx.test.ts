/** The real buildx with its docker driver. Runs where the plugin is installed; REACTORD_BUILDX names it elsewhere. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeTree } from '../fixtures/build/buildkit-client.ts';
import { BUILDX, givePlugins } from '../fixtures/build/fronts.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { tarOf } from '../support/fixture-image.ts';

describe.skipIf(!BUILDX)('buildx', () => {
  let daemon: TestDaemon;
  let directory: string;
  let contexts = 0;

  beforeAll(async () => {
    daemon = await startDaemon();
    givePlugins(daemon);
    daemon.ok('pull', '-q', daemon.image);
    daemon.ok('tag', daemon.image, 'busybox');
    directory = mkdtempSync(join(tmpdir(), 'build-buildx-'));
  });
  afterAll(async () => {
    await daemon?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  function buildx(files: Record<string, string>, args: string[], options: { input?: string } = {}) {
    const cwd = writeTree(join(directory, `context-${contexts++}`), files);
    const env = { DOCKER_BUILDKIT: '1', BUILDX_NO_DEFAULT_ATTESTATIONS: '1' };
    return { cwd, ...daemon.dockerWith({ cwd, env, ...options }, ...args) };
  }

  test('docker build goes through it, loads the image, and takes what did not change from the cache', () => {
    const files = {
      Dockerfile:
        '# syntax=docker/dockerfile:1\nFROM busybox\nARG A\nCOPY . /c\nRUN cat /c/f > /out && echo $A >> /out\nCMD ["cat", "/out"]',
      f: 'file\n',
    };
    const args = [
      'build',
      '--progress=plain',
      '-t',
      'x:1',
      '--build-arg',
      'A=1',
      '--iidfile',
      join(directory, 'iid'),
      '.',
    ];
    const first = buildx(files, args);
    expect(first.stderr).toContain('using docker driver');
    expect(first.code).toBe(0);
    expect(daemon.ok('run', '--rm', 'x:1')).toBe('file\n1');
    expect(readFileSync(join(directory, 'iid'), 'utf8')).toBe(daemon.ok('inspect', '-f', '{{.Id}}', 'x:1'));
    expect(buildx(files, args).stderr.match(/CACHED/g)?.length).toBe(2);
  });

  test('secrets, SSH agents of nobody, heredocs, named contexts and targets', () => {
    writeFileSync(join(directory, 'secret'), 's3cr3t');
    const more = writeTree(join(directory, 'more'), { m: 'more\n' });
    const dockerfile = [
      'FROM base AS one', 'RUN --mount=type=secret,id=s test "$(cat /run/secrets/s)" = s3cr3t', 'RUN --mount=type=ssh test -z "$SSH_AUTH_SOCK"', 'COPY --from=more m /m',
      'RUN <<EOF', 'cat /m', 'echo "in heredoc"', 'EOF', 'FROM one', 'RUN false',
    ].join('\n'); // prettier-ignore
    const { stderr, code } = buildx({ Dockerfile: dockerfile }, [
      'build', '--progress=plain', '--target', 'one', '--secret', `id=s,src=${join(directory, 'secret')}`,
      '--build-context', 'base=docker-image://busybox', '--build-context', `more=${more}`, '.',
    ]); // prettier-ignore
    expect([code, /more[\s\S]*in heredoc/.test(stderr)]).toEqual([0, true]);
  });

  test('an agent of the client is there for the step that asks for it', async () => {
    const path = join(directory, 'agent.sock');
    const agent = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => agent.listen(path, resolve));
    const ask = (flags: string) => `RUN --mount=type=ssh,id=mine${flags} stat -c '%F %a %u' $SSH_AUTH_SOCK`;
    const files = { Dockerfile: `FROM busybox\n${ask(',uid=65534,mode=0640')}\nRUN test -z "$SSH_AUTH_SOCK"` };
    const { stderr, code } = buildx(files, ['build', '--progress=plain', '--ssh', `mine=${path}`, '.']);
    agent.close();
    expect([code, /socket 640 65534/.test(stderr)]).toEqual([0, true]);
    const without = buildx({ Dockerfile: `FROM busybox\n${ask(',required')}` }, ['build', '--no-cache', '.']);
    expect([without.code, without.stderr.includes('no SSH key "mine" forwarded')]).toEqual([1, true]);
  });

  test('a context from standard input, and results as files and as a tar', async () => {
    const archive = gzipSync(
      await tarOf([
        { name: 'Dockerfile', content: 'FROM scratch\nCOPY f /' },
        { name: 'f', content: 'from stdin' },
      ]),
    );
    const cwd = writeTree(join(directory, 'stdin'), {});
    const done = daemon.dockerWith(
      { cwd: directory, env: { DOCKER_BUILDKIT: '1' }, input: archive as never },
      'build',
      '-o',
      join(cwd, 'out'),
      '-',
    );
    expect([done.code, done.stderr]).toEqual([0, expect.any(String)]);
    expect(readFileSync(join(cwd, 'out/f'), 'utf8')).toBe('from stdin');
    const tar = buildx({ Dockerfile: 'FROM scratch\nCOPY f /', f: 'x' }, [
      'build',
      '-o',
      `type=tar,dest=${join(cwd, 'out.tar')}`,
      '.',
    ]);
    expect([tar.code, readFileSync(join(cwd, 'out.tar')).includes('ustar')]).toEqual([0, true]);
  });

  test('checks are shown as warnings, and fail the build where the file says so', () => {
    const text = 'FROM busybox AS Base\nENV A=$NOPE\nCMD echo x';
    const { stderr, code } = buildx({ Dockerfile: text }, ['build', '--progress=plain', '.']);
    expect(code).toBe(0);
    for (const warning of [
      '3 warnings found',
      "StageNameCasing: Stage name 'Base' should be lowercase (line 1)",
      "UndefinedVar: Usage of undefined variable '$NOPE' (line 2)",
      'JSONArgsRecommended: JSON arguments recommended for CMD',
    ])
      expect(stderr).toContain(warning);
    const strict = buildx({ Dockerfile: `# check=skip=StageNameCasing,JSONArgsRecommended;error=true\n${text}` }, [
      'build',
      '.',
    ]);
    expect([strict.code, strict.stderr.includes('lint violation found for rules: UndefinedVar')]).toEqual([1, true]);
  });

  test('checks, targets and parameters are answered without a build', () => {
    const files = {
      Dockerfile: 'ARG V=1\nFROM busybox AS one\nFROM one AS Two\nRUN --mount=type=secret,id=token false',
    };
    const check = buildx(files, ['buildx', 'build', '--check', '.']);
    expect([check.code, /StageNameCasing[\s\S]*>>> FROM one AS Two/.test(check.stdout)]).toEqual([1, true]);
    expect(buildx(files, ['build', '--call=targets', '.']).stdout).toMatch(/^one\s+two \(default\)\s*$/m);
    expect(buildx(files, ['build', '--call=outline', '.']).stdout).toMatch(/V\s+1[\s\S]*token/);
    expect(buildx({ Dockerfile: 'FROM busybox' }, ['build', '--check', '.']).stdout).toContain('no warnings found');
  });

  test('what is built is pushed, and its digest at the registry is told', () => {
    const name = `${daemon.registry!.host}/pushed:1`;
    const metadata = join(directory, 'metadata.json');
    const files = { Dockerfile: 'FROM busybox\nCOPY f /f\nCMD ["cat", "/f"]', f: 'pushed' };
    const push = buildx(files, ['build', '--push', '-t', name, '--metadata-file', metadata, '.']);
    expect([push.code, push.code ? push.stderr : '']).toEqual([0, '']);
    const told = JSON.parse(readFileSync(metadata, 'utf8'));
    expect(told['image.name']).toBe(name);
    expect(told['containerimage.config.digest']).toBe(daemon.ok('inspect', '-f', '{{.Id}}', name));
    daemon.ok('rmi', name);
    daemon.ok('pull', '-q', `${name.replace(/:1$/, '')}@${told['containerimage.digest']}`);
    expect(daemon.ok('run', '--rm', name)).toBe('pushed');
  });

  test('builds are history: listed, told again, removed', () => {
    buildx({ Dockerfile: 'FROM busybox\nRUN echo remembered' }, ['build', '-t', 'history:1', '.']);
    buildx({ Dockerfile: 'FROM busybox\nRUN exit 4' }, ['build', '.']);
    const history = (...args: string[]) => buildx({ x: '' }, ['buildx', 'history', ...args]);
    const [failed, done] = history('ls', '--format', '{{.Ref}} {{.Status}}').stdout.split('\n');
    expect([failed, done]).toEqual([expect.stringMatching(/ Error$/), expect.stringMatching(/ Completed$/)]);
    const ref = done!.split(' ')[0]!;
    expect(history('logs', ref).stderr).toContain('remembered');
    expect(history('inspect', '--format', '{{.Status}} {{.NumTotalSteps}}', ref).stdout.trim()).toMatch(
      /^completed \d+$/,
    );
    expect(history('rm', ref).code).toBe(0);
    expect(history('ls', '--format', '{{.Ref}}').stdout).not.toContain(ref);
  });

  test('several outputs of one build', () => {
    const out = join(directory, 'outputs');
    const args = [
      'build',
      '-o',
      `${out}/files`,
      '-o',
      `type=tar,dest=${out}.tar`,
      '-o',
      'type=image,name=outputs:1',
      '.',
    ];
    const { code, stderr } = buildx({ Dockerfile: 'FROM scratch\nCOPY f /', f: 'several' }, args);
    expect([code, code ? stderr : '']).toEqual([0, '']);
    expect(readFileSync(join(out, 'files/f'), 'utf8')).toBe('several');
    expect(readFileSync(`${out}.tar`, 'latin1')).toContain('several');
    expect(daemon.ok('images', '-q', 'outputs:1')).not.toBe('');
  });

  test('a privileged step needs the word of the client and of daemon.json, an inline cache goes along in the image', async () => {
    const files = {
      Dockerfile:
        '# syntax=docker/dockerfile:1-labs\nFROM busybox\nRUN --security=insecure grep CapEff /proc/self/status',
    };
    expect(buildx(files, ['build', '.']).stderr).toContain('security.insecure is not allowed');
    const insecure = ['build', '--progress=plain', '--allow', 'security.insecure', '.'];
    expect(buildx(files, insecure).stderr).toContain('not allowed by build daemon configuration');
    const allow = { builder: { entitlements: { 'security-insecure': true } } };
    writeFileSync(join(daemon.directory, 'daemon.json'), JSON.stringify(allow));
    await daemon.restart();
    const allowed = buildx(files, insecure);
    expect([allowed.code, /CapEff:\s*[0-9a-f]*ff\n/.test(allowed.stderr)]).toEqual([0, true]);
    const cached = { Dockerfile: 'FROM busybox\nCOPY f /f\nRUN cat /f > /g', f: 'inline' };
    expect(buildx(cached, ['build', '--cache-to', 'type=inline', '-t', 'inline:1', '.']).code).toBe(0);
    expect(daemon.ok('builder', 'prune', '-af')).toContain('Total');
    const again = buildx(cached, ['build', '--progress=plain', '--cache-from', 'type=registry,ref=inline:1', '.']);
    expect([again.code, again.stderr.match(/CACHED/g)?.length]).toEqual([0, 2]);
  });

  test('a failing step is shown with its output and the way in', () => {
    const { stderr, code } = buildx({ Dockerfile: 'FROM busybox\nRUN echo the words; exit 3' }, [
      'build',
      '--progress=plain',
      '.',
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain('the words');
    expect(stderr).toMatch(/docker run -it [0-9a-f]{12}/);
    expect(stderr).toMatch(/^Dockerfile:2\n-+\n +1 \| +FROM busybox\n +2 \| >>> RUN echo/m);
    expect(stderr).toContain(
      'failed to solve: process "/bin/sh -c echo the words; exit 3" did not complete successfully: exit code: 3',
    );
  });

  test('bake builds several targets in one session of its own, and the cache can be told and emptied', () => {
    const bake =
      'group "default" { targets = ["a", "b"] }\ntarget "a" { tags = ["bake:a"] }\ntarget "b" {\n  tags = ["bake:b"]\n  args = { N = "b" }\n}';
    const { code, stderr } = buildx(
      { Dockerfile: 'FROM busybox\nARG N=a\nRUN echo $N > /n\nCMD cat /n', 'docker-bake.hcl': bake },
      ['buildx', 'bake', '--progress=plain'],
    );
    expect([code, code ? stderr : '']).toEqual([0, '']);
    expect([daemon.ok('run', '--rm', 'bake:a'), daemon.ok('run', '--rm', 'bake:b')]).toEqual(['a', 'b']);
    expect(daemon.ok('buildx', 'du')).toContain('Total:');
    expect(daemon.ok('buildx', 'prune', '-af')).toContain('Total:');
    expect(daemon.ok('buildx', 'ls')).toContain('running');
  });
});
