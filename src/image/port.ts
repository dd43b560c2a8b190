/** What other rooms need of the images: resolve, a container's root filesystem, and making new images. */
import type { RootfsMount } from '../runtime/port.ts';

/** Healthcheck as Docker's image config has it; durations in nanoseconds. */
export interface HealthConfig {
  Test?: string[];
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  StartInterval?: number;
  Retries?: number;
}

/** The `config` object of an image config document (OCI image-spec config.md plus Docker's fields). */
export interface ImageRunConfig {
  User?: string;
  ExposedPorts?: Record<string, object>;
  Env?: string[];
  Entrypoint?: string[];
  Cmd?: string[];
  Volumes?: Record<string, object>;
  WorkingDir?: string;
  Labels?: Record<string, string>;
  StopSignal?: string;
  Healthcheck?: HealthConfig;
  Shell?: string[];
  OnBuild?: string[];
  ArgsEscaped?: boolean;
}

export interface HistoryEntry {
  created?: string;
  created_by?: string;
  author?: string;
  comment?: string;
  empty_layer?: boolean;
}

/** The image config document; its sha256 is the image's id. */
export interface ImageConfigDocument {
  architecture: string;
  os: string;
  variant?: string;
  created?: string;
  author?: string;
  config: ImageRunConfig;
  rootfs: { type: 'layers'; diff_ids: string[] };
  history?: HistoryEntry[];
}

export interface Image {
  /** sha256:<64 hex> of the config document. */
  id: string;
  config: ImageConfigDocument;
  /** Digest of the manifest it came with, when it came from a registry or an OCI layout. */
  manifestDigest?: string;
  repoTags: string[];
  repoDigests: string[];
  /** Bytes of all layers, unpacked. */
  size: number;
  parent?: string;
  /** A step of a build, kept for its cache. */
  cache?: true;
}

export interface PullOptions {
  platform?: string;
  auth?: RegistryAuth;
  signal?: AbortSignal;
  /** Docker's JSON progress lines. */
  onProgress?: (line: object) => void;
}

export interface RegistryAuth {
  username?: string;
  password?: string;
  identitytoken?: string;
  registrytoken?: string;
  serveraddress?: string;
}

/** One change of a container's filesystem: 0 modified, 1 added, 2 deleted. */
export interface Change {
  Path: string;
  Kind: 0 | 1 | 2;
}

export interface ImageStore {
  /** By id, unique id prefix, tag or digest. Throws notFound "No such image: <ref>". */
  get(reference: string, platform?: string): Image;
  find(reference: string, platform?: string): Image | undefined;
  pull(reference: string, options: PullOptions): Promise<Image>;
  /**
   * Makes an image of an existing parent (or nothing), layers given as uncompressed tar streams or kept diff ids, and a
   * config without rootfs. Layers enter the content store; the image stays until untagged and unused.
   */
  create(image: {
    parent?: string;
    /** Layers of the whole image in order: an existing diff id, or a new uncompressed tar. */
    layers: (string | AsyncIterable<Uint8Array>)[];
    config: Omit<ImageConfigDocument, 'rootfs'>;
    tag?: string;
    /** A step of a build: not listed and not pruned as long as it has no name; made again without it, it is an image as any. */
    cache?: boolean;
  }): Promise<Image>;
  /** Deletes steps of builds (`cache`) that have no name and no user. Others are left alone. */
  discard(ids: readonly string[]): Promise<void>;
  tag(id: string, reference: string): Promise<void>;
}

/** Told to the images by the containers. */
export interface ImageUsers {
  /** All containers (not running ones too) made from this image, or mounting it. */
  using(imageId: string): { containerId: string; running: boolean }[];
}

/** A container's writable root over an image. */
export interface RootfsStore {
  /**
   * Makes the writable layer (upper and work directories and the layerdb entry). Idempotent. `bare`: without the mount points
   * that containers get below their image; the image must have layers.
   */
  prepare(containerId: string, imageId: string, options?: { bare?: boolean }): Promise<void>;
  /** Mounts for the shim to make. The layer must be prepared. */
  /** `seen`: where a container finds the directories of ours, when that is elsewhere. */
  mounts(containerId: string, seen?: (path: string) => string): RootfsMount[];
  /** Mounts what the layer is over, for reading only, at an empty directory; the caller unmounts it. `seen`: as with `mounts`. */
  mountReadOnly(containerId: string, target: string, seen?: (path: string) => string): Promise<void>;
  /**
   * Calls `work` with a path under which the whole root filesystem is mounted (the running container's own view or a mount
   * made for the call, undone after the last user left).
   */
  withMounted<T>(containerId: string, work: (root: string, isOwn: boolean) => Promise<T>): Promise<T>;
  /** The writable layer as an uncompressed OCI layer tar (with .wh. whiteouts). */
  diff(containerId: string): AsyncIterable<Uint8Array>;
  changes(containerId: string): Promise<Change[]>;
  /** Bytes: the writable layer alone, and with the image under it. */
  usage(containerId: string): Promise<{ sizeRw: number; sizeRootFs: number }>;
  /** GraphDriver as inspect shows it: {Name: "overlay2", Data: {LowerDir, MergedDir, UpperDir, WorkDir}}. */
  describe(containerId: string): { Name: string; Data: Record<string, string> };
  /** Idempotent. */
  remove(containerId: string): Promise<void>;
  /** Ids of all containers something is left of. */
  list(): Promise<string[]>;
}
