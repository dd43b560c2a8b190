/** A build that has nothing to do. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GrpcClient } from '../../src/build/grpc/client.ts';
import { buildkitBuild, upgrade, writeTree } from '../../test/fixtures/build/buildkit-client.ts';
import { tarOf } from '../../test/support/fixture-image.ts';
import type { Case } from '../case.ts';
import { medianOf } from '../work.ts';

/** What takes milliseconds is measured when both daemons have settled. */
const WARM_UP = 50;

const dockerfileOf = (image: string): string =>
  [`FROM ${image}`, ...Array.from({ length: 19 }, (_, i) => `ENV STEP${i}=${i}`)].join('\n');

export const cachedBuildCases: Case[] = [
  {
    name: 'cached build, 20 steps (classic)',
    unit: 'ms',
    goal: '≤ 0.50',
    async measure(peer) {
      const context = await tarOf([{ name: 'Dockerfile', content: dockerfileOf(peer.image) }]);
      const build = async (): Promise<void> => {
        const { status, body } = await peer.call('POST', '/build?t=cached', context);
        if (status !== 200 || !body.includes('Successfully built')) throw new Error(body.toString().slice(-300));
      };
      return medianOf(15, build, WARM_UP);
    },
  },
  {
    name: 'cached build, 20 steps (BuildKit)',
    unit: 'ms',
    goal: '≤ 0.50',
    async measure(peer) {
      const root = mkdtempSync(join(tmpdir(), 'bench-context-'));
      writeTree(root, { Dockerfile: dockerfileOf(peer.image) });
      const control = new GrpcClient(await upgrade(peer.socket, '/grpc'));
      const exporter = { type: 'moby', attrs: { name: 'docker.io/library/cached:latest' } };
      const build = async (): Promise<void> => {
        const directories = { context: root, dockerfile: root };
        const { error } = await buildkitBuild(peer.socket, control, { directories, exporter });
        if (error) throw error;
      };
      try {
        return await medianOf(15, build, WARM_UP);
      } finally {
        control.close();
        rmSync(root, { recursive: true });
      }
    },
  },
];
