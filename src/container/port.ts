/** What build, networks and views use of the containers. */
export interface StepRequest {
  /** Image id of the step's root, or an existing writable layer. */
  imageId: string;
  name?: string;
  process: {
    args: string[];
    env: string[];
    cwd: string;
    user: string;
  };
  labels: Record<string, string>;
  hostConfig: Record<string, unknown>;
  stdin?: string;
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
