/**
 * `npm run fuzz`: tries all targets in turn for FUZZ_SECONDS (60), with the seed FUZZ_SEED (a new one unless given), or those
 * whose name FUZZ_TARGET is. What fails is printed and kept in the corpus; a target that hangs is told by a watch from outside.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import fc from 'fast-check';
import { encodeInput, keep, kept } from './corpus.ts';
import type { Target } from './target.ts';
import { openTargets } from './targets.ts';

const RUNS_A_TURN = 150;
/** No input of these sizes takes a machine this long. */
const HANGS_AFTER_MS = 15_000;
const SHOWN_INPUT = 1 << 20;

interface Shared {
  seed: number;
  seconds: number;
  only: string | undefined;
  /** [number of runs, length of the input], then the input itself. */
  state: SharedArrayBuffer;
  input: SharedArrayBuffer;
}

function watch(): void {
  const seed = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));
  const seconds = Number(process.env.FUZZ_SECONDS ?? 60);
  const shared: Shared = {
    seed,
    seconds,
    only: process.env.FUZZ_TARGET,
    state: new SharedArrayBuffer(8),
    input: new SharedArrayBuffer(SHOWN_INPUT),
  };
  console.log(`fuzzing for ${seconds} s with FUZZ_SEED=${seed}`);
  const state = new Int32Array(shared.state);
  const worker = new Worker(new URL(import.meta.url), { workerData: shared, trackUnmanagedFds: false });
  let seen = -1;
  let since = Date.now();
  const timer = setInterval(() => {
    if (state[0] !== seen) [seen, since] = [state[0]!, Date.now()];
    else if (Date.now() - since > HANGS_AFTER_MS) {
      const told = Buffer.from(shared.input, 0, state[1]).toString();
      const [target = '', input = ''] = told.split('\n', 2);
      console.error(`HANG in ${target}: ${keep(target, input)}`);
      process.exitCode = 1;
      clearInterval(timer);
      void worker.terminate();
    }
  }, 500);
  worker.on('message', (failures: number) => (process.exitCode = failures ? 1 : 0));
  worker.on('error', (error) => {
    console.error(error);
    process.exitCode = 1;
  });
  worker.on('exit', () => clearInterval(timer));
}

async function work({ seed, seconds, only, state, input }: Shared): Promise<void> {
  const counters = new Int32Array(state);
  const shown = Buffer.from(input);
  const targets = (await openTargets()).filter(({ name }) => !only || name === only);
  let failures = 0;
  const runs = new Map<string, number>();

  /** Tells the watch what is tried, tries it. */
  const attempt = async (target: Target, value: unknown): Promise<void> => {
    counters[1] = shown.write(`${target.name}\n${encodeInput(value)}`);
    Atomics.add(counters, 0, 1);
    runs.set(target.name, (runs.get(target.name) ?? 0) + 1);
    await target.run(value);
  };

  for (const { target: name, name: file, input: value } of kept()) {
    const target = targets.find((one) => one.name === name);
    if (!target) continue;
    await attempt(target, value).catch((error: unknown) => {
      failures++;
      console.error(`${file} does harm again:`, error);
    });
  }
  const end = Date.now() + seconds * 1000;
  const failed = new Set<string>();
  for (let turn = 0; Date.now() < end && failed.size < targets.length; turn++) {
    for (const target of targets) {
      if (failed.has(target.name) || Date.now() >= end) continue;
      const property = fc.asyncProperty(target.input, (value) => attempt(target, value));
      const result = await fc.check(property, {
        seed: (seed + turn) | 0,
        numRuns: RUNS_A_TURN,
        endOnFailure: false,
        interruptAfterTimeLimit: Math.max(1, end - Date.now()),
      });
      if (!result.failed || result.counterexample === null) continue;
      failures++;
      failed.add(target.name);
      const name = keep(target.name, encodeInput(result.counterexample[0]));
      console.error(
        `FAILED ${target.name} (seed ${(seed + turn) | 0}, path ${result.counterexamplePath}): corpus/${name}\n${encodeInput(result.counterexample[0]).slice(0, 2000)}\n`,
        result.errorInstance,
      );
    }
  }
  for (const target of targets) await target.dispose?.();
  console.log([...runs].map(([name, count]) => `${name} ${count}`).join(', '));
  console.log(failures ? `${failures} targets failed` : 'no crash, no hang, no escape');
  parentPort!.postMessage(failures);
}

if (isMainThread) watch();
else await work(workerData as Shared);
