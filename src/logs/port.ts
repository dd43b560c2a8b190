/** A container's log driver. */
export interface LogConfig {
  Type: string;
  Config: Record<string, string>;
}

/** What a driver may use of the container in tags, labels and fields. */
export interface LogInfo {
  containerId: string;
  name: string;
  imageId: string;
  imageName: string;
  created: string;
  command: string[];
  env: string[];
  labels: Record<string, string>;
  /** Directory of the container; files lie here. */
  directory: string;
}

export type LogStream = 'stdout' | 'stderr';

export interface LogEntry {
  stream: LogStream;
  timeNano: bigint;
  /** A line with its "\n", or a part of at most 16 KiB of a longer line without. */
  line: Uint8Array;
  /** Extra attributes (--log-opt labels, env) for `details`. */
  attributes?: Record<string, string>;
}

export interface ReadOptions {
  stdout: boolean;
  stderr: boolean;
  sinceNano?: bigint;
  untilNano?: bigint;
  /** Newest lines; -1 all. */
  tail: number;
  follow: boolean;
  signal?: AbortSignal;
}

export interface LogWriter {
  /**
   * Takes a chunk of a stream's bytes; splitting into lines is the writer's. Returns a promise when the caller should wait
   * before it reads more of the pipe (blocking mode under back pressure).
   */
  write(stream: LogStream, chunk: Uint8Array): Promise<void> | undefined;
  /** Ends unfinished lines (at the process's end) and lets files go. */
  close(): Promise<void>;
}

export interface LogDrivers {
  /** Throws invalid on an unknown driver or option (`error looking up logging plugin x: plugin "x" not found`). */
  validate(config: LogConfig): void;
  open(config: LogConfig, info: LogInfo): Promise<LogWriter>;
  /**
   * Live and past lines, dual logging included, many at a time, each batch (none is empty) as what `make` makes of it: what it wants of
   * a batch it copies. Ends when `follow` is off or the writer closed. Throws notImplemented (501) when it cannot be read.
   */
  batches<T>(config: LogConfig, info: LogInfo, options: ReadOptions, make: (batch: LogEntry[]) => T): AsyncIterable<T>;
  /** A real file for json-file and local, else ''. */
  path(config: LogConfig, info: LogInfo): string;
  remove(info: LogInfo): Promise<void>;
}
