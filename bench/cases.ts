/** All that is measured, in the order of the table. */
import { buildCases } from './cases/builds.ts';
import { byteCases } from './cases/bytes.ts';
import { cachedBuildCases } from './cases/cached-build.ts';
import { crowdCases } from './cases/crowd.ts';
import { imageCases } from './cases/images.ts';
import { latencyCases } from './cases/latency.ts';
import { memoryCases } from './cases/memory.ts';
import { networkCases } from './cases/network.ts';
import { readCases } from './cases/reads.ts';
import type { Case } from './case.ts';

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
