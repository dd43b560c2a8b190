import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newId } from '../../src/lib/ids.ts';
import type { FakeRun } from '../../src/runtime/fake/process.ts';
import { createFakeRuntime } from '../../src/runtime/fake/runtime.ts';
import { runtimeSuite } from './runtime-suite.ts';

/** As much of a shell as the suite's scripts need. */
function program(run: FakeRun): void {
  const steps = (run.args.at(-1) ?? '').split('; ');
  const next = (): void => {
    const step = steps.shift();
    if (step === undefined) return run.exit(0);
    const [word, argument] = step.split(' ');
    if (step.endsWith('>&2')) run.stderr?.write(`${argument}\n`);
    else if (word === 'echo') run.stdout.write(`${argument}\n`);
    else if (word === 'exit') return run.exit(Number(argument));
    else if (word === 'sleep') return Number(argument) < 10 ? void setTimeout(next, Number(argument)) : undefined;
    else if (word === 'cat') {
      run.stdin?.on('data', (chunk) => run.stdout.write(chunk));
      run.stdin?.on('end', () => run.exit(0));
      return;
    }
    next();
  };
  next();
}

runtimeSuite('fake', async () => {
  const root = await mkdtemp(join(tmpdir(), 'runtime-fake-'));
  const runtime = createFakeRuntime({ program });
  return {
    runtime,
    process: (script) => ({ args: ['sh', '-c', script] }),
    async bundle(script, { terminal = false, stdin = false } = {}) {
      const id = newId();
      const bundle = join(root, id);
      await mkdir(bundle);
      await writeFile(join(bundle, 'config.json'), JSON.stringify({ process: { args: ['sh', '-c', script] } }));
      return { id, bundle, rootfs: [], terminal, stdin, runtime: 'runc', systemdCgroup: false };
    },
    restart: async () => runtime,
    close: () => rm(root, { recursive: true }),
  };
});
