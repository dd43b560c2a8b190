/** What is measured: one number a round and peer. Set-up inside a case is not timed. */
import { Agent, request } from 'node:http';
import { tarOf } from '../test/support/fixture-image.ts';
import { type Peer, pss } from './peers.ts';

export interface Case {
  name: string;
  unit: string;
  rate?: boolean;
  goal?: string;
  rounds?: number;
  measure(peer: Peer): Promise<number>;
}

const milliseconds = async (work: () => unknown): Promise<number> => {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e6;
};

/** Untimed first runs: a daemon lives for weeks, and what it does for the first time is not what its users wait for. */
const WARM_UP = 4;

/** The median of `times` runs. */
async function medianOf(times: number, work: () => unknown): Promise<number> {
  for (let i = 0; i < WARM_UP; i++) await work();
  const all: number[] = [];
  for (let i = 0; i < times; i++) all.push(await milliseconds(work));
  return all.sort((a, b) => a - b)[Math.floor(times / 2)]!;
}

const created = (peer: Peer, more: object = {}): Promise<string> =>
  peer
    .call('POST', '/containers/create', { Image: peer.image, Cmd: ['sleep', '1000'], ...more })
    .then(({ body }) => (JSON.parse(body.toString()) as { Id: string }).Id);
const start = (peer: Peer, id: string): Promise<unknown> => peer.call('POST', `/containers/${id}/start`);
const remove = (peer: Peer, id: string): Promise<unknown> => peer.call('DELETE', `/containers/${id}?force=1`);

async function many(peer: Peer, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) ids.push(await created(peer, { Labels: { n: String(i) } }));
  return ids;
}

const removeAll = async (peer: Peer, ids: string[]): Promise<void> => {
  for (const id of ids) await remove(peer, id);
};

/** Requests a second over kept connections, four at a time for two seconds. */
async function throughput(peer: Peer, path: string): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const once = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const call = request({ socketPath: peer.socket, path, agent }, (answer) => {
        answer.resume();
        answer.on('end', resolve);
      });
      call.on('error', reject);
      call.end();
    });
  for (let i = 0; i < 20; i++) await once();
  let count = 0;
  const end = Date.now() + 2000;
  const elapsed = await milliseconds(() =>
    Promise.all(
      Array.from({ length: 4 }, async () => {
        for (; Date.now() < end; count++) await once();
      }),
    ),
  );
  agent.destroy();
  return (count * 1000) / elapsed;
}

const MIB = 1 << 20;

const latency: Case[] = [
  {
    name: 'run --rm, bridge',
    unit: 'ms',
    goal: '≤ 0.40',
    measure: (peer) => medianOf(5, () => peer.docker('run', '--rm', peer.image, 'true')),
  },
  {
    name: 'run --rm, host network',
    unit: 'ms',
    goal: '≤ 0.50',
    measure: (peer) => medianOf(5, () => peer.docker('run', '--rm', '--network', 'host', peer.image, 'true')),
  },
  {
    name: 'create + start, bridge',
    unit: 'ms',
    goal: '≤ 0.55',
    async measure(peer) {
      const ids: string[] = [];
      const time = await medianOf(5, async () => {
        const id = await created(peer);
        ids.push(id);
        await start(peer, id);
      });
      await removeAll(peer, ids);
      return time;
    },
  },
  {
    name: 'starts, 8 at once',
    unit: '/s',
    rate: true,
    goal: '≥ 2.2 ×',
    async measure(peer) {
      const ids = await many(peer, 24);
      const queue = [...ids];
      const elapsed = await milliseconds(() =>
        Promise.all(
          Array.from({ length: 8 }, async () => {
            for (let id = queue.pop(); id; id = queue.pop()) await start(peer, id);
          }),
        ),
      );
      await removeAll(peer, ids);
      return (ids.length * 1000) / elapsed;
    },
  },
  {
    name: 'exec true (CLI)',
    unit: 'ms',
    goal: '≤ 0.60',
    async measure(peer) {
      const id = await created(peer);
      await start(peer, id);
      const time = await medianOf(7, () => peer.docker('exec', id, 'true'));
      await remove(peer, id);
      return time;
    },
  },
  {
    name: 'publish 100 ports',
    unit: 'ms',
    goal: '≤ 0.10',
    async measure(peer) {
      const numbers = Array.from({ length: 100 }, (_, i) => i + 1);
      const exposed = Object.fromEntries(numbers.map((port) => [`${port}/tcp`, {}]));
      const bindings = Object.fromEntries(
        numbers.map((port) => [`${port}/tcp`, [{ HostPort: String(20_000 + port) }]]),
      );
      const published = { ExposedPorts: exposed, HostConfig: { PortBindings: bindings } };
      const timed = async (more: object): Promise<number> => {
        const id = await created(peer, more);
        const time = await milliseconds(() => start(peer, id));
        await remove(peer, id);
        return time;
      };
      await timed({});
      const without = [await timed({}), await timed({}), await timed({})];
      const withPorts = [await timed(published), await timed(published), await timed(published)];
      return Math.max(Math.min(...withPorts) - Math.min(...without), 0.1);
    },
  },
];

