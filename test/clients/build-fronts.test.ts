/** Dockerfiles of every feature through everything that can ask for a build: each gets what the reference says. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type BuildCase, outcomeOf, type Style } from '../fixtures/build/case.ts';
import { CASES } from '../fixtures/build/cases.ts';
import { checkBuilt } from '../fixtures/build/daemon-case.ts';
import {
  apiFront,
  BUILDX,
  buildkitFront,
  cliFront,
  COMPOSE,
  composeBuild,
  type Front,
  givePlugins,
} from '../fixtures/build/fronts.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { stopClean } from './stop-clean.ts';

const AT_ONCE = 4;
const TIMEOUT_MS = 240_000;

let daemon: TestDaemon;
let directory: string;

beforeAll(async () => {
  daemon = await startDaemon();
  givePlugins(daemon);
  daemon.ok('tag', daemon.image, 'busybox');
  directory = mkdtempSync(join(tmpdir(), 'build-fronts-'));
});
afterAll(async () => {
  await stopClean(daemon);
  rmSync(directory, { recursive: true, force: true });
});
afterEach(() => expect(daemon.ok('ps', '-aq')).toBe(''));

const tagOf = (name: string, one: BuildCase): string => `${name}:${CASES.indexOf(one)}`;

/** Does `work` for all cases, several at once. Answers what went wrong. */
async function each(cases: readonly BuildCase[], work: (one: BuildCase) => Promise<void>): Promise<string[]> {
  const waiting = [...cases];
  const wrong: string[] = [];
  const worker = async (): Promise<void> => {
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      const { name } = one;
      await work(one).catch((error: Error) => wrong.push(`${name}: ${error.message}`));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return wrong;
}

async function throughFront(name: string, style: Style, front: Front): Promise<void> {
  const wrong = await each(CASES, async (one) => {
    const expected = outcomeOf(one, style);
    const failure = await front(one, tagOf(name, one));
    if (expected.fails) return expect(failure).toMatch(expected.fails);
    expect(failure).toBeUndefined();
    await checkBuilt(daemon, tagOf(name, one), expected, directory);
  });
  expect(wrong).toEqual([]);
}

test('the API', () => throughFront('api', 'classic', apiFront(daemon)), TIMEOUT_MS);

test('the docker CLI', () => throughFront('cli', 'classic', cliFront(daemon, directory, 'classic')), TIMEOUT_MS);

test(
  "a BuildKit client of the test's own",
  async () => throughFront('kit', 'buildkit', await buildkitFront(daemon, directory)),
  TIMEOUT_MS,
);

test.skipIf(!BUILDX)(
  'the docker CLI with buildx',
  () => throughFront('buildx', 'buildkit', cliFront(daemon, directory, 'buildkit')),
  TIMEOUT_MS,
);

async function throughCompose(
  name: string,
  style: Style,
  env: Record<string, string>,
  ...command: string[]
): Promise<void> {
  const cases = CASES.filter((one) => !outcomeOf(one, style).fails);
  const byTag = new Map(cases.map((one) => [tagOf(name, one), one]));
  expect(await composeBuild(daemon, join(directory, name), byTag, env, ...command)).toBeUndefined();
  expect(await each(cases, (one) => checkBuilt(daemon, tagOf(name, one), outcomeOf(one, style), directory))).toEqual(
    [],
  );
}

test(
  "Debian's Compose, which sends contexts itself",
  () => throughCompose('compose-py', 'classic', { COMPOSE_DOCKER_CLI_BUILD: '0' }, 'docker-compose'),
  TIMEOUT_MS,
);

test.skipIf(!COMPOSE || !BUILDX)(
  'Compose of today, which speaks to BuildKit',
  () => throughCompose('compose', 'buildkit', {}, 'docker', 'compose'),
  TIMEOUT_MS,
);
