/** Ways out through files: copies, volumes and builds of one real daemon, with containers and images that set traps. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { checkOut } from '../../src/build/fetch.ts';
import { mkfifo } from '../../src/host/ffi.ts';
import { type RunResult, startDaemon, type TestDaemon } from '../support/daemon.ts';
import { buildImage, busyboxLayer, pushImage, tarOf } from '../support/fixture-image.ts';

let daemon: TestDaemon;
/** A directory of the host that nobody may read or change. */
let outside: string;

beforeAll(async () => {
  daemon = await startDaemon();
  daemon.ok('tag', daemon.image, 'busybox');
  outside = join(daemon.directory, 'outside');
  mkdirSync(join(outside, 'empty'), { recursive: true });
  chmodSync(outside, 0o755);
  writeFileSync(join(outside, 'secret'), 'sentinel');
  chmodSync(join(outside, 'secret'), 0o644);
  writeFileSync(join(outside, 'nothing'), '');
});
afterEach(() => {
  expect(readdirSync(outside)).toEqual(['empty', 'nothing', 'secret']);
  expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('sentinel');
  expect(readdirSync(join(outside, 'empty'))).toEqual([]);
  expect(statSync(outside).mode & 0o7777).toBe(0o755);
  expect(statSync(join(outside, 'secret'))).toMatchObject({ mode: 0o100644, uid: 0, nlink: 1 });
});
afterAll(async () => daemon?.stop());

type Entries = Parameters<typeof tarOf>[0];

async function imageOf(name: string, entries: Entries, config = {}): Promise<string> {
  const image = buildImage({ layers: [await busyboxLayer(), await tarOf(entries)], config });
  await pushImage(daemon.registry!, `${name}:latest`, image);
  daemon.ok('pull', '-q', `${daemon.registry!.host}/${name}:latest`);
  return `${daemon.registry!.host}/${name}:latest`;
}

const put = (path: string, body: Buffer): Promise<{ status: number; text: string }> =>
  new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/x-tar', 'content-length': body.length };
    const call = request({ socketPath: daemon.socket, method: 'PUT', path, headers, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (chunk) => (text += String(chunk)));
      answer.on('end', () => resolve({ status: answer.statusCode!, text }));
    });
    call.on('error', reject);
    call.end(body);
  });

describe('copies', () => {
  test('from and to a container that swaps directories for links stay inside (CVE-2018-15664, CVE-2021-41089, CVE-2026-41568, CVE-2026-42306)', async () => {
    const script = `mkdir /d /e; echo inner > /d/secret
      while :; do mv /d /d2; ln -s ${outside} /d; rm /d; mv /d2 /d; done`;
    daemon.ok('run', '-d', '--name', 'swapper', '-v', 'inside:/d3/volume', 'busybox', 'sh', '-c', script);
    const upload = await tarOf([
      { name: 'planted', content: 'x' },
      { name: 'deep/er/planted', content: 'x' },
    ]);
    const downward = await tarOf([
      { name: 'd/', type: 'directory', mode: 0o777 },
      { name: 'd/planted', content: 'x' },
      { name: 'd/secret', type: 'link', linkname: 'd/planted' },
    ]);
    let reached = 0;
    for (let round = 0; round < 60; round++) {
      const got = await daemon.api('GET', '/containers/swapper/archive?path=/d/secret');
      expect(got.text).not.toContain('sentinel');
      if (got.status === 200) reached++;
      await put('/containers/swapper/archive?path=/d', upload);
      await put('/containers/swapper/archive?path=/', downward);
    }
    expect(reached).toBeGreaterThan(0);
    daemon.ok('rm', '-f', 'swapper');
  });

  test('unpack with the host’s own tools, whatever the container has by their names (CVE-2019-14271, CVE-2026-41567)', async () => {
    const trap = `#!/bin/sh\necho trapped > ${outside}/planted; echo trapped > /planted\n`;
    const places = ['xz', 'unpigz', 'gzip', 'zstd', 'bzip2', 'tar'].flatMap((name) => [
      `usr/bin/${name}`,
      `bin/${name}`,
    ]);
    const image = await imageOf('trapped', [
      ...places.map((name) => ({ name, content: trap, mode: 0o755 })),
      { name: 'lib/', type: 'directory' as const },
      { name: 'lib/libnss_files.so.2', content: 'not a library', mode: 0o755 },
      { name: 'etc/nsswitch.conf', content: 'passwd: files\n' },
    ]);
    daemon.ok('create', '--name', 'trap', image, 'true');
    const plain = await tarOf([{ name: 'copied', content: 'through' }]);
    for (const tool of ['xz', 'gzip', 'bzip2', 'zstd']) {
      const packed = spawnSync(tool, ['-c'], { input: plain }).stdout;
      const answer = await put('/containers/trap/archive?path=/tmp&copyUIDGID=1', packed);
      expect([tool, answer.status, answer.text]).toEqual([tool, 200, '']);
    }
    expect(daemon.ok('diff', 'trap')).toBe('C /tmp\nA /tmp/copied');
    daemon.ok('rm', 'trap');
  });
});

