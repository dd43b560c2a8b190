/** Moves one output of a process to its log and its clients, as fast as the slowest of them takes it. */
import type { Readable } from 'node:stream';

export interface PumpTargets {
  /** A promise when the log wants to be waited for; may throw or reject. */
  log(chunk: Buffer): Promise<void> | undefined;
  /** Promises of the clients that want to be waited for; they never reject. */
  clients(chunk: Buffer): Promise<void>[];
  /** Told once when the log failed. */
  logFailed(error: unknown): void;
}

export class Pump {
  #source: Readable;
  #targets: PumpTargets;
  #logging: Promise<unknown> = Promise.resolve();
  #complained = false;
  #take = (chunk: Buffer): void => this.#deliver(chunk);
  /** Settles when the output came to its end and the log has taken all of it. */
  readonly drained: Promise<void>;

  constructor(source: Readable, targets: PumpTargets) {
    this.#source = source;
    this.#targets = targets;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.drained = promise;
    const finish = (): void => void this.#logging.then(() => resolve());
    source.on('data', this.#take);
    source.on('error', () => {});
    source.once('end', finish);
    source.once('close', finish);
    if (source.readableEnded || source.destroyed) finish();
  }

  #deliver(chunk: Buffer): void {
    // The log first: what was read and not yet written is lost with a daemon that is killed.
    const logged = this.#log(chunk);
    const waits = this.#targets.clients(chunk);
    if (logged) waits.push(logged);
    if (!waits.length) return;
    this.#source.pause();
    void Promise.all(waits).then(() => this.#source.resume());
  }

  #log(chunk: Buffer): Promise<void> | undefined {
    const complain = (error: unknown): void => {
      if (!this.#complained) this.#targets.logFailed(error);
      this.#complained = true;
    };
    try {
      const wait = this.#targets.log(chunk)?.catch(complain);
      if (wait) this.#logging = wait;
      return wait;
    } catch (error) {
      complain(error);
      return undefined;
    }
  }

  /** Passes on what was read already, and lets the pipe go: what is in it is for the next who opens it. */
  stop(): void {
    if (this.#source.destroyed) return;
    this.#source.off('data', this.#take);
    this.#source.pause();
    for (let chunk = this.#source.read(); chunk; chunk = this.#source.read()) this.#deliver(chunk);
    this.#source.destroy();
  }
}
