/** What every Runtime does, whoever runs the containers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Process, ProcessIo, Runtime, TaskSpec } from '../../src/runtime/port.ts';
import { eventually } from '../support/eventually.ts';

export interface RuntimeHarness {
  runtime: Runtime;
  /** A bundle whose init is this shell script. */
  bundle(script: string, options?: { terminal?: boolean; stdin?: boolean }): Promise<TaskSpec>;
  /** OCI process object that runs the script. */
  process(script: string): object;
  /** A daemon that came after the first was killed. */
  restart(): Promise<Runtime>;
  close(): Promise<void>;
}

export async function readAll(io: ProcessIo): Promise<{ stdout: string; stderr: string }> {
  const read = async (stream: NodeJS.ReadableStream | undefined): Promise<string> => {
    const chunks: Buffer[] = [];
    if (stream) for await (const chunk of stream) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString('utf8');
  };
  const [stdout, stderr] = await Promise.all([read(io.stdout), read(io.stderr)]);
  return { stdout, stderr };
}

const run = async (process: Process): Promise<{ code: number; stdout: string; stderr: string }> => {
  const output = readAll(process.io);
  await process.start();
  const { exitCode } = await process.exited;
  await process.delete();
  return { code: exitCode, ...(await output) };
};

export function runtimeSuite(name: string, make: () => Promise<RuntimeHarness>): void {
  describe(`the ${name} runtime`, () => {
    let harness: RuntimeHarness;
    let runtime: Runtime;
    beforeAll(async () => {
      harness = await make();
      runtime = harness.runtime;
    });
    afterAll(() => harness?.close());

    it('gives both outputs whole and the exit code, and leaves nothing after delete', async () => {
      const spec = await harness.bundle('echo out; echo err >&2; exit 3');
      const task = await runtime.create(spec);
      expect(await runtime.list()).toContain(spec.id);
      expect(await run(task)).toEqual({ code: 3, stdout: 'out\n', stderr: 'err\n' });
      expect(await runtime.list()).not.toContain(spec.id);
      expect(await runtime.probe(spec)).toEqual({ found: false });
      await task.delete();
      await runtime.cleanup(spec.id, spec.bundle);
    });

    it('feeds stdin to the process and ends it when told', async () => {
      const task = await runtime.create(await harness.bundle('cat', { stdin: true }));
      const output = readAll(task.io);
      await task.start();
      task.io.stdin!.write('one\n');
      task.io.stdin!.write('two\n');
      await task.closeStdin();
      expect((await task.exited).exitCode).toBe(0);
      await task.delete();
      expect((await output).stdout).toBe('one\ntwo\n');
    });

    it('runs several execs beside init, each with its own output and exit', async () => {
      const spec = await harness.bundle('sleep 1000');
      const task = await runtime.create(spec);
      await task.start();
      const exec = (execId: string, script: string) =>
        task.exec({ execId, process: harness.process(script), terminal: false, stdin: false }).then(run);
      const results = await Promise.all([exec('a', 'echo out; echo err >&2; exit 3'), exec('b', 'exit 0')]);
      expect(results).toEqual([
        { code: 3, stdout: 'out\n', stderr: 'err\n' },
        { code: 0, stdout: '', stderr: '' },
      ]);
      await task.kill(9);
      const exit = await task.exited;
      expect(exit).toMatchObject({ exitCode: 137, synthesised: false });
      await task.delete();
    });

    it('refuses to kill what has ended and to delete what runs', async () => {
      const task = await runtime.create(await harness.bundle('sleep 1000'));
      await task.start();
      await expect(task.delete()).rejects.toThrow(/cannot delete a running process/);
      await task.killAll(9);
      await task.exited;
      await expect(task.kill(15)).rejects.toMatchObject({ kind: 'notFound' });
      await task.delete();
    });

    it('freezes and thaws', async () => {
      const spec = await harness.bundle('sleep 1000');
      const task = await runtime.create(spec);
      await task.start();
      expect(await task.pids()).toContain(task.pid);
      await task.pause();
      expect(await runtime.probe(spec)).toMatchObject({ found: true, status: 'paused' });
      await task.resume();
      expect(await runtime.probe(spec)).toMatchObject({ found: true, status: 'running' });
      await task.kill(9);
      await task.exited;
      await task.delete();
    });

    it('lets a container go that was created and never started', async () => {
      const spec = await harness.bundle('sleep 1000');
      const task = await runtime.create(spec);
      expect(task.pid).toBeGreaterThan(0);
      expect(await runtime.probe(spec)).toMatchObject({ status: 'created' });
      await task.delete();
      expect(await runtime.list()).not.toContain(spec.id);
    });

    it('clears away a running container by its id alone, again and again', async () => {
      const spec = await harness.bundle('sleep 1000');
      const task = await runtime.create(spec);
      await task.start();
      await runtime.cleanup(spec.id, spec.bundle);
      await task.exited;
      await runtime.cleanup(spec.id, spec.bundle);
      expect(await runtime.list()).not.toContain(spec.id);
    });

    it('takes up what runs and what ended meanwhile, after the daemon was killed', async () => {
      const [lives, ends] = [await harness.bundle('echo out; sleep 1000'), await harness.bundle('sleep 0.3; exit 7')];
      for (const spec of [lives, ends]) await (await runtime.create(spec)).start();
      runtime = await harness.restart();
      const running = await runtime.probe(lives);
      expect(running).toMatchObject({ found: true, status: 'running' });
      const ended = await eventually(async () => {
        const probe = await runtime.probe(ends);
        return probe.found && probe.status === 'stopped' ? probe : undefined;
      });
      expect(ended.exit).toMatchObject({ exitCode: 7, synthesised: false });
      await ended.task.delete();
      await readAll(ended.task.io);
      if (!running.found) throw new Error('the container was lost');
      await running.task.kill(9);
      expect((await running.task.exited).exitCode).toBe(137);
      await running.task.delete();
      expect(await runtime.list()).toEqual([]);
    });
  });
}
