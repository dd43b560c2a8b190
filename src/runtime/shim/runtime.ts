/** The Runtime port over containerd-shim-runc-v2, spoken to directly; see README.md beside this file. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { Logger } from 'pino';
import type { Config } from '../../config/config.ts';
import { DaemonError, asDaemonError, conflict } from '../../errors.ts';
import { OptionsSchema } from '../../generated/proto/containerd/runc-options_pb.ts';
import { Status, Task as Service } from '../../generated/proto/containerd/task_pb.ts';
import type { Clock } from '../../lib/clock.ts';
import { endedTask } from '../ended-task.ts';
import type { ExitStatus, Runtime, Task, TaskProbe, TaskSpec } from '../port.ts';
import { type TtrpcServer, serveTtrpc } from '../ttrpc/server.ts';
import { AttachWindow } from './attach-window.ts';
import { DEADLINES, type Deadlines } from './deadlines.ts';
import { eventHandler } from './events.ts';
import { type Pipes, openPipes, removePipes } from './pipes.ts';
import { ShimPool } from './pool.ts';
import { isGone } from './process.ts';
import { reap } from './reap.ts';
import { type TaskEntry, TaskRegistry } from './registry.ts';
import { runtimeTable } from './runtimes.ts';
import type { Shim } from './shim.ts';
import { ShimTask } from './task.ts';

export interface ShimRuntimeOptions {
  config: Config;
  log: Logger;
  clock: Clock;
  /** Ours alone, on a file system that forgets at a reboot; its path is short, as sockets lie in it. */
  directory: string;
  /** Path or name of the shim. */
  shim?: string;
  deadlines?: Partial<Deadlines>;
}

/** containerd's namespace; dockerd's own, so that tools which look for its containers find ours. */
const NAMESPACE = 'moby';

/** Starts serving events and takes up the shims that are there. */
export async function createShimRuntime(options: ShimRuntimeOptions): Promise<Runtime> {
  const runtime = new ShimRuntime(options);
  await runtime.open();
  return runtime;
}

class ShimRuntime implements Runtime {
  #log: Logger;
  #deadlines: Deadlines;
  #events: string;
  /** State of the OCI runtime; it keeps one directory a container below `<root>/<namespace>`. */
  #root: string;
  #registry: TaskRegistry;
  #pool: ShimPool;
  #tasks = new Map<string, ShimTask>();
  #runtimePath: (name: string) => string;
  #attaches: AttachWindow;
  #server: TtrpcServer | undefined;

