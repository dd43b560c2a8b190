/** A container's init with what concerns the container as a whole. */
import { setTimeout as delay } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { Task as Service } from '../../generated/proto/containerd/task_pb.ts';
import type { Process, ProcessSpec, Task } from '../port.ts';
import type { AttachWindow } from './attach-window.ts';
import { hasEnded } from './children.ts';
import { openPipes } from './pipes.ts';
import { type ProcessOptions, ShimProcess, SIGKILL } from './process.ts';

const PROCESS_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Process';
const RESOURCES_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources';

const MANY_EXECS = 16;
/** How long the shim's next start waits for the end of a container with many execs. */
const ENDS_MS = 5_000;

const json = (typeUrl: string, value: object) =>
  create(AnySchema, { typeUrl, value: Buffer.from(JSON.stringify(value)) });

export interface TaskOptions extends ProcessOptions {
  bundle: string;
  attaches: AttachWindow;
  /** After the shim has let go of the container. */
  removed: () => Promise<void>;
}

export class ShimTask extends ShimProcess implements Task {
  #bundle: string;
  #attaches: AttachWindow;
  #removed: () => Promise<void>;
  #oomListeners = new Set<() => void>();
  #kills = 0;
  #execs = 0;

  constructor(options: TaskOptions) {
    super(options);
    this.#bundle = options.bundle;
    this.#attaches = options.attaches;
    this.#removed = options.removed;
  }

  async exec(spec: ProcessSpec): Promise<Process> {
    const { execId, terminal, stdin } = spec;
    void this.#attaches.open();
    const pipes = openPipes({ bundle: this.#bundle, name: execId, terminal, stdin });
    try {
      const input = { id: this.id, execId, terminal, ...pipes.paths, spec: json(PROCESS_TYPE, spec.process) };
      await this.call(Service.method.exec, input, this.deadlines.exec);
    } catch (error) {
      pipes.destroy();
      throw error;
    }
    const kills = (): number => this.#kills;
    const options = { shim: this.shim, id: this.id, execId, pipes, pid: 0, deadlines: this.deadlines, kills };
    const process = new ShimProcess(options);
    this.#execs++;
    void process.exited.then(() => this.#execs--);
    return process;
  }

  /**
   * Its execs end with it. While the shim starts a process it takes note of no exit, has room for some thirty, and spends a second on
   * each further one: with many execs no start may be under way when they end.
   */
  override async kill(signal: number): Promise<void> {
    if (signal !== SIGKILL) return super.kill(signal);
    this.#kills++;
    if (this.#execs < MANY_EXECS) return this.#end();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const work = async (): Promise<void> => {
      const sent = this.#end();
      sent.then(resolve, reject);
      await sent;
      await Promise.race([this.exited, delay(ENDS_MS, undefined, { ref: false })]);
    };
    this.shim.exclusive(work, true).catch(reject);
    return promise;
  }

  /** A shim with many ends to note answers late, or not in time: that the process is dead the kernel knows at once. */
  async #end(): Promise<void> {
    try {
      await super.kill(SIGKILL);
    } catch (error) {
      if (!this.pid || !hasEnded(this.pid)) throw error;
    }
  }

  async killAll(signal: number): Promise<void> {
    await this.call(Service.method.kill, { id: this.id, signal, all: true }, this.deadlines.kill);
  }

  /** After the starts under way: a runc that is frozen half-way into the container holds up its thawing. */
  async pause(): Promise<void> {
    await this.shim.exclusive(() => this.call(Service.method.pause, { id: this.id }, this.deadlines.control));
  }

  async resume(): Promise<void> {
    await this.call(Service.method.resume, { id: this.id }, this.deadlines.control);
  }

  async update(resources: object): Promise<void> {
    await this.call(
      Service.method.update,
      { id: this.id, resources: json(RESOURCES_TYPE, resources) },
      this.deadlines.control,
    );
  }

  async pids(): Promise<number[]> {
    const reply = await this.call(Service.method.pids, { id: this.id }, this.deadlines.control);
    return reply.processes.map((process) => process.pid);
  }

  onOom(listener: () => void): () => void {
    this.#oomListeners.add(listener);
    return () => void this.#oomListeners.delete(listener);
  }

  /** Called by the event server. */
  oom(): void {
    for (const listener of this.#oomListeners) listener();
  }

  protected override async remove(): Promise<void> {
    await super.remove();
    await this.#removed();
  }
}
