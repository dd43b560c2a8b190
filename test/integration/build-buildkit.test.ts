/** BuildKit's front with a client of the test's own, over both ways in, against a real daemon. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GrpcClient } from '../../src/build/grpc/client.ts';
import type { DetailedError } from '../../src/build/grpc/status.ts';
import {
  type BuildHistoryEvent,
  BuildHistoryEventType,
  Control,
} from '../../src/generated/proto/buildkit/control_pb.ts';
import {
  buildkitBuild,
  type BuildKitBuild,
  direct,
  openSession,
  upgrade,
  writeTree,
} from '../fixtures/build/buildkit-client.ts';
import { LLBBridge } from '../../src/generated/proto/buildkit/gateway_pb.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { pushBusybox } from '../support/fixture-image.ts';
import { PASSWORD, startRegistry, USER } from '../support/registry.ts';

let daemon: TestDaemon;
let control: GrpcClient;
let directory: string;
let contexts = 0;

beforeAll(async () => {
  daemon = await startDaemon();
  daemon.ok('pull', '-q', daemon.image);
  daemon.ok('tag', daemon.image, 'busybox');
  directory = mkdtempSync(join(tmpdir(), 'build-buildkit-'));
  control = new GrpcClient(await upgrade(daemon.socket, '/grpc'));
});
afterAll(async () => {
  control?.close();
  await daemon?.stop();
  rmSync(directory, { recursive: true, force: true });
});

function build(files: Record<string, string>, more: Partial<BuildKitBuild> = {}) {
  const root = writeTree(join(directory, `context-${contexts++}`), files);
  return buildkitBuild(daemon.socket, control, { directories: { context: root, dockerfile: root }, ...more });
}

const moby = (name: string) => ({ exporter: { type: 'moby', attrs: { name } } });

test('a build goes from the files of the session to a tagged image, and again comes from the cache', async () => {
  const files = {
    Dockerfile: 'FROM busybox AS tools\nRUN echo tool > /tool\nFROM busybox\nARG N\nENV M=$N\nCOPY --from=tools /tool /\nCOPY . /c/\nRUN echo "out $M" && cat /c/sub/f /tool > /all\nCMD ["cat", "/all"]',
    'sub/f': 'file\n', 'ignored/x': 'x', '.dockerignore': 'ignored\n',
  }; // prettier-ignore
  const options = { attributes: { 'build-arg:N': '5', 'label:l': 'v' }, ...moby('kit:1,kit:2') };
  const first = await build(files, options);
  expect(first.error).toBeUndefined();
  expect(first.log).toContain('out 5');
  expect(first.response['containerimage.digest']).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(daemon.ok('run', '--rm', 'kit:2')).toBe('file\ntool');
  expect(daemon.ok('run', '--rm', 'kit:1', 'ls', '/c')).not.toContain('ignored');
  expect(JSON.parse(daemon.ok('inspect', '-f', '{{json .Config.Labels}}', 'kit:1'))).toEqual({ l: 'v' });
  expect(daemon.ok('history', '--no-trunc', '--format', '{{.CreatedBy}}', 'kit:1').split('\n').slice(0, 6)).toEqual([
    'CMD ["cat" "/all"]', 'RUN |1 N=5 /bin/sh -c echo "out $M" && cat /c/sub/f /tool > /all # buildkit', 'COPY . /c/ # buildkit', 'COPY /tool / # buildkit', 'ENV M=5', 'ARG N=5',
  ]); // prettier-ignore
  expect(daemon.ok('images', '-q', '--filter', 'dangling=true')).toBe('');
  daemon.ok('image', 'prune', '-f');
  const again = await build(files, options);
  expect(again.response).toEqual(first.response);
  const steps = [...again.vertexes].filter(([name]) => /(RUN|COPY)/.test(name));
  expect(steps.map(([, { cached }]) => cached)).toEqual([true, true, true, true]);
});

test('a context of which nothing is taken is not asked for, whatever stages nobody needs would take', async () => {
  const files = { Dockerfile: 'FROM busybox AS other\nCOPY f /\nFROM busybox AS wanted\nENV A=1' };
  const root = writeTree(join(directory, `context-${contexts++}`), files);
  const directories = { dockerfile: root };
  const wanted = await build({}, { directories, attributes: { target: 'wanted' } });
  expect(wanted.error).toBeUndefined();
  expect([...wanted.vertexes.keys()].filter((name) => /context|dockerignore/.test(name))).toEqual([]);
  const other = await build({}, { directories, attributes: { target: 'other' } });
  expect(other.error?.message).toContain('no access allowed to this directory');
});

test('HTTP/2 from the first byte reaches the same services', async () => {
  const client = new GrpcClient(await direct(daemon.socket));
  const { record } = await client.unary(Control.method.listWorkers, {}, { deadline: 10_000 });
  expect(record.map(({ platforms }) => platforms[0]?.os)).toEqual(['linux']);
  // Nothing but what --add-host name:host-gateway needs: clients choose their features by these labels.
  expect(record[0]!.labels).toEqual({ 'org.mobyproject.buildkit.worker.moby.host-gateway-ip': '172.17.0.1' });
  const { buildkitVersion } = await client.unary(Control.method.info, {}, { deadline: 10_000 });
  expect(buildkitVersion?.version).toMatch(/^v\d+\.\d+\.\d+$/);
  client.close();
});

test('secrets reach the step and nothing else', async () => {
  const secret = 'tops3cret-3141';
  const { error, log } = await build(
    { Dockerfile: 'FROM busybox\nRUN --mount=type=secret,id=token,uid=65534 ls -ln /run/secrets/token | cut -c1-40; wc -c < /run/secrets/token; touch /x\nRUN --mount=type=secret,id=token,env=TOKEN test ${#TOKEN} = 14 && touch /y\nRUN ls -a /' },
    { secrets: { token: secret }, ...moby('secret') },
  ); // prettier-ignore
  expect(error).toBeUndefined();
  expect(log).toMatch(/-r-------- +1 65534/);
  expect(log).toMatch(/\b14\b/);
  const [, listing] = log.split('14\n');
  expect(listing!.split('\n')).not.toContain('run');
  const found = daemon.inside('grep', '-rlF', secret, daemon.dataRoot);
  expect(found.stdout).toBe('');
  const missing = await build({ Dockerfile: 'FROM busybox\nRUN --mount=type=secret,id=no,required=true true' });
  expect(missing.error?.message).toContain('secret no: not found');
});

test('the result goes back as files', async () => {
  const output = join(directory, 'output');
  const { error } = await build(
    { Dockerfile: 'FROM busybox AS b\nRUN mkdir -p /o/d && echo made > /o/d/f && chmod 750 /o/d && ln -s d/f /o/l\nFROM scratch\nCOPY --from=b /o /' },
    { exporter: { type: 'local', attrs: {} }, output },
  ); // prettier-ignore
  expect(error).toBeUndefined();
  expect(readdirSync(output).sort()).toEqual(['d', 'l']);
  expect(readFileSync(join(output, 'l'), 'utf8')).toBe('made\n');
  expect(statSync(join(output, 'd')).mode & 0o777).toBe(0o750);
});

test('named contexts are images and directories', async () => {
  const other = writeTree(join(directory, 'other'), { o: 'other\n' });
  const root = writeTree(join(directory, 'main'), {
    Dockerfile: 'FROM base\nCOPY --from=more o /o\nRUN --mount=from=more,target=/m cat /m/o',
  });
  const { error, log } = await buildkitBuild(daemon.socket, control, {
    directories: { context: root, dockerfile: root, extra: other },
    attributes: { 'context:base': 'docker-image://busybox', 'context:more': 'local:extra' },
  });
  expect(error).toBeUndefined();
  expect(log).toBe('other\n');
});

test('a base image of a registry that wants a password is pulled with what the client gives, by both fronts', async () => {
  const registry = await startRegistry({ netns: daemon.netns, htpasswd: true });
  try {
    await pushBusybox(registry, 'private:1');
    const Dockerfile = `FROM ${registry.host}/private:1\nLABEL pulled=yes`;
    const denied = await build({ Dockerfile }, moby('denied'));
    expect(denied.error).toBeDefined();
    const given = await build({ Dockerfile }, { credentials: { [registry.host]: [USER, PASSWORD] }, ...moby('given') });
    expect(given.error).toBeUndefined();
    daemon.ok('rmi', '-f', 'given', `${registry.host}/private:1`);
    const login = daemon.dockerWith({ input: PASSWORD }, 'login', '-u', USER, '--password-stdin', registry.host);
    expect(login.code).toBe(0);
    expect(daemon.dockerWith({ input: Dockerfile }, 'build', '--pull', '-t', 'logged-in', '-').code).toBe(0);
  } finally {
    await registry.stop();
  }
});

test('a context that came before is completed with what changed; the copy is told by the cache and goes with it', async () => {
  const root = writeTree(join(directory, 'again'), { Dockerfile: 'FROM busybox\nCOPY . /c', large: 'x'.repeat(500_000), small: '1' });
  let builds = 0;
  const transferred = async () => {
    const options = { directories: { context: root, dockerfile: root }, ...moby(`again:${++builds}`) };
    const { error, statuses } = await buildkitBuild(daemon.socket, control, options);
    expect(error).toBeUndefined();
    const context = statuses.flatMap(({ vertexes }) => vertexes).find(({ name }) => name === '[internal] load build context')!;
    return Number(statuses.flatMap((status) => status.statuses).findLast(({ vertex }) => vertex === context.digest)?.current ?? 0n);
  };
  expect(await transferred()).toBeGreaterThan(500_000);
  writeTree(root, { small: '22' });
  expect(await transferred()).toBe(2);
  expect(daemon.ok('run', '--rm', 'again:2', 'sh', '-c', 'cat /c/small; wc -c < /c/large')).toBe('22500000');
  expect(daemon.ok('system', 'df', '-v')).toMatch(/source\.local.*5\d\dkB/);
  const locals = () => readdirSync(join(daemon.dataRoot, 'buildkit/locals'));
  expect(locals().length).toBeGreaterThan(0);
  daemon.ok('builder', 'prune', '-af', '--filter', 'type=source.local');
  expect(locals()).toEqual([]);
  expect(await transferred()).toBeGreaterThan(500_000);
}); // prettier-ignore

test('what a step writes to a client\'s directory is seen by nobody', async () => {
  const more = writeTree(join(directory, 'written'), { m: 'clean' });
  const root = writeTree(join(directory, 'writer'), { c: 'clean', Dockerfile: 'FROM busybox\nRUN --mount=target=/c,rw --mount=from=more,target=/m,rw cat /c/c /m/m && echo dirty | tee /c/c /m/m' });
  for (let i = 0; i < 2; i++) {
    const { error, log } = await buildkitBuild(daemon.socket, control, {
      directories: { context: root, dockerfile: root, extra: more }, attributes: { 'context:more': 'local:extra', 'no-cache': '' },
    });
    expect([error, log]).toEqual([undefined, 'cleancleandirty\n']);
  }
}); // prettier-ignore

test('a failing step and a wrong file are told where they are', async () => {
  const step = await build({ Dockerfile: 'FROM busybox\nENV A=1\nRUN echo words && exit 4' });
  expect(step.error?.message).toBe(
    'process "/bin/sh -c echo words && exit 4" did not complete successfully: exit code: 4',
  );
  // Numbered as BuildKit does: what makes no layer does not count.
  expect(step.vertexes.get('[2/2] RUN echo words && exit 4')?.error).toContain('exit code: 4');
  expect(step.log).toMatch(/docker run -it [0-9a-f]{12}/);
  const source = (error: unknown) => JSON.parse(Buffer.from((error as DetailedError).details[0]!.value).toString());
  expect(source(step.error)).toMatchObject({ info: { filename: 'Dockerfile' }, ranges: [{ start: { line: 3 } }] });
  const wrong = await build({ Dockerfile: 'FROM busybox\n\nCOPPY a b' });
  expect(source(wrong.error).ranges).toEqual([{ start: { line: 3 }, end: { line: 3 } }]);
  expect((await build({ Dockerfile: 'FROM busybox\nRUNN' })).error?.message).toContain('did you mean RUN?');
  expect((await build({ Dockerfile: 'FROM busybox' }, { frontend: 'gateway.v0' })).error?.message).toContain(
    'frontend "gateway.v0" is not supported',
  );
  const syntax = (image: string) => build({ Dockerfile: `# syntax=${image}\nFROM busybox` });
  expect((await syntax('docker/dockerfile:1.7-labs')).error).toBeUndefined();
  expect((await syntax('someone/else:1')).error?.message).toContain('frontend "someone/else:1" is not supported');
  const platforms = await build(
    { Dockerfile: 'FROM busybox' },
    { attributes: { platform: 'linux/amd64,linux/arm64' } },
  );
  expect(platforms.error?.message).toContain('build one platform at a time');
});

test('a warning names its line, brings the file along, and stands beside the step that the file came with', async () => {
  const Dockerfile = 'FROM busybox\nENV A=$NOPE';
  const { error, statuses } = await build({ Dockerfile });
  expect(error).toBeUndefined();
  const [warning, ...others] = statuses.flatMap(({ warnings }) => warnings);
  expect(others).toEqual([]);
  expect(Buffer.from(warning!.short).toString()).toBe("UndefinedVar: Usage of undefined variable '$NOPE' (line 2)");
  expect(warning!.ranges.map(({ start, end }) => [start?.line, end?.line])).toEqual([[2, 2]]);
  expect([warning!.info!.filename, Buffer.from(warning!.info!.data).toString()]).toEqual(['Dockerfile', Dockerfile]);
  const step = statuses.flatMap(({ vertexes }) => vertexes).find(({ digest }) => digest === warning!.vertex);
  expect(step?.name).toBe('[internal] load build definition from Dockerfile');
});

test('a client that asks for checks gets them instead of a build', async () => {
  const Dockerfile = 'FROM busybox AS Base\nENV A=$NOPE\nRUN false';
  const { error, metadata, vertexes, response } = await build(
    { Dockerfile },
    { attributes: { requestid: 'frontend.lint' } },
  );
  expect(error).toBeUndefined();
  const { warnings } = JSON.parse(Buffer.from(metadata['result.json']!).toString());
  expect(warnings.map(({ ruleName }: { ruleName: string }) => ruleName)).toEqual(['StageNameCasing', 'UndefinedVar']);
  expect([...vertexes.keys()]).toEqual(['[internal] load build definition from Dockerfile']);
  expect(response).toEqual({});
});

test('a client that cancels takes its running step along', async () => {
  const controller = new AbortController();
  const building = build({ Dockerfile: 'FROM busybox\nRUN sleep 1000' }, { signal: controller.signal });
  await eventually(() => daemon.ok('ps', '-q') !== '', { what: 'the step runs' });
  controller.abort();
  expect((await building).error).toBeDefined();
  await eventually(() => daemon.ok('ps', '-aq') === '', { what: 'the step is gone' });
  await eventually(() => readdirSync(join(daemon.dataRoot, 'builder')).length === 0, { what: 'the build is gone' });
});

test('a session may go with the classic address: the context comes from it, named by version 2', async () => {
  const root = writeTree(join(directory, 'classic-session'), {
    'Dockerfile.x': 'FROM busybox\nCOPY f /f\nRUN cat /f',
    f: 'by session',
  });
  const session = await openSession(daemon.socket, 'classic-session', {
    directories: { context: root, dockerfile: root },
  });
  const query = 'version=2&remote=client-session&session=classic-session&dockerfile=Dockerfile.x&t=classic-session';
  const answer = await daemon.api('POST', `/build?${query}`);
  session.destroy();
  expect(answer.status).toBe(200);
  const last = JSON.parse(answer.text.trim().split('\r\n').at(-1)!);
  expect(last).toEqual({ id: 'moby.image.id', aux: { ID: daemon.ok('inspect', '-f', '{{.Id}}', 'classic-session') } });
  expect(daemon.ok('run', '--rm', 'classic-session', 'cat', '/f')).toBe('by session');
});

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of source) all.push(one);
  return all;
}

/** Events of a history up to now. */
async function historyOf(ref = ''): Promise<BuildHistoryEvent[]> {
  const call = control.open(Control.method.listenBuildHistory, { signal: AbortSignal.timeout(10_000) });
  await call.send({ ref, earlyExit: true });
  call.end();
  return collect(call.received);
}

