/** A container of the fake runtime. */
import { conflict } from '../../errors.ts';
import type { Process, ProcessSpec, Task, TaskSpec } from '../port.ts';
import { FakeProcess, type FakeProgram } from './process.ts';

/** What can be made to fail or hang. */
export type FakeStep = 'create' | 'start' | 'exec' | 'kill' | 'delete' | 'pause' | 'resume' | 'update' | 'probe';

export interface FakeTaskOptions extends TaskSpec {
  args: readonly string[];
  program: FakeProgram | undefined;
  step: (name: FakeStep) => Promise<void>;
  nextPid: () => number;
  removed: () => void;
}

export class FakeTask extends FakeProcess implements Task {
  readonly execs = new Map<string, FakeProcess>();
  /** What update was last given. */
  resources: object | undefined;
  #options: FakeTaskOptions;
  #paused = false;
  #oomListeners = new Set<() => void>();

  constructor(options: FakeTaskOptions) {
    super({ ...options, execId: '' });
    this.#options = options;
    // As runc does it: the namespaces have a process from their creation on.
    this.pid = options.nextPid();
  }

  get state(): 'created' | 'running' | 'paused' | 'stopped' {
    return this.#paused && this.phase === 'running' ? 'paused' : this.phase;
  }

  override end(exitCode: number, synthesised = false): void {
    for (const exec of this.execs.values()) exec.end(137, synthesised);
    super.end(exitCode, synthesised);
  }

  async exec(spec: ProcessSpec): Promise<Process> {
    await this.#options.step('exec');
    if (this.phase !== 'running') throw conflict('cannot exec in a stopped state: failed precondition');
    const { program, step, nextPid } = this.#options;
    const exec = new FakeProcess({
      id: this.id,
      execId: spec.execId,
      args: (spec.process as { args?: string[] }).args ?? [],
      terminal: spec.terminal,
      stdin: spec.stdin,
      program,
      step,
      nextPid,
      removed: () => this.execs.delete(spec.execId),
    });
    this.execs.set(spec.execId, exec);
    return exec;
  }

  async killAll(signal: number): Promise<void> {
    await this.kill(signal);
  }

  async pause(): Promise<void> {
    await this.#options.step('pause');
    if (this.state !== 'running') throw conflict('cannot pause a container that is not running: failed precondition');
    this.#paused = true;
  }

  async resume(): Promise<void> {
    await this.#options.step('resume');
    if (!this.#paused) throw conflict('cannot resume a container that is not paused: failed precondition');
    this.#paused = false;
  }

  async update(resources: object): Promise<void> {
    await this.#options.step('update');
    this.resources = resources;
  }

  async pids(): Promise<number[]> {
    if (this.phase === 'stopped') return [];
    return [this, ...this.execs.values()].map((process) => process.pid).filter(Boolean);
  }

  onOom(listener: () => void): () => void {
    this.#oomListeners.add(listener);
    return () => void this.#oomListeners.delete(listener);
  }

  oom(): void {
    for (const listener of this.#oomListeners) listener();
  }
}
