/** What build, networks, archive, stats, logs and views use of the containers. */
import type { LogInfo } from '../logs/port.ts';
import type { Task } from '../runtime/port.ts';
import type { ContainerRecord } from './record.ts';

export interface StepRequest {
  /** Image id of the step's root, or an existing writable layer. */
  imageId: string;
  name?: string;
  process: { args: string[]; env: string[]; cwd: string; user: string };
  /** More environment that no record and no inspection shows. */
  secretEnv?: string[];
  labels: Record<string, string>;
  hostConfig: Record<string, unknown>;
  stdin?: string;
  /** Told the container's id before it starts. */
  onCreated?: (containerId: string) => void;
  /** Keep the container after its end (its writable layer is read with RootfsStore.diff), remove with `remove`. */
  onOutput: (stream: 'stdout' | 'stderr', chunk: Uint8Array) => void;
  signal?: AbortSignal;
}

export interface StepResult {
  containerId: string;
  exitCode: number;
}

/** RUN steps are ordinary containers: same chart, same runtime, shown in the monitor while they run. */
export interface StepRunner {
  run(request: StepRequest): Promise<StepResult>;
  remove(containerId: string): Promise<void>;
}

/** Reads of containers, answered from snapshots: they never wait on an actor. */
export interface ContainerLookup {
  /** By full id, name (with or without slash) or unique id prefix. Throws notFound "No such container: x". */
  resolve(reference: string): ContainerRecord;
  find(reference: string): ContainerRecord | undefined;
  all(): Iterable<ContainerRecord>;
  /** The running task; undefined while it does not run. */
  task(id: string): Task | undefined;
  logInfo(record: ContainerRecord): LogInfo;
  /** A Docker event of this container with its labels, image and name as attributes. */
  publish(record: ContainerRecord, action: string, attributes?: Record<string, string>): void;
  /**
   * Calls `listener` with the record after each change of its phase, and with undefined once it is removed. Returns the
   * end of it.
   */
  watch(id: string, listener: (record: ContainerRecord | undefined) => void): () => void;
}
