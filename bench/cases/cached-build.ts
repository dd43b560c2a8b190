/** A build that has nothing to do. */
import { tarOf } from '../../test/support/fixture-image.ts';
import type { Case } from '../case.ts';
import { medianOf } from '../work.ts';

export const cachedBuildCases: Case[] = [
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
