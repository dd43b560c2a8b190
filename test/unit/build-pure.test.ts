import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { createActor, waitFor } from 'xstate';
import { ArgScope, parsePlatform, platformArgs, unusedArgs } from '../../src/build/args.ts';
import { goModeOf, isRegularGoMode, kindOfGoMode, permissionsOfGoMode } from '../../src/build/buildkit/file-mode.ts';
import { clampTimes } from '../../src/build/clamp.ts';
import { parseGit } from '../../src/build/fetch.ts';
import { applyMode, parseMode } from '../../src/build/files/mode.ts';
import { encodeFrame, FrameReader } from '../../src/build/grpc/frame.ts';
import { decodeMessage, encodeMessage } from '../../src/build/grpc/status.ts';
import { buildMachine, type BuildWork } from '../../src/build/machine.ts';
import { parseMount } from '../../src/build/mounts.ts';
import { ClassicPrinter } from '../../src/build/printer.ts';
import { Queue } from '../../src/build/queue.ts';
import type { Vertex } from '../../src/build/types.ts';
import { TarParser } from '../../src/tar/parser.ts';
import { tarOf } from '../support/fixture-image.ts';

describe('the statechart of a build', () => {
  const plan = [
    { index: 0, needs: [] },
    { index: 1, needs: [] },
    { index: 2, needs: [0, 1] },
  ];

  function start(stage: (index: number, signal: AbortSignal) => Promise<void>) {
    const started: number[] = [];
    const work: BuildWork<string> = {
      receive: async () => {},
      parse: () => plan,
      stage: (index, signal) => {
        started.push(index);
        return stage(index, signal);
      },
      export: async () => 'image',
    };
    const actor = createActor(buildMachine, { input: { work } }).start();
    return { actor, started, ended: waitFor(actor, (snapshot) => snapshot.status === 'done') };
  }

  test('independent stages start together, the one that needs them after both', async () => {
    const release: (() => void)[] = [];
    const { started, ended } = start((index) =>
      index === 2 ? Promise.resolve() : new Promise((resolve) => release.push(resolve)),
    );
    await expect.poll(() => started).toEqual([0, 1]);
    release[1]!();
    await Promise.resolve();
    expect(started).toEqual([0, 1]);
    release[0]!();
    expect((await ended).value).toBe('done');
    expect([started, (await ended).output]).toEqual([[0, 1, 2], { result: 'image', error: undefined }]);
  });

  test('a stage that fails ends the build and stops its siblings', async () => {
    let stopped = false;
    const { ended } = start((index, signal) =>
      index === 0
        ? Promise.reject(new Error('broken'))
        : new Promise((_, reject) =>
            signal.addEventListener('abort', () => ((stopped = true), reject(signal.reason as Error))),
          ),
    );
    expect((await ended).value).toBe('failed');
    expect([(await ended).output?.error?.message, stopped]).toEqual(['broken', true]);
  });

  test('it can be cancelled while it solves', async () => {
    const { actor, started, ended } = start(
      (_, signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    );
    await expect.poll(() => started.length).toBe(2);
    actor.send({ type: 'CANCEL' });
    expect([(await ended).value, (await ended).output?.error?.kind]).toEqual(['cancelled', 'cancelled']);
  });
});

describe('build arguments', () => {
  const host = parsePlatform('linux/x86_64');
  const source = {
    given: { A: 'given', EMPTY: null, HTTP_PROXY: 'p' },
    builtin: platformArgs(host, parsePlatform('linux/arm64/v8'), ''),
  };

  test('take the given value, the default, the global one, the built-in one, in this order', () => {
    const globals = new ArgScope(source).declare('A', 'x').declare('G', 'global');
    const stage = ['A', 'G', 'TARGETARCH', 'BUILDPLATFORM', 'EMPTY'].reduce(
      (scope, name) => scope.declare(name, undefined),
      new ArgScope(source, globals),
    );
    expect(Object.fromEntries(stage.values)).toEqual({
      A: 'given',
      G: 'global',
      TARGETARCH: 'arm64',
      BUILDPLATFORM: 'linux/amd64',
      EMPTY: undefined,
    });
    expect(new ArgScope(source, globals).lookup(() => undefined)('G')).toBeUndefined();
    expect(stage.lookup((name) => (name === 'A' ? 'env' : undefined))('A')).toBe('env');
    expect(stage.forRun({ Env: ['G=env'] }, 'classic')).toEqual({
      recorded: ['A=given', 'BUILDPLATFORM=linux/amd64', 'TARGETARCH=arm64'],
      hidden: ['HTTP_PROXY=p'],
    });
    expect(stage.forRun({ Env: ['G=env'] }, 'buildkit').recorded).toEqual([
      'A=given',
      'G=env',
      'TARGETARCH=arm64',
      'BUILDPLATFORM=linux/amd64',
    ]);
  });

  test('that nobody declared are told, but for the predefined ones', () => {
    expect(unusedArgs({ A: '1', B: '2', NO_PROXY: 'x', SOURCE_DATE_EPOCH: '0' }, new Set(['A']))).toEqual(['B']);
  });
});

describe('RUN mounts', () => {
  const parse = (text: string) => parseMount(text, (word) => word.replace('$X', 'x'));

  test('are typed, with their defaults', () => {
    expect(parse('target=/a')).toMatchObject({ type: 'bind', target: '/a', readOnly: true, source: '' });
    expect(parse('type=bind,from=b,src=/s,dst=/$X,rw')).toMatchObject({
      from: 'b',
      source: '/s',
      target: '/x',
      readOnly: false,
    });
    expect(parse('type=cache,target=/c,sharing=locked,mode=0700,uid=3')).toMatchObject({
      id: '/c',
      sharing: 'locked',
      mode: 0o700,
      uid: 3,
      readOnly: false,
    });
    expect(parse('type=secret,id=tok')).toMatchObject({ target: '/run/secrets/tok', required: false });
    expect(parse('type=secret,id=tok,env=T')).toMatchObject({ target: '', env: 'T' });
    expect(parse('type=tmpfs,target=/t,size=64m')).toMatchObject({ size: 64 << 20 });
    expect(parse('type=ssh')).toMatchObject({ id: 'default', target: '/run/buildkit/ssh_agent.0' });
  });

  test.each([
    ['type=nfs,target=/a', 'unsupported mount type "nfs"'],
    ['type=cache', 'target is required'],
    ['type=cache,target=/a,sharing=some', 'unsupported sharing value "some"'],
    ['type=tmpfs,target=/a,from=b', "unexpected key 'from'"],
    ['type=secret', 'id or target is required'],
    ['target=/a,readonly=maybe', 'invalid value for readonly'],
  ])('%s is refused', (text, message) => expect(() => parse(text)).toThrow(message));
});

test('--chmod takes octal and symbolic modes', () => {
  const change = (text: string, mode: number, directory = false) =>
    applyMode(parseMode(text), mode, directory).toString(8);
  expect([change('0750', 0), change('u+x,go-r', 0o644), change('a=rX', 0o600), change('a=rX', 0o600, true), change('u+s', 0o755)]).toEqual(['750', '700', '444', '555', '4755']); // prettier-ignore
  expect(() => parseMode('9')).toThrow('invalid chmod parameter');
});

test('git addresses that git would take for options or commands are refused', () => {
  expect(parseGit('github.com/a/b#v1:sub')).toEqual({
    remote: 'https://github.com/a/b',
    ref: 'v1',
    subdirectory: 'sub',
  });
  for (const source of ['--upload-pack=x', 'ext::sh -c x', 'https://x/y.git#--output=z'])
    expect(() => parseGit(source)).toThrow('invalid git reference');
});

describe('SOURCE_DATE_EPOCH', () => {
  test('takes later times out of a tar, in headers and in pax records, however the stream is cut', async () => {
    const tar = await tarOf([
      { name: 'old', content: 'o', mtime: new Date(1e11) },
      { name: 'new', content: 'n'.repeat(600), mtime: new Date(1.7e12) },
      { name: 'pax', content: 'p', mtime: new Date(1.7e12), pax: { mtime: '1700000000.123456789' } },
    ]);
    const pieces = Array.from({ length: Math.ceil(tar.length / 333) }, (_, i) => tar.subarray(i * 333, (i + 1) * 333));
    const seen: [string, bigint, string][] = [];
    let current: [string, bigint, string];
    const parser = new TarParser({
      entry: (header) => seen.push((current = [header.name, header.mtimeNs / 1_000_000_000n, ''])),
      data: (bytes) => (current[2] += bytes.toString()),
      done: () => {},
    });
    for await (const chunk of clampTimes(Readable.from(pieces), 1_600_000_000)) parser.write(chunk as Buffer);
    parser.end();
    expect(seen.map(([name, time, text]) => [name, Number(time), text.length])).toEqual([['old', 1e8, 1], ['new', 1.6e9, 600], ['pax', 1.6e9, 1]]); // prettier-ignore
  });
});

describe('gRPC', () => {
  test('frames come whole out of any pieces, and oversized or compressed ones are refused', () => {
    const messages = [Buffer.from('one'), Buffer.alloc(0), Buffer.alloc(100_000, 7)];
    const stream = Buffer.concat(messages.map(encodeFrame));
    for (const size of [1, 4, 5, 1000, stream.length]) {
      const reader = new FrameReader();
      const found: Buffer[] = [];
      for (let at = 0; at < stream.length; at += size) found.push(...reader.push(stream.subarray(at, at + size)));
      expect(found.map((one) => one.length)).toEqual([3, 0, 100_000]);
      expect(reader.rest).toBe(0);
    }
    expect(() => new FrameReader().push(Buffer.from([1, 0, 0, 0, 0]))).toThrow('compressed');
    expect(() => new FrameReader().push(Buffer.from([0, 255, 0, 0, 0]))).toThrow('too large');
  });

  test('messages of errors survive the header', () => {
    const text = 'naïve 100% "x"\nline';
    expect(encodeMessage(text)).toMatch(/^[\x20-\x7e]*$/);
    expect(decodeMessage(encodeMessage(text))).toBe(text);
  });
});

test("Go's file modes go there and back", () => {
  for (const [mode, kind] of [[0o100644, 'file'], [0o040755, 'directory'], [0o120777, 'symlink'], [0o104755, 'file'], [0o041777, 'directory'], [0o010600, 'fifo']] as const) {
    const go = goModeOf(mode);
    expect([kindOfGoMode(go), permissionsOfGoMode(go), isRegularGoMode(go)]).toEqual([kind, mode & 0o7777, kind === 'file']);
  } // prettier-ignore
});

test('lines of stages that run beside each other come in the order of the file', () => {
  const texts: string[] = [];
  const printer = new ClassicPrinter((line) => texts.push((line as { stream?: string }).stream ?? ''));
  const vertex = (stage: number): Vertex => ({
    id: `${stage}`,
    title: `FROM ${stage}`,
    label: '',
    stage,
    number: stage + 1,
    line: 1,
    inputs: [],
  });
  const output = (stage: number, text: string) =>
    printer.on({ type: 'output', vertex: vertex(stage), stream: 'stdout', chunk: Buffer.from(text) });
  printer.on({ type: 'plan', steps: 3, stages: [0, 1, 2] });
  output(1, 'b1');
  output(0, 'a1');
  printer.on({ type: 'stage-end', stage: 1, imageId: '' });
  output(2, 'c1');
  output(0, 'a2');
  printer.on({ type: 'stage-end', stage: 0, imageId: '' });
  output(2, 'c2');
  expect(texts).toEqual(['a1', 'a2', 'b1', 'c1', 'c2']);
});

describe('a queue read in batches', () => {
  test('what promises bring within one turn of the event loop comes together, the rest by itself', async () => {
    const queue = new Queue<number>();
    const batches: number[][] = [];
    const read = (async () => {
      for await (const batch of queue.batches()) batches.push(batch);
    })();
    for (let i = 0; i < 5; i++) {
      queue.push(i);
      await Promise.resolve();
    }
    await new Promise((resolve) => setImmediate(resolve));
    queue.push(5);
    queue.end();
    await read;
    expect(batches).toEqual([[0, 1, 2, 3, 4], [5]]);
  });

  test('a reader that leaves while it waits is let go, and the writer is told', async () => {
    let left = false;
    const iterator = new Queue<number>(() => (left = true)).batches()[Symbol.asyncIterator]();
    const waiting = iterator.next();
    await iterator.return!();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(left).toBe(true);
  });
});
