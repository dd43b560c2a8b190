/**
 * The standard streams of a container (or an exec) between its process, its log and any number of attached clients. One
 * broker lives as long as the container: clients may attach before the first start, and each run connects its process.
 *
 * Every byte goes to the log and to every client that wants it, in order. Whoever cannot follow makes the process wait, as
 * a pipe does, with bounded memory; a client that reads nothing at all for two minutes, while a log or another client waits too, is dropped.
 */
import type { Duplex, Readable } from 'node:stream';
import { conflict } from '../errors.ts';
import type { LogStream, LogWriter } from '../logs/port.ts';
import type { Process } from '../runtime/port.ts';
import { AttachedClient, type AttachEnd, type InputSink } from './client.ts';
import { parseDetachKeys } from './detach-keys.ts';
import { Pump } from './pump.ts';

export type { AttachEnd } from './client.ts';

export interface BrokerOptions {
  tty: boolean;
  /** The process's input ends when the first client's does. For execs always; for containers as StdinOnce says. */
  stdinOnce: boolean;
  /** Told once a run when the log cannot be written. */
  onLogError?: (error: unknown) => void;
  /** Milliseconds until a client that reads nothing, and holds others up, is dropped. */
  stallMs?: number;
}

export interface AttachOptions {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  /** As `ctrl-p,ctrl-q`; throws invalid when it makes no sense. */
  detachKeys?: string | undefined;
  /** Without frames though there is no terminal: a websocket's one stream. */
  raw?: boolean;
}

export interface Attachment {
  /**
   * Copies between the client's connection and the process until either ends. Never rejects. Output since `attach` was
   * called comes first. The caller ends the connection.
   */
  serve(connection: Duplex): Promise<AttachEnd>;
  /** Forgets the client, if it never came. */
  cancel(): void;
}

/** What the broker needs of a process. */
export type BrokerProcess = Pick<Process, 'io' | 'closeStdin'>;

const STALL_MS = 120_000;

export class StreamBroker {
  #options: BrokerOptions;
  #clients = new Set<AttachedClient>();
  #process: BrokerProcess | undefined;
  #pumps: Pump[] = [];
  #connected = Promise.withResolvers<void>();
  #drained: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: BrokerOptions) {
    this.#options = options;
  }

  get clients(): number {
    return this.#clients.size;
  }

  /** Settles when both outputs of the current run came to their end and the log has taken everything. */
  get drained(): Promise<void> {
    return this.#drained;
  }

  /** A new run; before the process starts, so that no byte is missed. Returns `drained` of this run. */
  connect(process: BrokerProcess, log?: LogWriter): Promise<void> {
    this.#stopPumps();
    this.#process = process;
    this.#connected.resolve();
    const { stdout, stderr } = process.io;
    const pumps = [this.#pump('stdout', stdout, log)];
    if (stderr) pumps.push(this.#pump('stderr', stderr, log));
    this.#pumps = pumps;
    this.#drained = Promise.all(pumps.map((pump) => pump.drained)).then(() => {
      if (pumps === this.#pumps) this.#ended();
    });
    return this.#drained;
  }

  attach(options: AttachOptions): Attachment {
    if (this.#closed) throw conflict('the container is being removed');
    const { stdin, stdout, stderr } = options;
    const { tty, stallMs = STALL_MS } = this.#options;
    const detachKeys = parseDetachKeys(options.detachKeys);
    const client = new AttachedClient(
      { stdin, stdout, stderr, tty: tty || options.raw === true, detachKeys, stallMs },
      (left) => this.#clients.delete(left),
    );
    this.#clients.add(client);
    return {
      serve: (connection) => client.serve(connection, this.#inputOf(client)),
      cancel: () => client.finish('gone'),
    };
  }

  /**
   * Ends every attachment and stops reading: the container is being removed, or the daemon leaves it to the next. All
   * that was read has gone to the log when this returns; the log is closed after it.
   */
  close(): void {
    this.#closed = true;
    this.#stopPumps();
    for (const client of this.#clients) client.finish('ended');
  }

  #stopPumps(): void {
    for (const pump of this.#pumps) pump.stop();
  }

  /** A client's way to the process. What comes before there is one waits, and is forgotten with its client. */
  #inputOf(client: AttachedClient): InputSink {
    const whenConnected = (work: () => unknown): void =>
      void this.#connected.promise.then(() => (client.end === 'gone' ? undefined : work())).catch(() => {});
    return {
      write: (chunk) => {
        if (this.#process) return this.#write(chunk);
        whenConnected(() => this.#write(chunk));
        return false;
      },
      ready: () => this.#inputReady(),
      end: () => {
        // Without stdinOnce, and on a terminal (the CLI detaches by leaving), the end of a client's input is the end of
        // its attachment and no more, as dockerd has it.
        if (!this.#options.stdinOnce || this.#options.tty) client.finish('detached');
        else if (this.#process) void this.#process.closeStdin().catch(() => {});
        else whenConnected(() => this.#process?.closeStdin());
      },
    };
  }

  /** False when the process does not read as fast. */
  #write(chunk: Uint8Array): boolean {
    const stdin = this.#process?.io.stdin;
    return !stdin || stdin.destroyed || stdin.writableEnded || stdin.write(chunk);
  }

  #inputReady(): Promise<void> {
    const stdin = this.#process?.io.stdin;
    if (!this.#process) return this.#connected.promise;
    if (!stdin || stdin.destroyed || !stdin.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        stdin.off('drain', done).off('close', done);
        resolve();
      };
      stdin.on('drain', done).on('close', done);
    });
  }

  #pump(stream: LogStream, source: Readable, log: LogWriter | undefined): Pump {
    return new Pump(source, {
      log: (chunk) => log?.write(stream, chunk),
      clients: (chunk) => {
        const heldUp = log !== undefined || this.#clients.size > 1;
        return [...this.#clients].flatMap((client) => client.push(stream, chunk, heldUp) ?? []);
      },
      logFailed: (error) => this.#options.onLogError?.(error),
    });
  }

  /** The run is over: its clients have seen everything. The next run has clients of its own. */
  #ended(): void {
    this.#process = undefined;
    this.#connected = Promise.withResolvers<void>();
    for (const client of this.#clients) client.finish('ended');
  }
}
