/** Builds that have work to do: stages that could run beside each other, and a context of many files. */
import { type Entry, tarOf } from '../../test/support/fixture-image.ts';
import type { Case } from '../case.ts';
import type { Peer } from '../peers.ts';

const FILES = 5_000;
const STAGES = ['one', 'two', 'three'];
/** About half a second of one core in busybox's shell. */
const WORK = 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo $i > /result';

async function build(peer: Peer, query: string, context: Buffer): Promise<number> {
  const start = process.hrtime.bigint();
  const { status, body } = await peer.call('POST', `/build?${query}`, context);
  if (status !== 200 || !body.includes('Successfully built')) throw new Error(body.toString().slice(-300));
  return Number(process.hrtime.bigint() - start) / 1e6;
}

const stages = (image: string): string =>
  [
    ...STAGES.map((name) => `FROM ${image} AS ${name}\nRUN ${WORK}`),
    `FROM ${image}`,
    ...STAGES.map((name) => `COPY --from=${name} /result /${name}`),
  ].join('\n');

const manyFiles = (): Entry[] =>
  Array.from({ length: FILES }, (_, i) => ({ name: `dir${i % 50}/file${i}`, content: `${i} `.repeat(20 + (i % 200)) }));

/** The median of builds after the first. */
async function rebuilt(peer: Peer, step: string): Promise<number> {
  const dockerfile = { name: 'Dockerfile', content: `FROM ${peer.image}\n${step}` };
  const context = await tarOf([dockerfile, ...manyFiles()]);
  const times: number[] = [];
  for (let i = 0; i < 6; i++) times.push(await build(peer, 't=context', context));
  return times.slice(1).sort((a, b) => a - b)[2]!;
}

export const buildCases: Case[] = [
  {
    name: 'cold build, 3 stages',
    unit: 'ms',
    goal: '≤ 0.60',
    rounds: 3,
    async measure(peer) {
      const context = await tarOf([{ name: 'Dockerfile', content: stages(peer.image) }]);
      await build(peer, 'nocache=1', context);
      return build(peer, 'nocache=1', context);
    },
  },
  {
    name: 'context of 5,000 files',
    unit: 'ms',
    goal: '≤ 1.0',
    measure: (peer) => rebuilt(peer, 'LABEL context=large'),
  },
  {
    name: 'COPY of 5,000 files, cached',
    unit: 'ms',
    goal: '≤ 1.0',
    rounds: 3,
    measure: (peer) => rebuilt(peer, 'COPY . /files'),
  },
];
