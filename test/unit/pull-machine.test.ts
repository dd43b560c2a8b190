import { createActor, fromPromise, toPromise } from 'xstate';
import { describe, expect, it, vi } from 'vitest';
import { internal } from '../../src/errors.ts';
import { layerMachine } from '../../src/image/pull/layer-machine.ts';
import { pullMachine } from '../../src/image/pull/machine.ts';
import type { PullInput, Target } from '../../src/image/pull/setup.ts';
import { Feed, figures, humanSize, progressBar, type ProgressLine } from '../../src/image/pull/view.ts';
import { parseReference } from '../../src/image/reference.ts';
import type { Endpoint } from '../../src/image/registry/endpoints.ts';

const mirror = { origin: 'https://mirror', mirror: true } as Endpoint;
const secure = { origin: 'https://host', mirror: false } as Endpoint;
const plain = { origin: 'http://host', mirror: false } as Endpoint;
const digest = (n: number): string => `sha256:${String(n).padStart(64, '0')}`;
const target = {
  digest: digest(0),
  document: { layers: [1, 2].map((n) => ({ digest: digest(n), size: 1, mediaType: '' })) },
  config: { rootfs: { diff_ids: [digest(3), digest(4)] } },
} as unknown as Target;

const never = (): Promise<never> => new Promise(() => {});
type Effects = Record<string, (input: any, signal: AbortSignal) => unknown>;

/** The chart over effects that succeed at once, save those given. */
function start(over: Effects = {}, overLayer: Effects = {}) {
  const effects = (wanted: Effects) =>
    Object.fromEntries(
      Object.entries(wanted).map(([name, work]) => [
        name,
        fromPromise(async ({ input, signal }) => work(input, signal)),
      ]),
    );
  const layer = layerMachine.provide({
    actors: effects({
      look: () => false,
      queue: () => ({}),
      download: () => {},
      verify: () => {},
      extract: () => {},
      ...overLayer,
    }) as never,
  });
  const logic = pullMachine.provide({
    actors: {
      ...effects({
        resolve: () => [secure, plain],
        authenticate: ({ endpoints, at }) => endpoints[at],
        fetchManifest: () => target,
        commit: () => ({ image: 'image', updated: true }),
        ...over,
      }),
      layer,
    } as never,
  });
  const lines: ProgressLine[] = [];
  const feed = new Feed(() => 0);
  feed.listen((line) => lines.push(line));
  const lease = { add: vi.fn(), release: vi.fn() };
  const ref = parseReference('x:t');
  const input: PullInput = { ref, platform: { os: 'linux', architecture: 'amd64' }, auth: undefined, feed, lease };
  const actor = createActor(logic, { input });
  actor.start();
  return { actor, outcome: toPromise(actor), lines, lease };
}

describe('the chart of a pull', () => {
  it('ends well when every layer came, and lets its content go', async () => {
    const { outcome, lines, lease } = start();
    expect(await outcome).toEqual({ kind: 'done', image: 'image', updated: true, digest: digest(0) });
    expect(lines[0]!.status).toBe('Pulling fs layer');
    expect(lines.filter(({ status }) => status === 'Pull complete')).toHaveLength(2);
    expect(lease.release).toHaveBeenCalled();
  });

  it('leaves a mirror for any failure, and HTTPS for plain HTTP only when nobody answers there', async () => {
    const visited: string[] = [];
    const authenticate =
      (...failures: unknown[]) =>
      ({ endpoints, at }: { endpoints: Endpoint[]; at: number }) => {
        visited.push(endpoints[at]!.origin);
        if (failures[at]) throw failures[at];
        return endpoints[at];
      };
    const unreachable = internal('refused', { code: 'unreachable' });
    const all = { resolve: () => [mirror, secure, plain] };
    const first = start({ ...all, authenticate: authenticate(internal('any'), unreachable) });
    expect(await first.outcome).toMatchObject({ kind: 'done' });
    expect(visited.splice(0)).toEqual(['https://mirror', 'https://host', 'http://host']);
    const second = start({ authenticate: authenticate(internal('wrong password', { code: 'unauthorized' })) });
    expect(await second.outcome).toMatchObject({ kind: 'failed', error: { message: 'wrong password' } });
    expect(visited).toEqual(['https://host']);
  });

  it.each(['resolve', 'authenticate', 'fetchManifest', 'commit'])('fails with the failure of %s', async (name) => {
    const fail = () => {
      throw internal(`no ${name}`);
    };
    const { outcome, lease } = start({ [name]: fail });
    expect(await outcome).toMatchObject({ kind: 'failed', error: { message: `no ${name}` } });
    expect(lease.release).toHaveBeenCalled();
  });

  it.each(['look', 'queue', 'download', 'verify', 'extract'])(
    'fails when a layer fails to %s, and stops the others',
    async (name) => {
      let stopped = false;
      const other = (_: unknown, signal: AbortSignal) => {
        signal.addEventListener('abort', () => (stopped = true));
        return never();
      };
      const layer = (input: { blob: { digest: string } }, signal: AbortSignal) => {
        if (input.blob.digest !== digest(2)) return other(input, signal);
        throw internal('broken layer');
      };
      const { outcome } = start({}, { [name]: layer });
      expect(await outcome).toMatchObject({ kind: 'failed', error: { message: 'broken layer' } });
      expect(stopped).toBe(true);
    },
  );

  it.each(['resolve', 'authenticate', 'fetchManifest', 'commit', 'extract'])(
    'is cancelled while it has to %s',
    async (name) => {
      let aborted = false;
      let began = (): void => {};
      const waiting = new Promise<void>((resolve) => (began = resolve));
      const hanging = (_: unknown, signal: AbortSignal) => {
        signal.addEventListener('abort', () => (aborted = true));
        began();
        return never();
      };
      const { actor, outcome, lease } =
        name === 'extract' ? start({}, { extract: hanging }) : start({ [name]: hanging });
      await waiting;
      actor.send({ type: 'CANCEL' });
      expect(await outcome).toEqual({ kind: 'cancelled' });
      expect([aborted, lease.release.mock.calls.length]).toEqual([true, 1]);
    },
  );
});

describe('progress lines', () => {
  it('show sizes and bars as dockerd does', () => {
    expect([0, 999, 1000, 1_982_256, 220_000_000].map(humanSize)).toEqual(['0B', '999B', '1kB', '1.982MB', '220MB']);
    expect(progressBar(0, 0)).toBe('');
    expect(progressBar(1_000_000, 2_000_000)).toBe(`[${'='.repeat(25)}>${' '.repeat(25)}]      1MB/2MB`);
    expect(progressBar(2000, 2000)).toBe(`[${'='.repeat(50)}>]      2kB/2kB`);
    expect(figures('id', 'Downloading', 1, 4)).toMatchObject({ progressDetail: { current: 1, total: 4 }, id: 'id' });
  });

  it('are thinned out, save the last, and the latest are told to who comes later', () => {
    let now = 0;
    const feed = new Feed(() => now);
    const seen: (number | undefined)[] = [];
    feed.listen(({ progressDetail }) => seen.push(progressDetail?.current));
    for (const current of [1, 2, 3]) feed.figures('a', 'Downloading', current, 10);
    now = 100;
    feed.figures('a', 'Downloading', 4, 10);
    feed.figures('a', 'Downloading', 10, 10);
    expect(seen).toEqual([1, 4, 10]);
    const late: ProgressLine[] = [];
    feed.listen((line) => late.push(line));
    expect(late.map(({ progressDetail }) => progressDetail?.current)).toEqual([10]);
  });
});