const reads: Case[] = [
  {
    name: 'list 100 containers',
    unit: '/s',
    rate: true,
    goal: '≥ 5 ×',
    async measure(peer) {
      const ids = await many(peer, 100);
      const rate = await throughput(peer, '/containers/json?all=1');
      await removeAll(peer, ids);
      return rate;
    },
  },
  {
    name: 'inspect',
    unit: '/s',
    rate: true,
    goal: '≥ 1.2 ×',
    async measure(peer) {
      const id = await created(peer);
      const rate = await throughput(peer, `/containers/${id}/json`);
      await remove(peer, id);
      return rate;
    },
  },
  { name: '_ping', unit: '/s', rate: true, goal: '≥ 1.2 ×', measure: (peer) => throughput(peer, '/_ping') },
  { name: 'version', unit: '/s', rate: true, goal: '≥ 20 ×', measure: (peer) => throughput(peer, '/version') },
  { name: 'info', unit: '/s', rate: true, goal: '≥ 3 ×', measure: (peer) => throughput(peer, '/info') },
];

const bytes: Case[] = [
  {
    name: 'pull 300 MB, 8 layers',
    unit: 's',
    goal: '≤ 0.50',
    rounds: 3,
    async measure(peer) {
      const time = await milliseconds(() => peer.docker('pull', '-q', peer.bigImage));
      peer.docker('rmi', peer.bigImage);
      return time / 1000;
    },
  },
  {
    name: 'attached stdout',
    unit: 'MiB/s',
    rate: true,
    goal: '≥ 2 ×',
    async measure(peer) {
      const id = await created(peer, {
        Cmd: ['sh', '-c', 'head -c 268435456 /dev/zero'],
        AttachStdout: true,
        HostConfig: { LogConfig: { Type: 'none' }, NetworkMode: 'none' },
      });
      const time = await milliseconds(
        () =>
          new Promise<void>((resolve, reject) => {
            const call = request({
              socketPath: peer.socket,
              method: 'POST',
              path: `/containers/${id}/attach?stream=1&stdout=1`,
              headers: { connection: 'Upgrade', upgrade: 'tcp' },
            });
            call.on('upgrade', (_, socket) => {
              socket.resume();
              socket.on('end', resolve);
              socket.on('close', resolve);
              start(peer, id).catch(reject);
            });
            call.on('error', reject);
            call.end();
          }),
      );
      await remove(peer, id);
      return 256 / (time / 1000);
    },
  },
  {
    name: 'json-file, 100-byte lines',
    unit: 'MiB/s',
    rate: true,
    goal: '≥ 3 ×',
    async measure(peer) {
      const id = await created(peer, { Cmd: ['sh', '-c', LINES], HostConfig: { NetworkMode: 'none' } });
      const time = await milliseconds(async () => {
        await start(peer, id);
        await peer.call('POST', `/containers/${id}/wait`);
      });
      await remove(peer, id);
      return LINE_BYTES / MIB / (time / 1000);
    },
  },
  {
    name: 'logs read back',
    unit: 'MiB/s',
    rate: true,
    goal: '≥ 2 ×',
    async measure(peer) {
      const id = await created(peer, { Cmd: ['sh', '-c', LINES], HostConfig: { NetworkMode: 'none' } });
      await start(peer, id);
      await peer.call('POST', `/containers/${id}/wait`);
      const time = await milliseconds(() => peer.call('GET', `/containers/${id}/logs?stdout=1`));
      await remove(peer, id);
      return LINE_BYTES / MIB / (time / 1000);
    },
  },
];

const LINE_COUNT = 500_000;
const LINE_BYTES = LINE_COUNT * 100;
const LINES = `yes "${'x'.repeat(99)}" | head -n ${LINE_COUNT}`;

const memory: Case[] = [
  {
    name: 'idle memory, all processes',
    unit: 'MB',
    goal: '≤ 0.75',
    async measure(peer) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      return pss(peer.daemonPids()) / 1e6;
    },
  },
  {
    name: 'an idle container',
    unit: 'MB',
    goal: '≤ 1.0',
    rounds: 3,
    async measure(peer) {
      const ids = await many(peer, 10);
      const before = pss(peer.daemonPids()) + pss(peer.shimPids());
      for (const id of ids) await start(peer, id);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const after = pss(peer.daemonPids()) + pss(peer.shimPids());
      await removeAll(peer, ids);
      return (after - before) / ids.length / 1e6;
    },
  },
  {
    name: 'cold start to /_ping',
    unit: 'ms',
    goal: '≤ 0.40',
    async measure(peer) {
      await peer.halt();
      return milliseconds(() => peer.startAgain());
    },
  },
];

const builds: Case[] = [
  {
    name: 'cached build, 20 steps (classic)',
    unit: 'ms',
    goal: '≤ 0.50',
    async measure(peer) {
      const dockerfile = [`FROM ${peer.image}`, ...Array.from({ length: 19 }, (_, i) => `ENV STEP${i}=${i}`)].join(
        '\n',
      );
      const context = await tarOf([{ name: 'Dockerfile', content: dockerfile }]);
      const build = async (): Promise<void> => {
        const { status, body } = await peer.call('POST', '/build?t=cached', context);
        if (status !== 200 || !body.includes('Successfully built')) throw new Error(body.toString().slice(-300));
      };
      return medianOf(5, build);
    },
  },
];

export const cases: Case[] = [...latency, ...reads, ...bytes, ...memory, ...builds];