test('who asks for the status of a job that is over already gets it, also of one that is no build', async () => {
  const ref = 'over-before-it-was-asked-for';
  const solving = control.unary(Control.method.solve, { ref, internal: true }, { deadline: 10_000 });
  const metadata = { 'buildkit-controlapi-buildid': ref };
  await control.unary(LLBBridge.method.return, {}, { deadline: 10_000, metadata });
  expect((await solving).exporterResponse).toEqual({});
  const call = control.open(Control.method.status, { signal: AbortSignal.timeout(5_000) });
  await call.send({ ref });
  call.end();
  expect(await collect(call.received)).toEqual([]);
});

test('who waits for a job that is refused is told so at once', async () => {
  const ref = 'refused';
  const metadata = { 'buildkit-controlapi-buildid': ref };
  const early = control.unary(LLBBridge.method.ping, {}, { deadline: 5_000, metadata });
  const solving = control.unary(Control.method.solve, { ref, frontend: 'gateway.v0' }, { deadline: 5_000 });
  await expect(early).rejects.toThrow('frontend "gateway.v0" is not supported');
  await expect(solving).rejects.toThrow('frontend "gateway.v0" is not supported');
  const late = control.unary(LLBBridge.method.ping, {}, { deadline: 5_000, metadata });
  await expect(late).rejects.toThrow('frontend "gateway.v0" is not supported');
});