describe('an image', () => {
  test('whose user database is a trap is read neither for ever nor outside (CVE-2024-9676)', async () => {
    writeFileSync(join(daemon.directory, 'passwd'), 'hostuser:x:0:0::/:\n');
    const traps: [string, Entries[number]][] = [
      ['fifo', { name: 'etc/passwd', type: 'fifo' }],
      ['endless', { name: 'etc/passwd', type: 'symlink', linkname: '/dev/zero' }],
      ['outside', { name: 'etc/passwd', type: 'symlink', linkname: join(daemon.directory, 'passwd') }],
      ['upwards', { name: 'etc/passwd', type: 'symlink', linkname: `../../../../../..${daemon.directory}/passwd` }],
      ['loop', { name: 'etc/passwd', type: 'symlink', linkname: 'passwd' }],
      ['odd', { name: 'etc/passwd', content: `${'x'.repeat(3 << 20)}\n:::\n\0\n` }],
    ];
    for (const [name, entry] of traps) {
      const tried = daemon.docker('run', '--rm', '-u', 'hostuser', await imageOf(name, [entry]), 'id');
      expect([name, tried.code]).toEqual([name, 125]);
      expect(tried.stderr).toContain('unable to find user hostuser');
    }
  });

  test('fills no volume from outside, nor mounts one there (CVE-2022-23648)', async () => {
    const volumes = { '/link': {}, '/up': {}, '/a/../../../..': {}, [`/${'../'.repeat(9)}${outside.slice(1)}`]: {} };
    const image = await imageOf(
      'volumes',
      [
        { name: 'link', type: 'symlink', linkname: outside },
        { name: 'up', type: 'symlink', linkname: `../../../../../../..${outside}` },
      ],
      { Volumes: volumes },
    );
    const tried = daemon.docker(
      'run',
      '--name',
      'filled',
      image,
      'sh',
      '-c',
      `cat /link/* /up/* ${outside}/*; touch ${outside}/planted`,
    );
    expect(tried.stdout).not.toContain('sentinel');
    for (const name of daemon.ok('volume', 'ls', '-q').split('\n').filter(Boolean))
      expect(daemon.ok('run', '--rm', '-v', `${name}:/v`, 'busybox', 'find', '/v')).not.toContain('secret');
    daemon.docker('rm', '-f', '-v', 'filled');
  });
});

