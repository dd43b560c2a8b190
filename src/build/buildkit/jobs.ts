/**
 * Builds of BuildKit clients by the ref they gave: Control.Solve opens a job and waits, the gateway builds in it and hands the
 * result back, Control.Status watches. A reader may come before the job does, or when it is over already.
 */
import { cancelled, notFound } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import type { BuildResult } from '../types.ts';
import { Progress } from './progress.ts';

export interface JobOptions {
  entitlements?: readonly string[];
  inlineCache?: boolean;
}

export class Job {
  readonly ref: string;
  readonly session: string;
  /** What the client allows beyond the sandbox, as "network.host". */
  readonly entitlements: readonly string[];
  /** The image carries the keys of its layers. */
  readonly inlineCache: boolean;
  readonly progress: Progress;
  readonly controller = new AbortController();
  /** Of the build, as the frontend was given them. */
  attributes: Readonly<Record<string, string>> = {};
  /** Finished builds by the ids that the client knows them by. */
  readonly results = new Map<string, BuildResult>();
  /** The id the client returned as the job's result; undefined for nothing. */
  readonly returned: Promise<string | undefined>;
  #return!: (id: string | undefined) => void;
  #fail!: (error: unknown) => void;

  constructor(ref: string, session: string, clock: Clock, asked: JobOptions = {}) {
    this.ref = ref;
    this.session = session;
    this.entitlements = asked.entitlements ?? [];
    this.inlineCache = asked.inlineCache ?? false;
    this.progress = new Progress(ref, clock);
    this.returned = new Promise((resolve, reject) => {
      this.#return = resolve;
      this.#fail = reject;
    });
    this.returned.catch(() => {});
  }

  return(id: string | undefined): void {
    this.#return(id);
  }

  fail(error: unknown): void {
    this.#fail(error);
  }

  cancel(): void {
    this.controller.abort(cancelled('the build was cancelled'));
    this.#fail(cancelled('the build was cancelled'));
  }

  result(id: string): BuildResult {
    const found = this.results.get(id);
    if (!found) throw notFound(`no such result: ${id}`);
    return found;
  }
}

/** A client asks for the status of a build in the same breath as it starts it. */
const WAIT_MS = 10_000;

/** What is left of a job for who comes late. */
interface Rest {
  /** Undefined when there never was one. */
  progress?: Progress;
  /** For who wants the job itself. */
  error: unknown;
  forget: () => void;
}

export class Jobs {
  #jobs = new Map<string, Job>();
  #over = new Map<string, Rest>();
  #waiting = new Set<() => void>();
  #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  open(ref: string, session: string, asked?: JobOptions): Job {
    const job = new Job(ref, session, this.#clock, asked);
    this.#jobs.set(ref, job);
    this.#lookAgain();
    return job;
  }

  /** There will be no such job: whoever waits for it is told at once. */
  refuse(ref: string, error: unknown): void {
    this.#leave(ref, error);
    this.#lookAgain();
  }

  close(job: Job): void {
    job.progress.end();
    if (this.#jobs.get(job.ref) === job) this.#jobs.delete(job.ref);
    this.#leave(job.ref, notFound(`job ${job.ref} is over`), job.progress);
  }

  #leave(ref: string, error: unknown, progress?: Progress): void {
    this.#over.get(ref)?.forget();
    const forget = this.#clock.after(WAIT_MS, () => this.#over.delete(ref));
    this.#over.set(ref, { progress, error, forget });
  }

  #lookAgain(): void {
    for (const look of [...this.#waiting]) look();
  }

  #find(ref: string): Job | undefined {
    const job = this.#jobs.get(ref);
    const rest = this.#over.get(ref);
    if (!job && rest) throw rest.error;
    return job;
  }

  /** What a job tells, or told. */
  async progress(ref: string, signal: AbortSignal): Promise<Progress> {
    return this.#over.get(ref)?.progress ?? (await this.get(ref, signal)).progress;
  }

  async get(ref: string, signal: AbortSignal): Promise<Job> {
    const known = this.#find(ref);
    if (known) return known;
    return new Promise<Job>((resolve, reject) => {
      const end = (act: () => void): void => {
        cancelTimer();
        signal.removeEventListener('abort', giveUp);
        this.#waiting.delete(look);
        act();
      };
      const giveUp = (): void => end(() => reject(notFound(`no such job ${ref}`)));
      const look = (): void => {
        try {
          const job = this.#find(ref);
          if (job) end(() => resolve(job));
        } catch (error) {
          end(() => reject(error as Error));
        }
      };
      const cancelTimer = this.#clock.after(WAIT_MS, giveUp);
      signal.addEventListener('abort', giveUp, { once: true });
      this.#waiting.add(look);
    });
  }

  cancelAll(): void {
    for (const job of this.#jobs.values()) job.cancel();
    for (const { forget } of this.#over.values()) forget();
  }
}
