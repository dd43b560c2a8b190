/** What is persisted of a container: enough to answer every read and to find it again after the daemon was killed. */
import type { Sandbox } from '../network/port.ts';
import type { MountPoint } from '../volume/mounts.ts';
import type { ContainerConfig, HostConfig, NetworkingConfig } from './config.ts';

/** The chart's state as other rooms and the disk see it. `starting` and `stopping` tell a restarted daemon what was interrupted. */
export type Phase =
  'created' | 'starting' | 'running' | 'paused' | 'stopping' | 'exited' | 'restarting' | 'removing' | 'dead';

export interface HealthResult {
  Start: string;
  End: string;
  ExitCode: number;
  Output: string;
}

export interface HealthState {
  Status: 'starting' | 'healthy' | 'unhealthy';
  FailingStreak: number;
  /** The last five. */
  Log: HealthResult[];
}

export interface ContainerState {
  exitCode: number;
  error: string;
  oomKilled: boolean;
  /** RFC3339Nano; ZERO_TIME when it never happened. */
  startedAt: string;
  finishedAt: string;
  /** Automatic restarts since the last start by hand. */
  restartCount: number;
  pid: number;
  hasBeenStartedBefore: boolean;
  /** Stopped by a client and not started since: `unless-stopped` leaves it alone at boot. */
  manuallyStopped: boolean;
  health?: HealthState;
}

/** Every field is replaced, never changed in place, so that a record's identity is its version. */
export interface ContainerRecord {
  readonly id: string;
  /** Without the slash. */
  name: string;
  /** RFC3339Nano. */
  readonly created: string;
  /** sha256:…; '' for none. */
  readonly image: string;
  readonly path: string;
  readonly args: string[];
  /** Merged with the image's. */
  readonly config: ContainerConfig;
  hostConfig: HostConfig;
  networking: NetworkingConfig;
  readonly mounts: MountPoint[];
  /** Directory of the container: hosts, resolv.conf, hostname, logs, secrets. */
  readonly directory: string;
  phase: Phase;
  state: ContainerState;
  /** Set while it has a network; kept after the exit until the next start so that inspect can name the networks. */
  sandbox?: Sandbox;
}

/** Collection of the store. */
export const CONTAINERS = 'containers';

/** A container that has processes now (Docker's State.Running minus restarting). */
export const hasProcesses = (record: ContainerRecord): boolean =>
  record.phase === 'running' || record.phase === 'paused' || record.phase === 'stopping';

/** Docker's State.Running: also while paused, stopping or waiting for a restart. */
export const isRunning = (record: ContainerRecord): boolean => hasProcesses(record) || record.phase === 'restarting';