describe('a git source', () => {
  const git = (cwd: string, ...args: string[]): void => {
    const identity = [
      '-c',
      'user.name=t',
      '-c',
      'user.email=t@t',
      '-c',
      'protocol.file.allow=always',
      '-c',
      'init.defaultBranch=main',
    ];
    execFileSync('git', [...identity, ...args], { cwd, stdio: 'ignore' });
  };
  let repository: string;
  beforeAll(() => {
    repository = join(daemon.directory, 'repository.git');
    mkdirSync(join(repository, 'sub'), { recursive: true });
    writeFileSync(join(repository, 'sub/Dockerfile'), 'FROM busybox\n');
    symlinkSync(outside, join(repository, 'link'));
    git(repository, 'init');
    git(repository, 'add', '.');
    git(repository, 'commit', '-m', 'first');
    git(repository, 'checkout', '-b', 'stealing');
    writeFileSync(join(repository, '.gitmodules'), `[submodule "s"]\n\tpath = s\n\turl = ${repository}\n`);
    const head = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: repository, encoding: 'utf8' }).trim();
    git(repository, 'update-index', '--add', '--cacheinfo', `160000,${head},s`);
    git(repository, 'add', '.gitmodules');
    git(repository, 'commit', '-m', 'second');
    git(repository, 'checkout', 'main');
  });
  const checkedOut = (source: string): Promise<string> => {
    const directory = mkdtempSync(join(daemon.directory, 'checkout-'));
    return checkOut(source, directory, AbortSignal.timeout(30_000)).then(({ path }) => path.slice(directory.length));
  };

  test('is an address and never an option or a command of git (CVE-2019-13139)', async () => {
    for (const source of [
      '--upload-pack=touch planted',
      `${repository}#--upload-pack=touch planted`,
      'ext::sh -c touch% planted',
      'fd::7/x',
      `-c core.sshCommand=touch#main`,
    ])
      await expect(checkedOut(source)).rejects.toMatchObject({ kind: 'invalid' });
  });

  test('has subdirectories in its checkout only (CVE-2026-33748)', async () => {
    expect(await checkedOut(`${repository}#main:sub`)).toBe('/repository/sub');
    for (const subdirectory of [
      '../../outside',
      'link',
      'link/empty',
      '/../../../..',
      'sub/../../..',
      'sub/Dockerfile',
    ]) {
      const found = await checkedOut(`${repository}#main:${subdirectory}`).catch((error: Error) => error.message);
      expect(found).toMatch(/^\/repository\/?$|is no directory of the git repository/);
    }
  });

  test('clones no repository of this machine as a submodule (CVE-2022-39253)', async () => {
    await expect(checkedOut(`${repository}#stealing`)).rejects.toThrow(/transport 'file' not allowed/);
  });
});

