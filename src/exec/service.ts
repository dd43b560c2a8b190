/** Execs: they live in memory with their container, start once, and stay readable for a while after their end. */
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { conflict, DaemonError, notFound } from '../errors.ts';
import type { ContainerRecord } from '../container/record.ts';
import type { ProbeOutcome, ProbeRunner } from '../container/probes.ts';
import type { HostFacts } from '../host/port.ts';
import type { Clock } from '../lib/clock.ts';
import { newId } from '../lib/ids.ts';
import { ask } from '../reactor/ask.ts';
import { effect } from '../reactor/effect.ts';
import type { Reactor } from '../reactor/reactor.ts';
import type { ProcessSpecification } from '../runtime/oci/spec-types.ts';
import type { Process, Task } from '../runtime/port.ts';
import { type Attachment, StreamBroker } from '../streams/broker.ts';
import { type ExecConfig, execMachine, type ExecRecord, type ExecWork } from './machine.ts';
import { execProcess, execUser } from './process.ts';
import { collectOutput } from './collect.ts';

export interface ExecDeps {
  log: Logger;
  clock: Clock;
  reactor: Reactor;
  host: HostFacts;
  resolve(reference: string): ContainerRecord;
  find(id: string): ContainerRecord | undefined;
  task(id: string): Task | undefined;
  process(id: string): Promise<ProcessSpecification>;
  publish(record: ContainerRecord, action: string, attributes?: Record<string, string>): void;
}

/** How long an ended exec stays readable; dockerd's garbage collection runs as often. */
const KEPT_MS = 5 * 60_000;
/** Grandchildren may hold the pipes open. */
const DRAIN_MS = 2_000;
/** dockerd's patience of a resize with a start. */
const BEGIN_MS = 10_000;
/** The runtime's exec and start; its drain and delete. */
const START_MS = 60_000;
const SETTLE_MS = 25_000;

interface Live {
  record: ExecRecord;
  streams: StreamBroker;
  process: Process | undefined;
  /** It runs, or will not any more. */
  begun: PromiseWithResolvers<void>;
  ended: PromiseWithResolvers<void>;
}

/** What is kept of one that has ended: its streams and its process would be a crowd in memory. */
interface Ended {
  record: ExecRecord;
  /** Calls its forgetting off. */
  keep: () => void;
}

export interface StartOptions {
  consoleSize?: [number, number];
}

export class Execs {
  #deps: ExecDeps;
  #live = new Map<string, Live>();
  #ended = new Map<string, Ended>();
  #machine: typeof execMachine;

  constructor(deps: ExecDeps) {
    this.#deps = deps;
    this.#machine = execMachine.provide({
      actors: {
        start: effect<{ pid: number }, ExecWork>(START_MS, ({ input }) => this.#start(input)),
        settle: effect<void, ExecWork>(SETTLE_MS, ({ input }) => this.#settle(input.record.id)),
      },
      actions: {
        persist: ({ context }) => {
          const live = this.#live.get(context.record.id);
          if (!live) return;
          live.record = context.record;
          live.begun.resolve();
        },
        announce: ({ context }, action) => this.#announce(context.record, action),
        over: ({ context }) => this.#over(context.record.id),
      },
    });
  }

  /** The container must run and not be paused. */
  #container(reference: string): ContainerRecord {
    const record = this.#deps.resolve(reference);
    const { id, phase } = record;
    if (phase === 'paused') throw conflict(`Container ${reference} is paused, unpause the container before exec`);
    if (phase === 'restarting') throw conflict(`Container ${id} is restarting, wait until the container is running`);
    if (!this.#deps.task(id) || (phase !== 'running' && phase !== 'stopping'))
      throw conflict(`container ${id} is not running`);
    return record;
  }

