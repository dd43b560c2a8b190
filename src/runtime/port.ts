/**
 * What a container's statechart needs of an OCI runtime: a Task is the container's init with its execs as Processes. The
 * real adapter (shim/) speaks ttrpc to containerd-shim-runc-v2; the fake keeps tasks in memory. Both pass
 * test/contract/runtime-suite.ts. Every call has a deadline of its own and rejects with a DaemonError.
 */
import type { Readable, Writable } from 'node:stream';

/** A mount that the shim makes for the root filesystem before it starts runc; as in mount(2). */
export interface RootfsMount {
  type: string;
  source: string;
  options: string[];
}

/** Our ends of a process's pipes. With a terminal there is no stderr: everything comes on stdout. */
export interface ProcessIo {
  stdin: Writable | undefined;
  stdout: Readable;
  stderr: Readable | undefined;
}

export interface ExitStatus {
  /** 0–255; 128 + signal when a signal ended it. */
  exitCode: number;
  /** Nanoseconds since the epoch. */
  exitedAtNano: bigint;
  /** True when the shim died and the exit had to be made up. */
  synthesised: boolean;
}

export interface TaskSpec {
  id: string;
  /** Directory of the bundle; exists and holds config.json, written by the caller. */
  bundle: string;
  rootfs: RootfsMount[];
  terminal: boolean;
  stdin: boolean;
  /** Name in the daemon's table of runtimes, as `runc`. */
  runtime: string;
  /** True when runc's systemd cgroup driver is used. */
  systemdCgroup: boolean;
  /** Owner of the process's pipes, where it is not root of the host. */
  owner?: { uid: number; gid: number };
}

export interface ProcessSpec {
  execId: string;
  /** OCI runtime `process` object. */
  process: object;
  terminal: boolean;
  stdin: boolean;
}

export interface Process {
  readonly io: ProcessIo;
  /** 0 until started. */
  readonly pid: number;
  start(): Promise<void>;
  /** Settles once, when the process has ended, even if the shim died; its output may still be draining. */
  readonly exited: Promise<ExitStatus>;
  kill(signal: number): Promise<void>;
  resize(size: { width: number; height: number }): Promise<void>;
  /** End of input for the process. */
  closeStdin(): Promise<void>;
  /** Frees what is left of an ended process. Idempotent. */
  delete(): Promise<void>;
}

export interface Task extends Process {
  readonly id: string;
  exec(spec: ProcessSpec): Promise<Process>;
  /** All processes of the container. */
  killAll(signal: number): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** OCI runtime `linux.resources` object. */
  update(resources: object): Promise<void>;
  pids(): Promise<number[]>;
  /** Calls back when the kernel killed a process of the container for memory. */
  onOom(listener: () => void): () => void;
}

/** What the runtime knows of a container it ran before the daemon started again. */
export type TaskProbe =
  | { found: false }
  | { found: true; status: 'created' | 'running' | 'paused'; task: Task }
  | { found: true; status: 'stopped'; exit: ExitStatus; task: Task };

export interface Runtime {
  /** Makes the container with its namespaces; nothing of the image has run yet. */
  create(spec: TaskSpec): Promise<Task>;
  /** Finds out what is true of a container now, and takes up its pipes and its exit again. */
  probe(spec: TaskSpec): Promise<TaskProbe>;
  /** Removes all that may be left of a container that has no task any more. Idempotent. */
  cleanup(id: string, bundle: string): Promise<void>;
  /** Ids of all containers something is left of. */
  list(): Promise<string[]>;
  close(): Promise<void>;
}