describe('a build', () => {
  const build = (dockerfile: string, options: string[] = []): RunResult => {
    const directory = join(daemon.directory, `context-${Math.random().toString(36).slice(2)}`);
    mkdirSync(directory);
    writeFileSync(join(directory, 'Dockerfile'), dockerfile);
    symlinkSync(outside, join(directory, 'link'));
    symlinkSync('../outside/secret', join(directory, 'file'));
    mkfifo(join(directory, 'pipe'), 0o600);
    return daemon.docker('build', ...options, directory);
  };
  const FROM = 'FROM busybox';

  test('takes nothing from outside by links and dots, of the context, of a stage, of the Dockerfile itself', () => {
    const all = [
      `${FROM}\nCOPY link/secret /x\nRUN cat /x`,
      `${FROM}\nCOPY file /x\nRUN cat /x`,
      `${FROM}\nADD ../outside/secret /x\nRUN cat /x`,
      `${FROM} AS a\nRUN ln -s / /root/up\n${FROM}\nCOPY --from=a /../../../../..${outside}/secret /x\nRUN cat /x`,
      `${FROM} AS a\nRUN ln -s ${outside} /out\n${FROM}\nCOPY --from=a /out/secret /x\nRUN cat /x`,
      `${FROM}\nRUN ln -s ${outside} /out\nCOPY Dockerfile /out/planted\nWORKDIR /out/work\nADD Dockerfile /../../../..${outside}/planted`,
      `${FROM}\nRUN --mount=type=bind,source=link,target=/m cat /m/secret`,
      `${FROM}\nRUN --mount=type=bind,source=../../outside,target=/m cat /m/secret`,
    ];
    for (const dockerfile of all) expect(build(dockerfile).stdout).not.toContain('sentinel');
    expect(build(FROM, ['-f', join(outside, 'secret')]).stdout).not.toContain('sentinel');
  });

  test('waits for nobody who writes into a pipe', () => {
    const built = build(`${FROM}\nADD pipe /\nCOPY pipe /other\nRUN test -p /pipe -a -p /other`);
    expect([built.code, built.stderr]).toEqual([0, expect.anything()]);
  });

  test('gets caches by no link that another step put there (CVE-2024-23651)', () => {
    const cache = '--mount=type=cache,id=shared';
    const trap = build(
      `${FROM}\nRUN ${cache},target=/c ln -s ${outside} /c/sub && mkdir /c/real && echo kept > /c/real/f`,
    );
    expect([trap.code, trap.stderr]).toMatchObject([0, expect.anything()]);
    const used = build(
      `${FROM}\nRUN ${cache},source=real,target=/c cat /c/f\nRUN ${cache},source=sub/deep,target=/c ls -a /c; touch /c/planted`,
    );
    expect(used.stdout + used.stderr).toContain('kept');
    expect(used.stdout + used.stderr).not.toContain('sentinel');
  });

  test('removes mount points in the image only (CVE-2024-23652)', () => {
    const text = `${FROM}\nRUN ln -s ${outside} /out
      RUN --mount=type=tmpfs,target=/out/empty --mount=type=cache,target=/out/new --mount=type=bind,source=Dockerfile,target=/out/nothing ls -R /out`;
    build(text);
  });

  test('leaves its sandbox only where its client allows it, and runs no frontend of an image (CVE-2024-23653, CVE-2026-33747)', () => {
    expect(build(`${FROM}\nRUN --network=host true`).stderr).toContain('network.host is not allowed');
    expect(build(`${FROM}\nRUN --network=host true`, ['--network=host']).code).toBe(0);
    expect(build(`${FROM}\nRUN --security=insecure true`).stderr).toContain('is not allowed');
    expect(build(`# syntax=nowhere.invalid/evil/frontend\n${FROM}`).code).toBe(0);
  });

  test('takes no step from an image that came from elsewhere (CVE-2024-24557)', async () => {
    const step = '/bin/sh -c echo good > /made';
    const layers = [await busyboxLayer(), await tarOf([{ name: 'made', content: 'evil' }])];
    const base = JSON.parse(daemon.ok('image', 'inspect', 'busybox'))[0];
    const evil = buildImage({ layers });
    // The same history as an honest build of the step would have.
    const document = JSON.parse(evil.blobs.get(evil.config.digest)!.toString());
    document.history = [{ created_by: 'layer 0' }, { created_by: step }];
    document.config = { ...base.Config, Image: base.Id, Cmd: ['/bin/sh', '-c', 'echo good > /made'] };
    document.parent = base.Id;
    const archive = await tarOf([
      { name: 'config.json', content: JSON.stringify(document) },
      { name: '0.tar', content: layers[0]! },
      { name: '1.tar', content: layers[1]! },
      {
        name: 'manifest.json',
        content: JSON.stringify([{ Config: 'config.json', RepoTags: ['evil:1'], Layers: ['0.tar', '1.tar'] }]),
      },
    ]);
    const file = join(daemon.directory, 'evil.tar');
    writeFileSync(file, archive);
    daemon.ok('load', '-i', file);
    const built = build(`${FROM}\nRUN echo good > /made`, ['-t', 'honest']);
    expect(built.stderr + built.stdout).toContain('Successfully tagged');
    expect(daemon.ok('run', '--rm', 'honest', 'cat', '/made')).toBe('good');
  });
});
