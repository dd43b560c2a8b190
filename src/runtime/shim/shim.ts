/**
 * One shim process, which serves a few containers, and our connection to it. A lost connection is made anew; when that
 * fails the shim is dead, and every Wait ends with a made-up exit after its container was cleared from the host.
 */
import type { Socket } from 'node:net';
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { Logger } from 'pino';
import { DaemonError, unavailable } from '../../errors.ts';
import { Task as Service } from '../../generated/proto/containerd/task_pb.ts';
import type { ExitStatus } from '../port.ts';
import { TtrpcClient } from '../ttrpc/client.ts';
import { hasEnded, hasUnburied, killChildrenNaming, readText } from './children.ts';
import { openEndlessReader } from './fifo.ts';
import {
  type Bootstrap,
  type LaunchOptions,
  launchShim,
  logFifo,
  prepareShimDirectory,
  readBootstrap,
  removeShimFiles,
} from './launch.ts';
import { Turns } from './turns.ts';

const CONNECT_MS = 2_000;
const RECONNECT_TRIES = 5;
const LIVENESS_MS = 2_000;
/** How long a shim may be busy with exits, */
const BUSY_MS = 60_000;
/** and how much longer for each that it has not told. */
const EXIT_MS = 1_000;
const KILLED = 137;
/** The exit of a process that was asked to start and did not. */
export const FAILED_START = 128;

export interface ShimHooks {
  log: Logger;
  now: () => number;
  /** Clears one container of a dead shim; never rejects. */
  reap: (id: string) => Promise<void>;
  gone: (shim: Shim) => void;
}

export class Shim {
  readonly id: string;
  readonly directory: string;
  /** Containers it holds. */
  readonly containers = new Set<string>();
  /** Calls under way or waiting that hold the shim's locks (create, start). */
  busy = 0;
  #turns = new Turns();
  #bootstrap: Bootstrap;
  #namespace: string;
  #client: TtrpcClient;
  #hooks: ShimHooks;
  #logReader: Socket;
  #pid = 0;
  #state: 'live' | 'retired' | 'dead' = 'live';
  #reconnecting: Promise<boolean> | undefined;
  /** Pids of the processes whose exits it has not told; 0 before their start. */
  #awaited = new Set<() => number>();

  private constructor(
    options: {
      id: string;
      directory: string;
      namespace: string;
      bootstrap: Bootstrap;
      client: TtrpcClient;
      logReader: Socket;
    },
    hooks: ShimHooks,
  ) {
    this.id = options.id;
    this.directory = options.directory;
    this.#namespace = options.namespace;
    this.#bootstrap = options.bootstrap;
    this.#client = options.client;
    this.#logReader = options.logReader;
    this.#hooks = hooks;
    this.#watch();
  }

  static async start(options: LaunchOptions, hooks: ShimHooks): Promise<Shim> {
    prepareShimDirectory(options.directory);
    const logReader = readLog(options.directory, hooks.log);
    let bootstrap: Bootstrap | undefined;
    try {
      bootstrap = await launchShim(options);
      const client = await dial(bootstrap, options.namespace);
      const shim = new Shim({ ...options, bootstrap, client, logReader }, hooks);
      shim.#pid = (await client.call(Service.method.connect, { id: options.id }, { deadline: CONNECT_MS })).shimPid;
      return shim;
    } catch (error) {
      logReader.destroy();
      removeShimFiles(options.directory, bootstrap);
      throw error;
    }
  }

  /** Takes up a shim that an earlier daemon started; undefined when it is dead, and its files are then gone. */
  static async attach(
    options: { id: string; directory: string; namespace: string },
    hooks: ShimHooks,
  ): Promise<Shim | undefined> {
    const bootstrap = readBootstrap(options.directory);
    if (!bootstrap) {
      removeShimFiles(options.directory, undefined);
      return undefined;
    }
    let logReader: Socket | undefined;
    try {
      logReader = readLog(options.directory, hooks.log);
      const client = await dial(bootstrap, options.namespace);
      const shim = new Shim({ ...options, bootstrap, client, logReader }, hooks);
      shim.#pid = (await client.call(Service.method.connect, { id: options.id }, { deadline: CONNECT_MS })).shimPid;
      return shim;
    } catch (error) {
      hooks.log.warn({ err: error, shim: options.id }, 'a shim of an earlier run is dead');
      logReader?.destroy();
      removeShimFiles(options.directory, bootstrap);
      return undefined;
    }
  }

  get live(): boolean {
    return this.#state === 'live';
  }

  get pid(): number {
    return this.#pid;
  }

  /**
   * Creates and starts, one at a time. The shim would do no other: but while several wait inside it, it can neither tell
   * of an exit nor answer any other call. `urgent` work comes before all that waits.
   */
  exclusive<T>(work: () => Promise<T>, urgent = false): Promise<T> {
    this.busy++;
    return this.#turns.run(work, urgent).finally(() => this.busy--);
  }

