import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { defaultConfig } from '../../src/config/defaults.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createShimRuntime } from '../../src/runtime/shim/runtime.ts';
import { busyboxRoot, makeBundle, ociProcess } from '../support/bundle.ts';
import { runtimeSuite } from './runtime-suite.ts';

runtimeSuite('shim', async () => {
  const root = await mkdtemp(join(tmpdir(), 'rt-'));
  const lower = await busyboxRoot(join(root, 'busybox'));
  const log = pino({ level: process.env.LOG ?? 'silent' });
  const open = () =>
    createShimRuntime({ config: defaultConfig, log, clock: systemClock, directory: join(root, 'run') });
  let runtime = await open();
  return {
    runtime,
    process: (script) => ociProcess(script),
    bundle: (script, options) => makeBundle(root, lower, script, options),
    async restart() {
      await runtime.close();
      return (runtime = await open());
    },
    async close() {
      await runtime.close();
      await rm(root, { recursive: true });
    },
  };
});
