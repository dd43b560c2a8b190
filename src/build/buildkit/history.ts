/**
 * Builds of BuildKit clients, as `docker buildx history` shows them: those that run, and the last that ended, each with all that it
 * told. A build that ended is a file, so that history outlives the daemon: its record, then all that it told.
 */
import { hash } from 'node:crypto';
import { closeSync, createReadStream, fstatSync, mkdirSync, openSync, readdirSync, readSync, rmSync } from 'node:fs';
import { readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { create, fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { sizeDelimitedDecodeStream, sizeDelimitedEncode, sizeDelimitedPeek } from '@bufbuild/protobuf/wire';
import type { Logger } from 'pino';
import type { BuilderConfig } from '../../config/builder.ts';
import { asDaemonError, internal, notFound } from '../../errors.ts';
import {
  BuildErrorSchema,
  type BuildHistoryEventSchema,
  BuildHistoryEventType,
  type BuildHistoryRecord,
  BuildHistoryRecordSchema,
  type StatusResponse,
  StatusResponseSchema,
} from '../../generated/proto/buildkit/control_pb.ts';
import type { Clock } from '../../lib/clock.ts';
import { isPredefined } from '../args.ts';
import { codeOf } from '../grpc/status.ts';
import { Queue } from '../queue.ts';
import type { Export } from './exports.ts';
import type { Job } from './jobs.ts';

export type HistoryEvent = MessageInitShape<typeof BuildHistoryEventSchema>;

export interface HistoryDeps {
  directory: string;
  /** Of ended builds, beside the pinned ones. */
  keep: BuilderConfig['history'];
  clock: Clock;
  log: Logger;
}

const ENDED = '.build';

/** A record that is longer takes a second look. */
const HEAD_BYTES = 64 << 10;

/** Proxies carry passwords. */
const withoutProxies = (attributes: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(attributes).filter(([key]) => !isPredefined(key.replace(/^build-arg:/, ''))));

export class BuildHistory {
  #deps: HistoryDeps;
  #running = new Map<string, { job: Job; record: BuildHistoryRecord }>();
  /** Read when somebody asks first. */
  #known: Map<string, BuildHistoryRecord> | undefined;
  #listeners = new Set<Queue<HistoryEvent>>();
  #writing = new Set<Promise<void>>();

  constructor(deps: HistoryDeps) {
    this.#deps = deps;
  }

  begin(job: Job, exporters: Export[]): void {
    const createdAt = timestampFromMs(this.#deps.clock.now());
    const record = create(BuildHistoryRecordSchema, { ref: job.ref, frontend: 'dockerfile.v0', exporters, createdAt });
    this.#running.set(job.ref, { job, record });
    this.#tell(BuildHistoryEventType.STARTED, record);
  }

  end(job: Job, outcome: { response?: Record<string, string>; error?: unknown }): void {
    const running = this.#running.get(job.ref);
    if (!running) return;
    const record = current(running);
    record.completedAt = timestampFromMs(this.#deps.clock.now());
    if (outcome.response) record.exporterResponse = outcome.response;
    if (outcome.error) {
      const { message } = asDaemonError(outcome.error);
      record.error = create(BuildErrorSchema, { code: codeOf(outcome.error), message });
    }
    this.#running.delete(job.ref);
    this.#ended.set(job.ref, record);
    const told = Buffer.concat(job.progress.told().map((status) => sizeDelimitedEncode(StatusResponseSchema, status)));
    this.#keep(this.#write(record, told));
    this.#tell(BuildHistoryEventType.COMPLETE, record);
    this.#forgetOldest();
  }

  /** What is known, then what happens, until the listener leaves. */
  async *listen(
    request: { ref: string; activeOnly: boolean; earlyExit: boolean; limit: number },
    signal: AbortSignal,
  ): AsyncGenerator<HistoryEvent> {
    const wanted = ({ record }: HistoryEvent): boolean => !request.ref || record?.ref === request.ref;
    const queue: Queue<HistoryEvent> = new Queue(() => this.#listeners.delete(queue));
    for (const event of this.#all(request)) queue.push(event);
    if (request.earlyExit || signal.aborted) queue.end();
    else this.#listeners.add(queue);
    const leave = (): void => queue.end();
    signal.addEventListener('abort', leave, { once: true });
    try {
      for await (const event of queue) if (wanted(event)) yield event;
    } finally {
      this.#listeners.delete(queue);
      signal.removeEventListener('abort', leave);
    }
  }

  /** All that a build told which ended; undefined when there is none of that ref. */
  status(ref: string): AsyncIterable<StatusResponse> | undefined {
    const record = this.#ended.get(ref);
    return record && this.#told(record);
  }

  async *#told(record: BuildHistoryRecord): AsyncGenerator<StatusResponse> {
    await Promise.allSettled(this.#writing);
    const place = this.#place(record);
    yield* sizeDelimitedDecodeStream(StatusResponseSchema, createReadStream(place, { start: headOf(place).end }));
  }

  /** Errors: notFound for a build that is not there or still runs. */
  update({ ref, pinned, delete: gone }: { ref: string; pinned: boolean; delete: boolean }): void {
    const record = this.#ended.get(ref);
    if (!record) throw notFound(`no such build: ${ref}`);
    if (gone) return this.#forget(record);
    record.pinned = pinned;
    this.#keep(this.#rewrite(record));
    this.#tell(BuildHistoryEventType.COMPLETE, record);
  }

  async stop(): Promise<void> {
    for (const queue of this.#listeners) queue.end();
    await Promise.allSettled(this.#writing);
  }

  #all({ ref, activeOnly, limit }: { ref: string; activeOnly: boolean; limit: number }): HistoryEvent[] {
    const ended = activeOnly ? [] : [...this.#ended.values()];
    const events = [
      ...ended.map((record) => ({ type: BuildHistoryEventType.COMPLETE, record })),
      ...[...this.#running.values()].map((one) => ({ type: BuildHistoryEventType.STARTED, record: current(one) })),
    ].filter(({ record }) => !ref || record.ref === ref);
    return limit > 0 ? events.slice(-limit) : events;
  }

  get #ended(): Map<string, BuildHistoryRecord> {
    return (this.#known ??= this.#read());
  }

  /** By their ends, oldest first. What cannot be read is no history. */
  #read(): Map<string, BuildHistoryRecord> {
    const { directory, log } = this.#deps;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const records: BuildHistoryRecord[] = [];
    for (const name of readdirSync(directory)) {
      try {
        if (name.endsWith(ENDED)) records.push(headOf(join(directory, name)).record);
        // Of a daemon that was killed while it wrote.
        else rmSync(join(directory, name));
      } catch (error) {
        log.warn({ err: error, name }, 'a record of a build cannot be read');
      }
    }
    records.sort((a, b) => endOf(a) - endOf(b));
    return new Map(records.map((record) => [record.ref, record]));
  }

  /** Refs are words of clients. */
  #place({ ref }: BuildHistoryRecord): string {
    return join(this.#deps.directory, hash('sha256', ref).slice(0, 32) + ENDED);
  }

  async #write(record: BuildHistoryRecord, told: Uint8Array): Promise<void> {
    const place = this.#place(record);
    const bytes = Buffer.concat([sizeDelimitedEncode(BuildHistoryRecordSchema, record), told]);
    await writeFile(`${place}.new`, bytes, { mode: 0o600 });
    await rename(`${place}.new`, place);
    // It may have been removed meanwhile.
    if (this.#ended.get(record.ref) !== record) await this.#remove(record);
  }

  /** With what it told as it is. */
  async #rewrite(record: BuildHistoryRecord): Promise<void> {
    await Promise.allSettled(this.#writing);
    const place = this.#place(record);
    await this.#write(record, (await readFile(place)).subarray(headOf(place).end));
  }

  #keep(writing: Promise<void>): void {
    const kept = writing
      .catch((error: unknown) =>
        this.#deps.log.warn({ err: error }, 'the history of builds on disk is not as it should be'),
      )
      .finally(() => this.#writing.delete(kept));
    this.#writing.add(kept);
  }

  #forgetOldest(): void {
    const { keep, clock } = this.#deps;
    const loose = [...this.#ended.values()].filter(({ pinned }) => !pinned);
    for (const record of loose.slice(0, Math.max(0, loose.length - keep.entries)))
      if (endOf(record) <= clock.now() - keep.age) this.#forget(record);
  }

  #forget(record: BuildHistoryRecord): void {
    this.#ended.delete(record.ref);
    this.#keep(this.#remove(record));
    this.#tell(BuildHistoryEventType.DELETED, record);
  }

  /** It may not have been written yet: who writes it looks afterwards. */
  async #remove(record: BuildHistoryRecord): Promise<void> {
    await unlink(this.#place(record)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
  }

  #tell(type: BuildHistoryEventType, record: BuildHistoryRecord): void {
    for (const queue of this.#listeners) queue.push({ type, record });
  }
}

/** The record at the beginning of a file, and where what the build told begins. */
function headOf(path: string): { record: BuildHistoryRecord; end: number } {
  const file = openSync(path, 'r');
  try {
    let bytes = Buffer.alloc(HEAD_BYTES);
    const got = readSync(file, bytes, 0, bytes.length, 0);
    const { size, offset } = sizeDelimitedPeek(bytes.subarray(0, got));
    const end = (offset ?? 0) + (size ?? Infinity);
    if (offset === null || end > fstatSync(file).size) throw internal(`${path} holds no record`);
    if (end > got) {
      bytes = Buffer.alloc(end);
      readSync(file, bytes, 0, end, 0);
    }
    return { record: fromBinary(BuildHistoryRecordSchema, bytes.subarray(offset, end)), end };
  } finally {
    closeSync(file);
  }
}

const endOf = ({ completedAt }: BuildHistoryRecord): number => (completedAt ? timestampMs(completedAt) : 0);

/** The record with what the build is about and how far it came. */
function current({ job, record }: { job: Job; record: BuildHistoryRecord }): BuildHistoryRecord {
  record.frontendAttrs = withoutProxies(job.attributes);
  return Object.assign(record, job.progress.counts());
}