  /** One call with a deadline. `id` is the container it is for: when time runs out, its hung runtime is killed. */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    input: MessageInitShape<I>,
    options: { deadline: number; id: string },
  ): Promise<MessageShape<O>> {
    if (!(await this.#connected()))
      throw unavailable(`the shim of container ${options.id} is dead`, { code: 'shim-dead' });
    try {
      return await this.#client.call(method, input, { deadline: options.deadline });
    } catch (error) {
      if (error instanceof DaemonError && error.code === 'no-reply') void this.#escalate(options.id);
      throw error;
    }
  }

  /** Settles when the process has ended, over lost connections and the shim's own death. `pid` answers 0 before its start. */
  async wait(id: string, execId: string, pid: () => number): Promise<ExitStatus> {
    this.#awaited.add(pid);
    try {
      return await this.#exitOf(id, execId);
    } finally {
      this.#awaited.delete(pid);
    }
  }

  async #exitOf(id: string, execId: string): Promise<ExitStatus> {
    while (await this.#connected()) {
      try {
        const reply = await this.#client.call(Service.method.wait, { id, execId });
        const { seconds = 0n, nanos = 0 } = reply.exitedAt ?? {};
        // Go's zero time: it failed to start, so it has no exit of its own.
        if (seconds <= 0n) return this.madeUpExit(reply.exitStatus || FAILED_START);
        const exitedAtNano = seconds * 1_000_000_000n + BigInt(nanos);
        return { exitCode: reply.exitStatus, exitedAtNano, synthesised: false };
      } catch (error) {
        if (error instanceof DaemonError && error.code === 'connection-closed') continue;
        this.#hooks.log.warn({ err: error, container: id, exec: execId }, 'the exit of a process is not known');
        return this.madeUpExit();
      }
    }
    // We let go of a live shim: this daemon will not see the end any more.
    if (this.#state !== 'dead') return new Promise(() => {});
    if (!execId) await this.#hooks.reap(id);
    return this.madeUpExit();
  }

  madeUpExit(exitCode = KILLED): ExitStatus {
    return { exitCode, exitedAtNano: BigInt(this.#hooks.now()) * 1_000_000n, synthesised: true };
  }

  /** Ends the shim if it serves nobody, and removes its files. */
  async retire(): Promise<void> {
    if (this.#state !== 'live') return;
    this.#state = 'retired';
    try {
      await this.#client.call(Service.method.shutdown, { id: this.id }, { deadline: CONNECT_MS });
    } catch (error) {
      if (!(error instanceof DaemonError && error.code === 'connection-closed')) this.#kill();
    }
    this.#end();
  }

  /** Lets the shim live on for the next daemon. */
  detach(): void {
    this.#state = 'retired';
    this.#client.close();
    this.#logReader.destroy();
  }

  #watch(): void {
    const client = this.#client;
    void client.closed.then(() => {
      if (this.#state === 'live' && client === this.#client) void this.#connected();
    });
  }

  #connected(): Promise<boolean> {
    if (this.#state === 'dead') return Promise.resolve(false);
    if (!this.#client.isClosed) return Promise.resolve(true);
    if (this.#state === 'retired') return Promise.resolve(false);
    this.#reconnecting ??= this.#reconnect().finally(() => (this.#reconnecting = undefined));
    return this.#reconnecting;
  }

  async #reconnect(): Promise<boolean> {
    for (let attempt = 0; attempt < RECONNECT_TRIES; attempt++) {
      try {
        this.#client = await dial(this.#bootstrap, this.#namespace);
        this.#watch();
        return true;
      } catch (error) {
        const code = error instanceof DaemonError ? error.code : undefined;
        if (code === 'ECONNREFUSED' || code === 'ENOENT') break;
      }
    }
    this.#hooks.log.error({ shim: this.id, containers: [...this.containers] }, 'a shim died');
    this.#kill();
    this.#state = 'dead';
    this.#end();
    this.#hooks.gone(this);
    return false;
  }

  /** No answer in time: first the OCI runtime it waits for is killed, then the shim when it still does not speak. */
  async #escalate(id: string): Promise<void> {
    const killed = killChildrenNaming(this.#pid, id);
    this.#hooks.log.error({ container: id, shim: this.id, killed }, 'a shim did not answer in time');
    for (let waited = 0; ; waited += LIVENESS_MS) {
      try {
        await this.#client.call(Service.method.connect, { id }, { deadline: LIVENESS_MS });
        return;
      } catch (error) {
        if (!(error instanceof DaemonError && error.code === 'no-reply')) return;
        // Its death would end the containers of others.
        const untold = this.#untold();
        if (waited < BUSY_MS + untold * EXIT_MS && (untold || hasUnburied(this.#pid))) continue;
        return this.#kill();
      }
    }
  }

  /** How many processes have ended whose exits it has not told. It takes them all at once, and then up to a second for each. */
  #untold(): number {
    return [...this.#awaited].filter((pid) => pid() && hasEnded(pid())).length;
  }

  #kill(): void {
    if (!this.#pid || !readText(`/proc/${this.#pid}/cmdline`).includes(this.id)) return;
    try {
      process.kill(this.#pid, 'SIGKILL');
    } catch {
      // It ended by itself in between.
    }
  }

  #end(): void {
    this.#client.close();
    this.#logReader.destroy();
    removeShimFiles(this.directory, this.#bootstrap);
  }
}

const dial = (bootstrap: Bootstrap, namespace: string): Promise<TtrpcClient> =>
  TtrpcClient.connect(bootstrap.socket, {
    deadline: CONNECT_MS,
    metadata: { 'containerd-namespace-ttrpc': namespace },
    service: bootstrap.version >= 3 ? 'containerd.task.v3.Task' : undefined,
  });

function readLog(directory: string, log: Logger): Socket {
  const reader = openEndlessReader(logFifo(directory));
  reader.on('data', (chunk) => {
    for (const line of chunk.toString('utf8').split('\n')) if (line) log.debug({ shim: directory }, line);
  });
  return reader;
}
