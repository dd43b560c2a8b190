/** A process that runs in this very Node: two pipes out, one in, and an exit that somebody decides. */
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { conflict, notFound } from '../../errors.ts';
import type { ExitStatus, Process, ProcessIo } from '../port.ts';

export interface FakeRun {
  id: string;
  execId: string;
  args: readonly string[];
  stdin: Readable | undefined;
  stdout: Writable;
  stderr: Writable | undefined;
  exit(code: number): void;
}

export type FakeProgram = (run: FakeRun) => void;

export interface FakeProcessOptions {
  id: string;
  execId: string;
  args: readonly string[];
  terminal: boolean;
  stdin: boolean;
  program: FakeProgram | undefined;
  step: (name: 'start' | 'kill' | 'delete') => Promise<void>;
  nextPid: () => number;
  removed: () => void;
}

export class FakeProcess implements Process {
  readonly id: string;
  readonly io: ProcessIo;
  readonly exited: Promise<ExitStatus>;
  readonly sizes: { width: number; height: number }[] = [];
  pid = 0;
  protected phase: 'created' | 'running' | 'stopped' = 'created';
  #options: FakeProcessOptions;
  #settle: (status: ExitStatus) => void;
  #pipes: { stdin: PassThrough | undefined; stdout: PassThrough; stderr: PassThrough | undefined };

  constructor(options: FakeProcessOptions) {
    this.#options = options;
    this.id = options.id;
    const pipes = {
      stdin: options.stdin ? new PassThrough() : undefined,
      stdout: new PassThrough(),
      stderr: options.terminal ? undefined : new PassThrough(),
    };
    this.#pipes = pipes;
    this.io = pipes;
    const { promise, resolve } = Promise.withResolvers<ExitStatus>();
    this.exited = promise;
    this.#settle = resolve;
  }

  async start(): Promise<void> {
    try {
      await this.#options.step('start');
    } catch (error) {
      this.end(128, true);
      throw error;
    }
    if (this.phase !== 'created') throw conflict('cannot start a stopped process: failed precondition');
    this.phase = 'running';
    this.pid = this.#options.nextPid();
    const { id, execId, args } = this.#options;
    this.#options.program?.({ id, execId, args, ...this.#pipes, exit: (code) => this.end(code) });
  }

  /** The process is over; once. */
  end(exitCode: number, synthesised = false): void {
    if (this.phase === 'stopped') return;
    this.phase = 'stopped';
    this.#pipes.stdout.end();
    this.#pipes.stderr?.end();
    this.#pipes.stdin?.destroy();
    this.#settle({ exitCode, exitedAtNano: BigInt(Date.now()) * 1_000_000n, synthesised });
  }

  async kill(signal: number): Promise<void> {
    await this.#options.step('kill');
    if (this.phase !== 'running' && !(this.phase === 'created' && signal === 9)) {
      throw notFound('process already finished: not found');
    }
    if (signal) this.end(128 + signal);
  }

  async resize(size: { width: number; height: number }): Promise<void> {
    this.sizes.push(size);
  }

  async closeStdin(): Promise<void> {
    this.#pipes.stdin?.end();
  }

  async delete(): Promise<void> {
    await this.#options.step('delete');
    if (this.phase === 'running') throw conflict('cannot delete a running process: failed precondition');
    this.end(137, true);
    this.#options.removed();
  }
}
