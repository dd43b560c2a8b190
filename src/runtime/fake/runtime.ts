/**
 * The Runtime port in memory, for tests of everything above it: containers that run until told to end, and controls to
 * make them exit, fail, hang, or be lost. What a process does can be given as a program.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DaemonError, conflict, internal, notFound } from '../../errors.ts';
import { endedTask } from '../ended-task.ts';
import type { ExitStatus, Runtime, Task, TaskProbe, TaskSpec } from '../port.ts';
import { type FakeStep, FakeTask } from './task.ts';
import type { FakeProgram } from './process.ts';

export interface FakeOptions {
  /** What processes do; without it they run until killed. */
  program?: FakeProgram;
}

export interface FakeControls {
  /** Ends a container's init, or one of its execs. */
  exit(id: string, code: number, execId?: string): void;
  oom(id: string): void;
  /** The next call of this step fails with the error. */
  failNext(step: FakeStep, error: DaemonError): void;
  /** The next call of this step does not answer until the returned function is called. */
  hangNext(step: FakeStep): () => void;
  /** The shim of a container dies: its exit is made up. */
  loseShim(id: string): void;
  /** Calls so far, as `create <id>`. */
  readonly calls: readonly string[];
  task(id: string): Task | undefined;
}

const madeUp = (code: number): ExitStatus => ({
  exitCode: code,
  exitedAtNano: BigInt(Date.now()) * 1_000_000n,
  synthesised: true,
});

export function createFakeRuntime(options: FakeOptions = {}): Runtime & FakeControls {
  const tasks = new Map<string, FakeTask>();
  const lost = new Map<string, ExitStatus>();
  const calls: string[] = [];
  const failures = new Map<FakeStep, DaemonError[]>();
  const hangs = new Map<FakeStep, Promise<void>[]>();
  let pid = 1000;

  const step = async (name: FakeStep, id: string): Promise<void> => {
    calls.push(`${name} ${id}`);
    await hangs.get(name)?.shift();
    const error = failures.get(name)?.shift();
    if (error) throw error;
  };
  const held = (id: string): FakeTask => {
    const task = tasks.get(id);
    if (!task) throw internal(`the fake runtime has no container ${id}`);
    return task;
  };
  const argsOf = (spec: TaskSpec): string[] => {
    try {
      const config = JSON.parse(readFileSync(join(spec.bundle, 'config.json'), 'utf8')) as {
        process?: { args?: string[] };
      };
      return config.process?.args ?? [];
    } catch {
      return [];
    }
  };

  return {
    async create(spec) {
      await step('create', spec.id);
      if (tasks.has(spec.id)) throw conflict(`container ${spec.id} has a task already`);
      const task = new FakeTask({
        ...spec,
        args: argsOf(spec),
        program: options.program,
        step: (name) => step(name, spec.id),
        nextPid: () => pid++,
        removed: () => void tasks.delete(spec.id),
      });
      tasks.set(spec.id, task);
      return task;
    },
    async probe(spec): Promise<TaskProbe> {
      await step('probe', spec.id);
      const exit = lost.get(spec.id);
      if (exit) {
        const forget = async (): Promise<void> => void lost.delete(spec.id);
        return {
          found: true,
          status: 'stopped',
          exit,
          task: endedTask({ id: spec.id, terminal: spec.terminal, exit, forget }),
        };
      }
      const task = tasks.get(spec.id);
      if (!task) return { found: false };
      if (task.state === 'stopped') return { found: true, status: 'stopped', exit: await task.exited, task };
      return { found: true, status: task.state, task };
    },
    async cleanup(id) {
      const task = tasks.get(id);
      task?.end(137);
      tasks.delete(id);
      lost.delete(id);
    },
    list: async () => [...new Set([...tasks.keys(), ...lost.keys()])],
    close: async () => {},
    exit(id, code, execId) {
      const process = execId ? held(id).execs.get(execId) : held(id);
      if (!process) throw notFound(`no exec ${execId} in ${id}`);
      process.end(code);
    },
    oom: (id) => held(id).oom(),
    failNext: (name, error) => void failures.set(name, [...(failures.get(name) ?? []), error]),
    hangNext(name) {
      const { promise, resolve } = Promise.withResolvers<void>();
      hangs.set(name, [...(hangs.get(name) ?? []), promise]);
      return resolve;
    },
    loseShim(id) {
      const exit = madeUp(137);
      held(id).end(137, true);
      tasks.delete(id);
      lost.set(id, exit);
    },
    calls,
    task: (id) => tasks.get(id),
  };
}
