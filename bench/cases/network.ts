/** What networks cost: beside host networking, many at once, and names. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Case } from '../case.ts';
import type { Peer } from '../peers.ts';
import { created, medianOf, milliseconds, remove, removeAll, start } from '../work.ts';

const run = promisify(execFile);
const JOINERS = 50;

const network = async (peer: Peer, name: string): Promise<void> => {
  const { status, body } = await peer.call('POST', '/networks/create', { Name: name, CheckDuplicate: true });
  if (status !== 201) throw new Error(body.toString());
};
const removeNetwork = (peer: Peer, name: string): Promise<unknown> => peer.call('DELETE', `/networks/${name}`);

async function startTime(peer: Peer, mode: string): Promise<number> {
  const ids: string[] = [];
  for (let i = 0; i < 9; i++) ids.push(await created(peer, { HostConfig: { NetworkMode: mode } }));
  const queue = [...ids];
  const time = await medianOf(5, () => start(peer, queue.pop()!));
  await removeAll(peer, ids);
  return time;
}

const pidOf = async (peer: Peer, id: string): Promise<number> => {
  const { body } = await peer.call('GET', `/containers/${id}/json`);
  return (JSON.parse(body.toString()) as { State: { Pid: number } }).State.Pid;
};

/** Answers a second and their 99th percentile in ms, asked from inside a container's namespace. */
async function storm(peer: Peer): Promise<{ rate: number; p99: number }> {
  await network(peer, 'bench-names');
  const ids = [
    await created(peer, { HostConfig: { NetworkMode: 'bench-names' } }),
    await created(peer, { HostConfig: { NetworkMode: 'bench-names' } }),
  ];
  for (const id of ids) await start(peer, id);
  const pid = await pidOf(peer, ids[0]!);
  const program = join(import.meta.dirname, '../storm.ts');
  const { stdout } = await run('nsenter', [
    `--net=/proc/${pid}/ns/net`,
    process.execPath,
    program,
    ids[1]!.slice(0, 12),
  ]);
  await removeAll(peer, ids);
  await removeNetwork(peer, 'bench-names');
  return JSON.parse(stdout) as { rate: number; p99: number };
}

/**
 * Megabytes a second of a large download: from one container to another, or through a published port from the host, at its
 * own address and at its loopback.
 */
async function flow(peer: Peer, way: 'neighbour' | 'host' | 'loopback'): Promise<number> {
  const ids = [
    await created(peer, {
      Cmd: ['sh', '-c', 'truncate -s 1G /tmp/big; exec httpd -f -p 80 -h /tmp'],
      ExposedPorts: { '80/tcp': {} },
      HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '8080' }] } },
    }),
    await created(peer),
  ];
  for (const id of ids) await start(peer, id);
  const { body } = await peer.call('GET', `/containers/${ids[0]}/json`);
  const { NetworkSettings } = JSON.parse(body.toString()) as {
    NetworkSettings: { Networks: { bridge: { IPAddress: string; Gateway: string } } };
  };
  const { IPAddress, Gateway } = NetworkSettings.Networks.bridge;
  const place = { neighbour: IPAddress, host: `${Gateway}:8080`, loopback: '127.0.0.1:8080' }[way];
  const from = way === 'neighbour' ? `/proc/${await pidOf(peer, ids[1]!)}/ns/net` : peer.netns;
  const curl = [
    'curl',
    '-sS',
    '--retry',
    '9',
    '--retry-connrefused',
    '--max-time',
    '60',
    '-o',
    '/dev/null',
    '-w',
    '%{speed_download}',
  ];
  const speeds: number[] = [];
  for (let i = 0; i < 3; i++)
    speeds.push(Number((await run('nsenter', [`--net=${from}`, ...curl, `http://${place}/big`])).stdout) / 1e6);
  await removeAll(peer, ids);
  return Math.max(...speeds);
}

export const networkCases: Case[] = [
  {
    name: 'network share of a start, bridge less host',
    unit: 'ms',
    goal: '≤ 0.30',
    measure: async (peer) => (await startTime(peer, 'bridge')) - (await startTime(peer, 'host')),
  },
  {
    name: `join a network, ${JOINERS} containers, 8 at once`,
    unit: '/s',
    rate: true,
    goal: '≥ 3 ×',
    rounds: 3,
    async measure(peer) {
      await network(peer, 'bench-join');
      const ids: string[] = [];
      for (let i = 0; i < JOINERS; i++) ids.push(await created(peer));
      for (const id of ids) await start(peer, id);
      const queue = [...ids];
      const elapsed = await milliseconds(() =>
        Promise.all(
          Array.from({ length: 8 }, async () => {
            for (let id = queue.pop(); id; id = queue.pop()) {
              const { status, body } = await peer.call('POST', '/networks/bench-join/connect', { Container: id });
              if (status !== 200) throw new Error(body.toString());
            }
          }),
        ),
      );
      for (const id of ids) await remove(peer, id);
      await removeNetwork(peer, 'bench-join');
      return (JOINERS * 1000) / elapsed;
    },
  },
  {
    name: 'names resolved in a container',
    unit: '/s',
    rate: true,
    goal: '20,000/s',
    rounds: 3,
    measure: async (peer) => (await storm(peer)).rate,
  },
  {
    name: 'a name resolved under load, 99th percentile',
    unit: 'ms',
    goal: '5 ms',
    rounds: 3,
    measure: async (peer) => (await storm(peer)).p99,
  },
  ...(
    [
      ['from container to container', 'neighbour'],
      ["through a published port, at the host's address", 'host'],
      ['through a published port, at the loopback', 'loopback'],
    ] as const
  ).map(([title, way]): Case => ({
    name: `bytes ${title}`,
    unit: 'MB/s',
    rate: true,
    goal: '≥ 1 ×',
    measure: (peer) => flow(peer, way),
  })),
];
