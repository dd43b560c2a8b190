/** Contexts and files from elsewhere: git repositories, archives and Dockerfiles at addresses, through both fronts' real clients. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GrpcClient } from '../../src/build/grpc/client.ts';
import { buildkitBuild, upgrade, writeTree } from '../fixtures/build/buildkit-client.ts';
import { BUILDX, givePlugins, postBuild } from '../fixtures/build/fronts.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { tarOf } from '../support/fixture-image.ts';
import { stopClean } from './stop-clean.ts';

const SITE = 'http://127.0.0.1:8123';
const GIT = `${SITE}/repo.git`;
const SHA256 = '2689367b205c16ce32ed4200942b8b8b1e262dfc70d9bc9fbc77c49699a4f1df'; // of "ok"

let daemon: TestDaemon;
let server: ChildProcess;
let commit: string;

/** A repository with a branch, as a server without any wits gives it. */
function makeRepository(root: string): void {
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', root, '-c', 'user.name=a', '-c', 'user.email=a@x', ...args], {
      encoding: 'utf8',
    }).trim();
  writeTree(root, { 'sub/Dockerfile': 'FROM busybox\nCOPY f /f\nLABEL from=git', 'sub/f': 'main', top: 'top' });
  git('init', '-q', '-b', 'main');
  git('add', '.');
  git('commit', '-q', '-m', 'first');
  commit = git('rev-parse', 'HEAD');
  git('checkout', '-q', '-b', 'other');
  writeTree(root, { 'sub/f': 'other' });
  git('commit', '-q', '-a', '-m', 'second');
  git('checkout', '-q', 'main');
  git('update-server-info');
}

beforeAll(async () => {
  daemon = await startDaemon();
  givePlugins(daemon);
  daemon.ok('tag', daemon.image, 'busybox');
  const site = join(daemon.directory, 'site');
  makeRepository(join(daemon.directory, 'work'));
  mkdirSync(site);
  execFileSync('cp', ['-a', join(daemon.directory, 'work/.git'), join(site, 'repo.git')]);
  const packed = await tarOf([
    { name: 'Dockerfile', content: 'FROM busybox\nCOPY f /f\nLABEL from=archive' },
    { name: 'f', content: 'packed' },
  ]);
  writeFileSync(join(site, 'context.tar.gz'), gzipSync(packed));
  writeTree(site, { 'Dockerfile.txt': 'FROM busybox\nLABEL from=text', ok: 'ok' });
  const python = ['python3', '-m', 'http.server', '--bind', '127.0.0.1', '8123'];
  server = spawn('nsenter', [`--net=${daemon.netns}`, ...python], { cwd: site, stdio: 'ignore' });
  await eventually(() => daemon.inside('curl', '-sf', `${SITE}/ok`).stdout === 'ok', { what: 'the site' });
});
afterAll(async () => {
  server?.kill('SIGKILL');
  await stopClean(daemon);
});

type Files = Record<string, string>;

interface Client {
  /** Builds what is at an address. */
  at(address: string, tag: string): Promise<string>;
  /** Builds files of this machine. */
  of(files: Files, tag: string, args?: Files): Promise<string>;
}

let contexts = 0;
const context = (files: Files): string => writeTree(join(daemon.directory, `context-${contexts++}`), files);

function cli(env: Record<string, string>): Client {
  const build = async (cwd: string, ...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = daemon.dockerWith({ cwd, env }, 'build', ...words);
    return code === 0 ? '' : stderr + stdout;
  };
  return {
    at: (address, tag) => build(daemon.directory, '-t', tag, address),
    of: (files, tag, args = {}) => {
      const pairs = Object.entries(args).flatMap(([key, value]) => ['--build-arg', `${key}=${value}`]);
      return build(context(files), '-t', tag, ...pairs, '.');
    },
  };
}

async function kit(files: Files | undefined, attributes: Record<string, string>, tag: string): Promise<string> {
  const control = new GrpcClient(await upgrade(daemon.socket, '/grpc'));
  const root = context(files ?? {});
  const exporter = { type: 'moby', attrs: { name: tag } };
  const { error } = await buildkitBuild(daemon.socket, control, {
    directories: files ? { context: root, dockerfile: root } : {},
    attributes,
    exporter,
  });
  control.close();
  return error?.message ?? '';
}

const own: Client = {
  at: (address, tag) => kit(undefined, { context: address }, tag),
  of: (files, tag, args = {}) =>
    kit(files, Object.fromEntries(Object.entries(args).map(([key, value]) => [`build-arg:${key}`, value])), tag),
};

const clients: [string, Client][] = [
  ['the docker CLI', cli({})],
  ["a BuildKit client of the test's own", own],
  ...(BUILDX
    ? [['buildx', cli({ DOCKER_BUILDKIT: '1', BUILDX_NO_DEFAULT_ATTESTATIONS: '1' })] as [string, Client]]
    : []),
];

const from = (image: string): string => daemon.ok('inspect', '-f', '{{.Config.Labels.from}}', image);
const cat = (image: string, file: string): string => daemon.ok('run', '--rm', image, 'cat', file);