async function logOf(ref: string): Promise<string> {
  const call = control.open(Control.method.status, { signal: AbortSignal.timeout(10_000) });
  await call.send({ ref });
  call.end();
  const statuses = await collect(call.received);
  return statuses.flatMap(({ logs }) => logs.map(({ msg }) => Buffer.from(msg).toString())).join('');
}

test('builds that ended are history with what they said, also after a restart, until they are removed', async () => {
  const attributes = { 'build-arg:A': '1', 'build-arg:HTTP_PROXY': 'http://user:pa55word@proxy', target: 'one' };
  const done = await build({ Dockerfile: 'FROM busybox AS one\nARG A\nRUN echo remembered $A' }, { attributes, ...moby('h') });
  const failed = await build({ Dockerfile: 'FROM busybox\nRUN exit 5' });
  control.close();
  await daemon.restart();
  control = new GrpcClient(await upgrade(daemon.socket, '/grpc'));
  const [completed] = await historyOf(done.ref);
  expect(completed).toMatchObject({ type: BuildHistoryEventType.COMPLETE, record: { numTotalSteps: 4, numCompletedSteps: 4, numCachedSteps: 0 } });
  expect(completed!.record!.frontendAttrs).toEqual({ 'build-arg:A': '1', target: 'one' });
  expect(completed!.record!.exporterResponse['image.name']).toBe('h');
  expect((await historyOf(failed.ref))[0]!.record!.error!.message).toContain('exit code: 5');
  expect(await logOf(done.ref)).toBe('remembered 1\n');
  await control.unary(Control.method.updateBuildHistory, { ref: done.ref, delete: true }, { deadline: 10_000 });
  expect(await historyOf(done.ref)).toEqual([]);
  expect((await historyOf()).at(-1)!.record!.ref).toBe(failed.ref);
  const unknown = control.unary(Control.method.updateBuildHistory, { ref: done.ref, pinned: true }, { deadline: 10_000 });
  await expect(unknown).rejects.toThrow('no such build');
}); // prettier-ignore

