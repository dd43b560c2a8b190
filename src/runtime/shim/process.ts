/** A process in a container, as the shim keeps it: init (empty exec id) or an exec. */
import { finished } from 'node:stream/promises';
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { conflict, DaemonError } from '../../errors.ts';
import { Task as Service } from '../../generated/proto/containerd/task_pb.ts';
import type { ExitStatus, Process, ProcessIo } from '../port.ts';
import type { Deadlines } from './deadlines.ts';
import type { Pipes } from './pipes.ts';
import { FAILED_START, type Shim } from './shim.ts';

export const SIGKILL = 9;

export interface ProcessOptions {
  shim: Shim;
  id: string;
  execId: string;
  pipes: Pipes;
  pid: number;
  /** Taken up after it was started. */
  started?: boolean;
  deadlines: Deadlines;
  /** How often the container was told to die: starts that wait in line since before are pointless, and would hold up its end. */
  kills?: () => number;
}

export class ShimProcess implements Process {
  readonly io: ProcessIo;
  readonly exited: Promise<ExitStatus>;
  #settle: (status: ExitStatus) => void;
  protected readonly shim: Shim;
  protected readonly deadlines: Deadlines;
  readonly id: string;
  #execId: string;
  #pipes: Pipes;
  #pid: number;
  #started: boolean;
  /** The shim has our input to close: of init since its creation, of an exec since its start. */
  #inputOpen = Promise.withResolvers<void>();
  #deleting: Promise<void> | undefined;
  #kills: () => number;

  constructor(options: ProcessOptions) {
    this.shim = options.shim;
    this.id = options.id;
    this.#execId = options.execId;
    this.#pipes = options.pipes;
    this.io = options.pipes.io;
    this.#pid = options.pid;
    this.deadlines = options.deadlines;
    this.#kills = options.kills ?? (() => 0);
    this.#started = options.started ?? false;
    if (this.#started || !this.#execId) this.#inputOpen.resolve();
    const { promise, resolve } = Promise.withResolvers<ExitStatus>();
    this.exited = promise;
    this.#settle = resolve;
    // Waiting begins before the start: an exit can come before the start's own reply.
    void this.shim
      .wait(this.id, this.#execId, () => this.#pid)
      .then((status) => {
        this.io.stdin?.destroy();
        resolve(status);
      });
  }

  get pid(): number {
    return this.#pid;
  }

  protected call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    input: MessageInitShape<I>,
    deadline: number,
  ): Promise<MessageShape<O>> {
    return this.shim.call(method, input, { deadline, id: this.id });
  }

  async start(): Promise<void> {
    try {
      const input = { id: this.id, execId: this.#execId };
      const kills = this.#kills();
      const reply = await this.shim.exclusive(async () => {
        if (this.#kills() !== kills) throw conflict(`container ${this.id} is being killed`);
        return this.call(Service.method.start, input, this.deadlines.start);
      });
      this.#started = true;
      this.#pid = reply.pid;
    } catch (error) {
      this.#settle(this.shim.madeUpExit(FAILED_START));
      throw error;
    } finally {
      this.#inputOpen.resolve();
    }
  }

  async kill(signal: number): Promise<void> {
    await this.call(Service.method.kill, { id: this.id, execId: this.#execId, signal }, this.deadlines.kill);
  }

  async resize({ width, height }: { width: number; height: number }): Promise<void> {
    const input = { id: this.id, execId: this.#execId, width, height };
    await this.call(Service.method.resizePty, input, this.deadlines.control);
  }

  async closeStdin(): Promise<void> {
    const { stdin } = this.io;
    if (!stdin) return;
    // A pipe that nobody has open any more forgets what is in it: the shim must have its end first.
    await Promise.race([this.#inputOpen.promise, this.exited]);
    stdin.end();
    // What was written comes first; a process that ended before reading it ends the wait.
    await Promise.race([finished(stdin).catch(() => {}), this.exited]);
    try {
      await this.call(
        Service.method.closeIO,
        { id: this.id, execId: this.#execId, stdin: true },
        this.deadlines.control,
      );
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  delete(): Promise<void> {
    this.#deleting ??= this.remove().catch((error: unknown) => {
      this.#deleting = undefined;
      throw error;
    });
    return this.#deleting;
  }

  protected async remove(): Promise<void> {
    // The shim waits for the end of the outputs, which an init that was never started holds open.
    if (!this.#started && !this.#execId) await this.#killUnstarted();
    try {
      await this.call(Service.method.delete, { id: this.id, execId: this.#execId }, this.deadlines.delete);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
    if (!this.#started) this.#settle(this.shim.madeUpExit());
    this.#pipes.release();
  }

  async #killUnstarted(): Promise<void> {
    try {
      await this.kill(SIGKILL);
      await this.call(Service.method.wait, { id: this.id }, this.deadlines.kill);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
}

/** Not there any more: what we wanted, when we wanted it gone. */
export const isGone = (error: unknown): boolean =>
  error instanceof DaemonError &&
  (error.kind === 'notFound' || error.code === 'connection-closed' || error.code === 'shim-dead');
