/** kill -9 in the middle of a layer, which no fact of a chart tells of: the repeated pull asks for what is missing, and for nothing else. */
import { type ChildProcess, spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { expectNothingLeft } from './support/kill.ts';
import { tell } from './support/table.ts';

let daemon: TestDaemon;
let registry: ChildProcess;
let said = '';
beforeAll(async () => {
  daemon = await startDaemon({ image: false });
  const program = join(import.meta.dirname, 'support/half-registry.ts');
  const stdio: ['ignore', 'pipe', 'inherit'] = ['ignore', 'pipe', 'inherit'];
  registry = spawn('nsenter', [`--net=${daemon.netns}`, process.execPath, program], { stdio });
  registry.stdout!.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await eventually(async () => said.includes('\n'));
});
afterAll(async () => {
  registry?.kill();
  await daemon?.stop();
  tell({
    drill: 1,
    what: 'kill -9 in the middle of a layer',
    cases: 1,
    outcome: 'the repeated pull asks for the missing bytes alone; the image store is clean',
    where: ['test/drills/transfers.test.ts'],
  });
});

it('a layer that is half here at the kill is asked for its other half', async () => {
  const [host, digest, half] = said.trim().split(' ');
  const file = join(daemon.dataRoot, 'image/oci/ingest', digest!);
  const pulling = daemon.spawnDocker('pull', `${host}/image`);
  const here = (): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  // The last piece may still be gathered.
  await eventually(async () => here() > Number(half) - (1 << 20), { what: 'half of the layer is here' });
  await daemon.kill();
  pulling.kill();
  const left = here();
  await daemon.restart();
  expect(daemon.ok('images', '-q')).toBe('');
  daemon.ok('pull', `${host}/image`);
  await eventually(async () => said.includes('bytes='));
  expect(said.trim().split('\n').slice(1)).toEqual(['layer all', `layer bytes=${left}-`]);
  expect(daemon.ok('images', '-q')).toMatch(/^[0-9a-f]{12}$/);
  await expectNothingLeft(daemon);
});
