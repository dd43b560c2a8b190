/** What containers need of the volumes. */
export interface VolumeInfo {
  Name: string;
  Driver: string;
  Mountpoint: string;
  CreatedAt: string;
  Labels: Record<string, string>;
  Scope: 'local' | 'global';
  Options: Record<string, string> | null;
  Status?: Record<string, unknown>;
}

export interface Volumes {
  get(name: string): VolumeInfo;
  find(name: string): VolumeInfo | undefined;
  /** Makes it if it is not there. `anonymous` marks it with Docker's label com.docker.volume.anonymous. */
  ensure(volume: {
    name: string;
    driver?: string;
    options?: Record<string, string>;
    labels?: Record<string, string>;
    anonymous?: boolean;
    /** Id of the container about to use it: until that container names it, nobody else can remove it. */
    reference?: string;
  }): Promise<VolumeInfo>;
  /** The container of `reference` was not made after all. Idempotent. */
  release(name: string, reference: string): void;
  /** Mounts it for this container and publishes `volume mount`. Returns the path on the host. Idempotent per user. */
  mount(name: string, containerId: string, attributes: Record<string, string>): Promise<string>;
  /** Publishes `volume unmount`. Idempotent. */
  unmount(name: string, containerId: string): Promise<void>;
  /** Removes it; conflict while used. `force` ignores a missing one. */
  remove(name: string, options?: { force?: boolean }): Promise<void>;
  /** After the daemon restarted: this container still has it mounted. */
  restore(name: string, containerId: string): Promise<void>;
  /**
   * Copies the image's content at `source` (a path on the host, already resolved inside the root) into the volume when the volume is empty: owners,
   * modes, xattrs, links.
   */
  copyUp(name: string, source: string): Promise<void>;
}

/** Told to the volumes by the containers. */
export interface VolumeUsers {
  /** Ids of all containers (not running ones too) that name this volume. */
  using(volume: string): string[];
}