  create(reference: string, config: ExecConfig): string {
    const container = this.#container(reference);
    const pid = this.#deps.task(container.id)?.pid;
    if (pid && config.user) execUser({ ...container, pid, exec: config });
    const id = newId();
    const record: ExecRecord = { id, containerId: container.id, config, running: false, exitCode: null, pid: 0 };
    this.#live.set(id, {
      record,
      streams: new StreamBroker({ tty: config.tty, stdinOnce: true }),
      process: undefined,
      begun: Promise.withResolvers(),
      ended: Promise.withResolvers(),
    });
    this.#deps.reactor.spawn('exec', id, this.#machine, { input: { record } });
    this.#deps.publish(container, `exec_create: ${config.command.join(' ')}`, { execID: id });
    return id;
  }

  inspect(id: string): ExecRecord {
    const found = this.#live.get(id) ?? this.#ended.get(id) ?? this.#byPrefix(id);
    if (!found) throw notFound(`No such exec instance: ${id}`);
    return found.record;
  }

  #byPrefix(id: string): Live | Ended | undefined {
    if (id.length < 12) return undefined;
    return [...this.#live.values(), ...this.#ended.values()].find(({ record }) => record.id.startsWith(id));
  }

  #get(id: string): Live {
    const live = this.#live.get(this.inspect(id).id);
    if (!live) throw conflict(`exec command ${id} has already run`);
    return live;
  }

  /** Throws what would refuse the start, before the connection is taken over. */
  check(id: string): ExecRecord {
    const record = this.inspect(id);
    this.#container(record.containerId);
    return record;
  }

  attach(id: string): Attachment {
    const { record, streams } = this.#get(id);
    const { attachStdin: stdin, attachStdout: stdout, attachStderr: stderr } = record.config;
    return streams.attach({ stdin, stdout, stderr, detachKeys: record.config.detachKeys });
  }

  async start(id: string, options: StartOptions = {}): Promise<void> {
    const record = this.inspect(id);
    this.#container(record.containerId);
    const actor = this.#deps.reactor.get('exec', record.id);
    if (!actor) throw conflict(`exec command ${record.id} has already run`);
    await ask<void>(
      actor,
      (reply) => ({ type: 'START', reply, consoleSize: options.consoleSize }),
      (snapshot) =>
        conflict(
          `exec command ${record.id} ${snapshot.status === 'active' ? 'is already running' : 'has already run'}`,
        ),
    );
  }

  /** Starts it with a client's connection, until the process ends or the client detaches. */
  async serve(id: string, connection: Duplex, options: StartOptions = {}): Promise<void> {
    const { exitCode } = this.inspect(id);
    if (exitCode !== null) throw conflict(`exec command ${id} has already run`);
    const attachment = this.attach(id);
    const served = attachment.serve(connection);
    try {
      await this.start(id, options);
    } catch (error) {
      attachment.cancel();
      throw error;
    }
    // Clients ask for the exit code when the connection ends; the end of the output comes before the exit.
    if ((await served) === 'ended') await this.#live.get(id)?.ended.promise;
  }

  async resize(id: string, size: { width: number; height: number }): Promise<void> {
    const record = this.inspect(id);
    const live = this.#live.get(record.id);
    if (!live) throw conflict(`exec ${record.id} is not running`);
    // A terminal's client tells its size as soon as it is connected; the process may be on its way yet.
    const late = new Promise<void>((resolve) => {
      const cancel = this.#deps.clock.after(BEGIN_MS, resolve);
      void live.begun.promise.then(cancel);
    });
    await Promise.race([live.begun.promise, late]);
    if (!live.process || !live.record.running) throw conflict(`exec ${live.record.id} is not running`);
    await live.process.resize(size);
  }

  /** Ids of a container's execs that have not ended. */
  of(containerId: string): string[] {
    const ids: string[] = [];
    for (const { record } of this.#live.values())
      if (record.containerId === containerId && record.exitCode === null) ids.push(record.id);
    return ids;
  }

  /** The container stopped: execs that were never started go with it. Starts under way fail by themselves, and tell who waits. */
  forgetContainer(containerId: string): void {
    for (const { record } of [...this.#live.values()]) {
      if (record.containerId !== containerId) continue;
      if (this.#deps.reactor.get('exec', record.id)?.getSnapshot().matches('created')) this.#drop(record.id);
    }
  }

  /** The container is gone: nobody finds what it ran. */
  containerRemoved(containerId: string): void {
    for (const { record } of [...this.#ended.values()]) if (record.containerId === containerId) this.#forget(record.id);
  }

  /** A command with its output collected, for health checks. */
  runProbe: ProbeRunner = async (container, command, { timeout, outputLimit, signal }): Promise<ProbeOutcome> => {
    const id = this.create(container.id, {
      tty: false,
      attachStdin: false,
      attachStdout: true,
      attachStderr: true,
      detachKeys: '',
      env: [],
      command,
      privileged: false,
      user: '',
      workingDir: '',
    });
    const live = this.#get(id);
    const collected = collectOutput(live.streams, outputLimit);
    let late = false;
    const end = (): void => {
      late = true;
      live.process?.kill(9).catch(() => {});
    };
    const cancel = this.#deps.clock.after(timeout, end);
    signal.addEventListener('abort', end, { once: true });
    try {
      await this.start(id);
      await live.ended.promise;
      if (late) return { exitCode: -1, output: `Health check exceeded timeout (${timeout / 1000}s)` };
      return { exitCode: live.record.exitCode ?? -1, output: await collected };
    } finally {
      cancel();
      signal.removeEventListener('abort', end);
      this.#forget(id);
    }
  };

  stop(): void {
    for (const { streams } of this.#live.values()) streams.close();
    for (const { keep } of this.#ended.values()) keep();
    this.#live.clear();
    this.#ended.clear();
  }

  async #start({ record, consoleSize, send }: ExecWork): Promise<{ pid: number }> {
    const live = this.#get(record.id);
    const container = this.#container(record.containerId);
    const task = this.#deps.task(container.id);
    if (!task) throw conflict(`container ${container.id} is not running`);
    const process = await task.exec({
      execId: record.id,
      process: execProcess({
        process: await this.#deps.process(container.id),
        pid: task.pid,
        config: container.config,
        hostConfig: container.hostConfig,
        capabilities: this.#deps.host.capabilities,
        exec: record.config,
        consoleSize,
      }),
      terminal: record.config.tty,
      stdin: record.config.attachStdin,
    });
    live.process = process;
    void live.streams.connect(process);
    process.exited.then(
      (exit) => send({ type: 'EXIT', exit }),
      (error: unknown) => this.#deps.log.error({ err: error, exec: record.id }, 'waiting for an exec failed'),
    );
    try {
      await process.start();
    } catch (error) {
      throw startError(error);
    }
    return { pid: process.pid };
  }

  async #settle(id: string): Promise<void> {
    const live = this.#live.get(id);
    if (!live) return;
    const process = live.process;
    if (process && live.record.pid) {
      await new Promise<void>((resolve) => {
        const cancel = this.#deps.clock.after(DRAIN_MS, resolve);
        void live.streams.drained.then(() => {
          cancel();
          resolve();
        });
      });
    }
    live.streams.close();
    live.ended.resolve();
    await process?.delete();
  }

  /** An event of the container: its attributes with the exec's. */
  #announce(record: ExecRecord, action: 'exec_start' | 'exec_die'): void {
    const container = this.#deps.find(record.containerId);
    if (!container) return;
    if (action === 'exec_die') {
      return this.#deps.publish(container, action, { execID: record.id, exitCode: String(record.exitCode) });
    }
    this.#deps.publish(container, `exec_start: ${record.config.command.join(' ')}`, { execID: record.id });
  }

  #over(id: string): void {
    queueMicrotask(() => this.#deps.reactor.remove('exec', id));
    const live = this.#live.get(id);
    this.#live.delete(id);
    if (!live || !this.#deps.find(live.record.containerId)) return;
    this.#ended.set(id, { record: live.record, keep: this.#deps.clock.after(KEPT_MS, () => this.#forget(id)) });
  }

  #forget(id: string): void {
    this.#ended.get(id)?.keep();
    this.#ended.delete(id);
    this.#live.delete(id);
  }

  #drop(id: string): void {
    const live = this.#live.get(id);
    live?.streams.close();
    live?.begun.resolve();
    live?.ended.resolve();
    this.#live.delete(id);
    this.#deps.reactor.remove('exec', id);
  }
}

/** What the runtime says of a program that cannot be run is their request. */
function startError(error: unknown): DaemonError {
  const message = error instanceof Error ? error.message : String(error);
  const theirs = /executable file not found|no such file or directory|permission denied|is a directory/i.test(message);
  return new DaemonError(theirs ? 'invalid' : 'internal', message, { code: 'runtime-exec', cause: error });
}