describe.each(clients)('%s', (name, client) => {
  const tag = (what: string): string => `${what}:${clients.findIndex(([each]) => each === name)}`;

  test('builds a directory of a branch of a repository, and an archive, and a Dockerfile alone', async () => {
    expect(await client.at(`${GIT}#other:sub`, tag('git'))).toBe('');
    expect([from(tag('git')), cat(tag('git'), '/f')]).toEqual(['git', 'other']);
    expect(await client.at(`${SITE}/context.tar.gz`, tag('archive'))).toBe('');
    expect([from(tag('archive')), cat(tag('archive'), '/f')]).toEqual(['archive', 'packed']);
    expect(await client.at(`${SITE}/Dockerfile.txt`, tag('text'))).toBe('');
    expect(from(tag('text'))).toBe('text');
    expect(await client.at(`${GIT}#nothing-like-this:sub`, tag('none'))).not.toBe('');
  });

  test('adds files at addresses, held to their checksums, and repositories with or without their history', async () => {
    const Dockerfile = [
      'FROM busybox', `ADD ${SITE}/ok /1/`, `ADD --checksum=sha256:${SHA256} --chown=5:6 --chmod=0640 ${SITE}/ok /2`, `ADD ${GIT}#other:sub /3`, `ADD --keep-git-dir=true ${GIT} /4`,
      `ADD ${GIT}#${commit} /5`, 'RUN stat -c "%u:%g %a" /2 > /6; test -d /4/.git && test ! -e /3/.git && test ! -e /5/.git',
    ].join('\n'); // prettier-ignore
    expect(await client.of({ Dockerfile }, tag('add'))).toBe('');
    expect(daemon.ok('run', '--rm', tag('add'), 'sh', '-c', 'cd /; cat 1/ok 2 3/f 4/top 5/sub/f 6')).toBe('okokothertopmain5:6 640');
    const wrong = `FROM busybox\nADD --checksum=sha256:${'0'.repeat(64)} ${SITE}/ok /2`;
    expect(await client.of({ Dockerfile: wrong }, tag('wrong'))).toContain('digest mismatch');
    expect(await client.of({ Dockerfile: `FROM busybox\nADD ${SITE}/none /` }, tag('wrong'))).toContain('404');
  }); // prettier-ignore

  test('makes the same image twice for SOURCE_DATE_EPOCH', async () => {
    const Dockerfile = 'FROM busybox\nWORKDIR /w/x\nCOPY f /new/\nRUN echo made > /made';
    const id = async (): Promise<string> => {
      daemon.ok('builder', 'prune', '-af');
      expect(await client.of({ Dockerfile, f: 'f' }, tag('epoch'), { SOURCE_DATE_EPOCH: '1700000000' })).toBe('');
      const built = daemon.ok('inspect', '-f', '{{.Id}} {{.Created}}', tag('epoch'));
      daemon.ok('rmi', '-f', tag('epoch'));
      return built;
    };
    const [first, second] = [await id(), await id()];
    expect(second).toBe(first);
    expect(first).toContain('2023-11-14T22:13:20');
  });
});

test('the API takes repositories and archives at addresses itself', async () => {
  const failure = async (remote: string, tag: string): Promise<string> => {
    const lines = await postBuild(daemon, String(new URLSearchParams({ remote, t: tag })), Buffer.alloc(0));
    return lines.map(({ error, message }) => error ?? message ?? '').join('');
  };
  expect(await failure(`${GIT}#other:sub`, 'git:api')).toBe('');
  expect(cat('git:api', '/f')).toBe('other');
  expect(await failure(`${SITE}/context.tar.gz`, 'archive:api')).toBe('');
  expect(cat('archive:api', '/f')).toBe('packed');
  expect(await failure(`${SITE}/Dockerfile.txt`, 'text:api')).toBe('');
  expect(from('text:api')).toBe('text');
  expect(await failure(`${SITE}/none`, 'none:api')).toContain('404');
});

test('named contexts are repositories, archives at addresses and images', async () => {
  const Dockerfile = 'FROM base\nCOPY --from=git sub/f /git\nCOPY --from=archive f /archive\nRUN cat /git /archive > /all';
  const attributes = { 'context:base': 'docker-image://busybox', 'context:git': `${GIT}#other`, 'context:archive': `${SITE}/context.tar.gz` };
  expect(await kit({ Dockerfile }, attributes, 'named:own')).toBe('');
  expect(cat('named:own', '/all')).toBe('otherpacked');
}); // prettier-ignore

test('only the stages that are named do without the cache', async () => {
  const random = 'cat /proc/sys/kernel/random/uuid';
  const Dockerfile = `FROM busybox AS a\nRUN ${random} > /a\nFROM busybox AS b\nRUN ${random} > /b\nFROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=busybox /bin/busybox /bin/cat`;
  const built = async (attributes: Record<string, string>): Promise<string[]> => {
    expect(await kit({ Dockerfile }, attributes, 'filter')).toBe('');
    return ['/a', '/b'].map((file) => cat('filter', file));
  };
  const [a, b] = await built({});
  expect(await built({})).toEqual([a, b]);
  const [otherA, sameB] = await built({ 'no-cache': 'a' });
  expect([otherA === a, sameB]).toEqual([false, b]);
});

test('a step of a BuildKit client runs with the hosts, limits and shared memory that it was given', async () => {
  const Dockerfile = 'FROM busybox\nRUN (grep a.host /etc/hosts; df -k /dev/shm | tail -1; ulimit -n) > /seen';
  const attributes = { 'add-hosts': 'a.host=10.1.2.3', 'shm-size': String(32 << 20), ulimit: 'nofile=99:99' };
  expect(await kit({ Dockerfile }, attributes, 'limits')).toBe('');
  const seen = cat('limits', '/seen');
  for (const part of [/10\.1\.2\.3\s+a\.host/, /\s32768\s/, /^99$/m]) expect(seen).toMatch(part);
});
