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
  #run = 0;
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
    const run = ++this.#run;
    this.#process = process;
    this.#connected.resolve();
    const outputs: Promise<void>[] = [this.#pump('stdout', process.io.stdout, log)];
    if (process.io.stderr) outputs.push(this.#pump('stderr', process.io.stderr, log));
    this.#drained = Promise.all(outputs).then(() => {
      if (run === this.#run) this.#ended();
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

  /** Ends every attachment; the container is being removed. */
  close(): void {
    this.#closed = true;
    for (const client of this.#clients) client.finish('ended');
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

  #pump(stream: LogStream, source: Readable, log: LogWriter | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    let logging: Promise<unknown> = Promise.resolve();
    let complained = false;
    const complain = (error: unknown): void => {
      if (!complained) this.#options.onLogError?.(error);
      complained = true;
    };
    const writeLog = (chunk: Buffer): Promise<void> | undefined => {
      try {
        const wait = log?.write(stream, chunk)?.catch(complain);
        if (wait) logging = wait;
        return wait;
      } catch (error) {
        complain(error);
        return undefined;
      }
    };
    const take = (chunk: Buffer): void => {
      const waits: Promise<void>[] = [];
      const add = (wait: Promise<void> | undefined): void => void (wait && waits.push(wait));
      add(writeLog(chunk));
      const heldUp = log !== undefined || this.#clients.size > 1;
      for (const client of this.#clients) add(client.push(stream, chunk, heldUp));
      if (!waits.length) return;
      source.pause();
      void Promise.all(waits).then(() => source.resume());
    };
    const finish = (): void => void logging.then(() => resolve());
    source.on('data', take);
    source.on('error', () => {});
    source.once('end', finish);
    source.once('close', finish);
    if (source.readableEnded || source.destroyed) finish();
    return promise;
  }

  /** The run is over: its clients have seen everything. The next run has clients of its own. */
  #ended(): void {
    this.#process = undefined;
    this.#connected = Promise.withResolvers<void>();
    for (const client of this.#clients) client.finish('ended');
  }
}
