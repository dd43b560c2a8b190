/** What is measured: one number a round and peer. Set-up inside a case is not timed. */
import { buildCases } from './cases/builds.ts';
import { byteCases } from './cases/bytes.ts';
import { cachedBuildCases } from './cases/cached-build.ts';
import { crowdCases } from './cases/crowd.ts';
import { imageCases } from './cases/images.ts';
import { latencyCases } from './cases/latency.ts';
import { memoryCases } from './cases/memory.ts';
import { networkCases } from './cases/network.ts';
import { readCases } from './cases/reads.ts';
import type { Peer } from './peers.ts';

export interface Case {
  name: string;
  unit: string;
  rate?: boolean;
  goal?: string;
  rounds?: number;
  measure(peer: Peer): Promise<number>;
}

export const cases: Case[] = [
  ...latencyCases,
  ...networkCases,
  ...readCases,
  ...byteCases,
  ...imageCases,
  ...memoryCases,
  ...crowdCases,
  ...cachedBuildCases,
  ...buildCases,
];