  constructor(options: ShimRuntimeOptions) {
    const { directory, clock } = options;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#log = options.log;
    this.#deadlines = { ...DEADLINES, ...options.deadlines };
    this.#events = join(directory, 'events.sock');
    this.#root = join(directory, 'runc');
    this.#attaches = new AttachWindow({ clock });
    this.#registry = new TaskRegistry(join(directory, 'tasks'));
    this.#runtimePath = runtimeTable(options.config, join(directory, 'runtimes'));
    this.#pool = new ShimPool({
      binary: options.shim ?? 'containerd-shim-runc-v2',
      directory: join(directory, 'shims'),
      namespace: NAMESPACE,
      address: directory,
      events: this.#events,
      launchDeadline: this.#deadlines.launch,
      clock,
      hooks: { log: options.log, now: () => clock.now(), reap: (id) => this.#reap(id) },
    });
  }

  async open(): Promise<void> {
    const handler = eventHandler((id) => this.#tasks.get(id)?.oom());
    this.#server = await serveTtrpc(this.#events, handler, (error) =>
      this.#log.error({ err: error }, 'event socket failed'),
    );
    await this.#pool.adopt((shim) => this.#registry.ofShim(shim));
  }

  async create(spec: TaskSpec): Promise<Task> {
    if (this.#registry.get(spec.id)) throw conflict(`container ${spec.id} has a task already`);
    const runtime = this.#runtimePath(spec.runtime);
    void this.#attaches.open();
    const shim = await this.#pool.acquire(spec.id);
    let pipes: Pipes | undefined;
    try {
      this.#registry.put({ id: spec.id, bundle: spec.bundle, shim: shim.id, runtime });
      pipes = openPipes({ bundle: spec.bundle, name: 'init', terminal: spec.terminal, stdin: spec.stdin });
      const pid = await this.#ask(shim, spec, runtime, pipes);
      return this.#take(shim, spec, pipes, pid);
    } catch (error) {
      pipes?.destroy();
      await this.#reap(spec.id);
      this.#forget(shim, spec.id);
      throw refusal(error);
    } finally {
      shim.busy--;
    }
  }

  async #ask(shim: Shim, spec: TaskSpec, runtime: string, pipes: Pipes): Promise<number> {
    const { systemdCgroup, owner } = spec;
    const owned = owner ? { ioUid: owner.uid, ioGid: owner.gid } : {};
    const options = create(OptionsSchema, { binaryName: runtime, root: this.#root, systemdCgroup, ...owned });
    // The bare name: the shim does not know the usual prefix of type URLs.
    const any = create(AnySchema, { typeUrl: OptionsSchema.typeName, value: toBinary(OptionsSchema, options) });
    const { id, bundle, terminal } = spec;
    const rootfs = spec.rootfs.map((mount) => ({ ...mount, target: '' }));
    const input = { id, bundle, terminal, rootfs, ...pipes.paths, options: any };
    const call = { deadline: this.#deadlines.create, id };
    const reply = await shim.exclusive(() => shim.call(Service.method.create, input, call));
    return reply.pid;
  }

  #take(shim: Shim, spec: TaskSpec, pipes: Pipes, pid: number, started = false): ShimTask {
    const { id, bundle } = spec;
    const removed = async (): Promise<void> => this.#forget(shim, id);
    const task = new ShimTask({
      shim,
      id,
      execId: '',
      pipes,
      pid,
      started,
      bundle,
      deadlines: this.#deadlines,
      attaches: this.#attaches,
      removed,
    });
    this.#tasks.set(id, task);
    return task;
  }

  async probe(spec: TaskSpec): Promise<TaskProbe> {
    const entry = this.#registry.get(spec.id);
    if (!entry) return { found: false };
    const shim = this.#pool.get(entry.shim);
    if (!shim) return this.#probeDead(spec);
    const held = this.#tasks.get(spec.id);
    // Pipes first: a task found running then has writers that these readers will see going.
    const pipes = held
      ? undefined
      : openPipes({ bundle: spec.bundle, name: 'init', terminal: spec.terminal, stdin: spec.stdin });
    try {
      const input = { id: spec.id };
      const state = await shim.call(Service.method.state, input, { deadline: this.#deadlines.control, id: spec.id });
      const task = held ?? this.#take(shim, spec, pipes!, state.pid, state.status !== Status.CREATED);
      const status = STATUS[state.status];
      if (status) return { found: true, status, task };
      pipes?.writersGone();
      return { found: true, status: 'stopped', exit: await task.exited, task };
    } catch (error) {
      pipes?.destroy();
      if (!(error instanceof DaemonError && error.kind === 'notFound')) throw error;
      await this.#reap(spec.id);
      this.#forget(shim, spec.id);
      return { found: false };
    }
  }

  async #probeDead(spec: TaskSpec): Promise<TaskProbe> {
    await this.#reap(spec.id);
    const exit: ExitStatus = { exitCode: 137, exitedAtNano: BigInt(Date.now()) * 1_000_000n, synthesised: true };
    const forget = async (): Promise<void> => this.#forget(undefined, spec.id);
    return {
      found: true,
      status: 'stopped',
      exit,
      task: endedTask({ id: spec.id, terminal: spec.terminal, exit, forget }),
    };
  }

  async cleanup(id: string, bundle: string): Promise<void> {
    const entry = this.#registry.get(id);
    const shim = entry && this.#pool.get(entry.shim);
    if (shim) await this.#removeFrom(shim, id);
    await this.#reap(id, bundle);
    this.#forget(shim, id);
    removePipes(bundle);
  }

  /** Kills what runs and has the shim let go of it, as far as the shim still can. */
  async #removeFrom(shim: Shim, id: string): Promise<void> {
    const { kill, wait, delete: remove } = Service.method;
    const steps = [
      () => shim.call(kill, { id, signal: 9, all: true }, { deadline: this.#deadlines.kill, id }),
      () => shim.call(wait, { id }, { deadline: this.#deadlines.kill, id }),
      () => shim.call(remove, { id }, { deadline: this.#deadlines.delete, id }),
    ];
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        if (isGone(error)) return;
        this.#log.debug({ err: error, container: id }, 'a step of removing a task failed');
      }
    }
  }

  async list(): Promise<string[]> {
    const states = join(this.#root, NAMESPACE);
    return [...new Set([...this.#registry.ids(), ...(existsSync(states) ? readdirSync(states) : [])])];
  }

  async close(): Promise<void> {
    await this.#pool.close();
    await this.#server?.close();
  }

  /** Clears the host of a container that no shim looks after. */
  async #reap(id: string, bundle?: string): Promise<void> {
    const entry: Partial<TaskEntry> = this.#registry.get(id) ?? {};
    const where = bundle ?? entry.bundle;
    if (!where) return;
    const root = join(this.#root, NAMESPACE);
    await reap({ id, bundle: where, runtime: entry.runtime ?? this.#runtimePath(''), root, log: this.#log });
  }

  #forget(shim: Shim | undefined, id: string): void {
    this.#registry.remove(id);
    this.#tasks.delete(id);
    if (shim) this.#pool.release(shim, id);
  }
}

const STATUS: Record<number, 'created' | 'running' | 'paused' | undefined> = {
  [Status.CREATED]: 'created',
  [Status.RUNNING]: 'running',
  [Status.PAUSED]: 'paused',
  [Status.PAUSING]: 'paused',
};

/** In dockerd's words, from which its CLI derives the exit codes 125 to 127. */
function refusal(thrown: unknown): DaemonError {
  const error = asDaemonError(thrown);
  const prefix = 'failed to create task for container: failed to create shim task';
  return new DaemonError(error.kind, `${prefix}: ${error.message}`, { code: error.code, cause: error });
}
