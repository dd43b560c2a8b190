/** What a build is asked for and what it tells while it runs: the border between the engine and its two fronts. */
import type { Image, ImageRunConfig, RegistryAuth } from '../image/port.ts';
import type { Platform } from './args.ts';
import type { Warning } from './dockerfile/lint.ts';
import type { Tree } from './files/select.ts';
import type { Workspace } from './workspace.ts';

/** How history is written: as dockerd's classic builder or as BuildKit does. */
export type Style = 'classic' | 'buildkit';

export interface BuildInput {
  dockerfile: string;
  dockerfileName: string;
  /** Undefined when the Dockerfile came alone. */
  context?: (signal: AbortSignal) => Promise<Tree>;
}

/** Where a name in FROM, --from or a mount's from leads beside stages and images. */
export type NamedContext =
  | { kind: 'image'; reference: string }
  | { kind: 'tree'; open: (workspace: Workspace, signal: AbortSignal) => Promise<Tree> };

export interface RunLimits {
  /** Parts of a HostConfig: Memory, CpuShares, Ulimits, ShmSize, CgroupParent, ExtraHosts … */
  hostConfig: Record<string, unknown>;
  network: string;
  /** The client allows steps to ask for the host's network themselves. */
  allowHostNetwork?: boolean;
  /** And for `RUN --security=insecure`, which is a privileged container. */
  allowInsecure?: boolean;
}

/** What only a client with a session can give. */
export interface ClientServices {
  secret?: (id: string) => Promise<Uint8Array | undefined>;
  /** A unix socket on this machine behind which the client's agent answers; closed by `close`. */
  agent?: (id: string, directory: string) => Promise<{ path: string; close(): void } | undefined>;
}

export interface BuildRequest {
  style: Style;
  /** Receives the Dockerfile and, at once or when it is asked for, the context. The workspace is removed after the build. */
  receive: (workspace: Workspace, signal: AbortSignal) => Promise<BuildInput>;
  /** Called at the end, before the workspace is removed: takes out of it what is worth keeping. */
  release?: () => void;
  tags: string[];
  target: string;
  buildArgs: Record<string, string | null>;
  labels: Record<string, string>;
  platform?: string;
  noCache: boolean;
  /** Stages (by name or number) that do not use the cache; with noCache all. */
  noCacheStages: string[];
  pull: boolean;
  /** Images whose layers may serve as cache; more than none restricts the cache to them, as dockerd has it. */
  cacheFrom: string[];
  /** The image carries the keys of its layers, for `cacheFrom` elsewhere. */
  inlineCache?: boolean;
  squash: boolean;
  /** Keep the containers of RUN steps. */
  keepContainers: boolean;
  limits: RunLimits;
  contexts: Map<string, NamedContext>;
  services: ClientServices;
  auth: (registryHost: string) => Promise<RegistryAuth | undefined>;
  /** Do not store the image under tags; the front does. */
  onEvent: (event: BuildEvent) => void;
}

/** One step as clients see it. */
export interface Vertex {
  /** Unique in the build. */
  id: string;
  /** As written: `RUN make`. */
  title: string;
  /** `[build 2/5] RUN make`. */
  label: string;
  stage: number;
  /** From 1 over the whole build, in the file's order. */
  number: number;
  line: number;
  /** Ids of the steps before it and of those it takes files from. */
  inputs: string[];
}

export type BuildEvent =
  | { type: 'plan'; steps: number; stages: number[] }
  | { type: 'begin'; vertex: Vertex }
  | { type: 'container'; vertex: Vertex; id: string }
  | { type: 'output'; vertex: Vertex; stream: 'stdout' | 'stderr'; chunk: Uint8Array }
  | { type: 'pull'; vertex: Vertex; line: object }
  /** `why` says why a step was not cached. */
  | { type: 'cache'; vertex: Vertex; hit: boolean; why?: string }
  | { type: 'container-removed'; vertex: Vertex; id: string }
  | { type: 'end'; vertex: Vertex; imageId: string }
  | { type: 'fail'; vertex: Vertex; error: Error }
  | { type: 'stage-end'; stage: number; imageId: string }
  | { type: 'note'; text: string; vertex?: Vertex }
  | { type: 'warning'; text: string }
  | { type: 'lint'; warning: Warning; input: BuildInput };

export interface BuildResult {
  image: Image;
  /** The last stage's configuration. */
  config: ImageRunConfig;
  platform: Platform;
}
