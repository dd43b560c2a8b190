/** One attached client: its output, bounded, and its input until it leaves. */
import type { Duplex } from 'node:stream';
import { detachScanner } from './detach-keys.ts';
import type { LogStream } from '../logs/port.ts';

/** Why an attachment ended. */
export type AttachEnd =
  /** The process's output ended, or the broker closed. */
  | 'ended'
  /** The client typed the detach keys. */
  | 'detached'
  /** The client left, or was dropped because it read nothing for too long. */
  | 'gone';

export interface ClientOptions {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  /** Raw bytes instead of frames, and detach keys. */
  tty: boolean;
  detachKeys: Uint8Array;
  /** Milliseconds without any progress until a client that holds others up is dropped. */
  stallMs: number;
}

/** Output waiting for a client beyond which the process waits too, as a pipe would make it. */
const HIGH_WATER = 64 << 10;

const header = (stream: LogStream, length: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes[0] = stream === 'stdout' ? 1 : 2;
  bytes.writeUInt32BE(length, 4);
  return bytes;
};

/** Where input goes; the broker's current process. */
export interface InputSink {
  /** False when the writer should wait for `ready`. */
  write(chunk: Uint8Array): boolean;
  ready(): Promise<void>;
  end(): void;
}

export class AttachedClient {
  #options: ClientOptions;
  #connection: Duplex | undefined;
  /** Output from before the connection came. */
  #early: Buffer[] = [];
  #earlyBytes = 0;
  #room: { promise: Promise<void>; resolve: () => void } | undefined;
  #stall: NodeJS.Timeout | undefined;
  #inputEnded = false;
  #settle: (end: AttachEnd) => void;
  #left: (client: AttachedClient) => void;
  readonly ended: Promise<AttachEnd>;
  /** How it ended, once it has. */
  end: AttachEnd | undefined;

  constructor(options: ClientOptions, left: (client: AttachedClient) => void) {
    this.#options = options;
    this.#left = left;
    const { promise, resolve } = Promise.withResolvers<AttachEnd>();
    this.ended = promise;
    this.#settle = resolve;
  }

  /** Takes output; the promise, if any, says when there is room again. `heldUp`: others wait for this client, too. */
  push(stream: LogStream, chunk: Buffer, heldUp: boolean): Promise<void> | undefined {
    if (this.end || !this.#options[stream]) return undefined;
    const parts = this.#options.tty ? [chunk] : [header(stream, chunk.length), chunk];
    if (!this.#connection) {
      this.#early.push(...parts);
      this.#earlyBytes += chunk.length;
      return this.#earlyBytes > HIGH_WATER ? this.#wait(heldUp) : undefined;
    }
    this.#write(parts);
    return this.#connection.writableLength > HIGH_WATER ? this.#wait(heldUp) : undefined;
  }

  #write(parts: Buffer[]): void {
    const connection = this.#connection!;
    connection.cork();
    for (const part of parts) connection.write(part);
    connection.uncork();
  }

  #wait(heldUp: boolean): Promise<void> {
    this.#room ??= Promise.withResolvers<void>();
    if (heldUp && !this.#stall) {
      this.#stall = setTimeout(() => this.finish('gone'), this.#options.stallMs).unref();
    }
    return this.#room.promise;
  }

  #free(): void {
    clearTimeout(this.#stall);
    this.#stall = undefined;
    this.#room?.resolve();
    this.#room = undefined;
  }

  /** Joins the client's connection. Settles when the attachment has ended; ending the connection is the caller's. */
  async serve(connection: Duplex, input: InputSink): Promise<AttachEnd> {
    if (connection.destroyed) this.finish('gone');
    if (this.end === 'gone') return this.end;
    this.#connection = connection;
    connection.on('error', () => {});
    connection.once('close', () => {
      // A reset connection is the end of its input, too.
      if (this.#options.stdin && !this.#inputEnded && !this.end) input.end();
      this.finish('gone');
    });
    connection.on('drain', () => this.#free());
    this.#write(this.#early);
    this.#early = [];
    if (connection.writableLength <= HIGH_WATER) this.#free();
    if (this.#options.stdin && !this.end) this.#readInput(connection, input);
    else connection.resume();
    const end = await this.ended;
    if (end === 'gone') connection.destroy();
    return end;
  }

  #readInput(connection: Duplex, input: InputSink): void {
    const scan = this.#options.tty ? detachScanner(this.#options.detachKeys) : undefined;
    connection.on('data', (chunk: Buffer) => {
      if (this.end) return;
      const { pass, detached } = scan ? scan(chunk) : { pass: chunk, detached: false };
      if (pass.length && !input.write(pass)) {
        connection.pause();
        void input.ready().then(() => connection.resume());
      }
      if (detached) this.finish('detached');
    });
    connection.once('end', () => {
      this.#inputEnded = true;
      if (!this.end) input.end();
    });
  }

  finish(end: AttachEnd): void {
    if (this.end) return;
    this.end = end;
    this.#free();
    this.#left(this);
    this.#settle(end);
  }
}