test('a listener of history hears of builds when they begin and when they end', async () => {
  const call = control.open(Control.method.listenBuildHistory, { signal: AbortSignal.timeout(20_000) });
  await call.send({ activeOnly: true });
  call.end();
  const { ref } = await build({ Dockerfile: 'FROM busybox' });
  const heard: BuildHistoryEventType[] = [];
  for await (const { type, record } of call.received) {
    if (record?.ref === ref) heard.push(type);
    if (type === BuildHistoryEventType.COMPLETE) break;
  }
  call.cancel();
  expect(heard).toEqual([BuildHistoryEventType.STARTED, BuildHistoryEventType.COMPLETE]);
});

test('the cache is told and emptied', async () => {
  const usage = await control.unary(Control.method.diskUsage, {}, { deadline: 10_000 });
  expect(usage.record.length).toBeGreaterThan(0);
  const call = control.open(Control.method.prune, { signal: AbortSignal.timeout(10_000) });
  await call.send({ all: true });
  call.end();
  const pruned: string[] = [];
  for await (const { id } of call.received) pruned.push(id);
  expect(pruned.sort()).toEqual(usage.record.map(({ id }) => id).sort());
  expect((await control.unary(Control.method.diskUsage, {}, { deadline: 10_000 })).record).toEqual([]);
  expect(daemon.ok('images', '-a', '--format', '{{.Repository}}').split('\n')).not.toContain('<none>');
  expect(existsSync(join(daemon.dataRoot, 'builder'))).toBe(true);
});
