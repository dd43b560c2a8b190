/** The vocabulary of the container's chart: what it is told, what it remembers beside the record, what its effects get. */
import type { DaemonError } from '../errors.ts';
import type { Sandbox } from '../network/port.ts';
import type { Reply } from '../reactor/ask.ts';
import type { ExitStatus, TaskProbe } from '../runtime/port.ts';
import type { ProbeResult } from './health.ts';
import type { ContainerRecord } from './record.ts';

export interface StopOrder {
  signal: number;
  /** Milliseconds until SIGKILL; negative is never. */
  grace: number;
  /** Publish `stop` at the end: docker stop, not docker kill. */
  announced: boolean;
  /** The daemon's own stop: not a stop by hand. */
  shutdown?: boolean;
}

export interface RemoveOrder {
  force: boolean;
  /** Take the anonymous volumes along. */
  volumes: boolean;
}

export interface Started {
  pid: number;
  /** RFC3339Nano. */
  startedAt: string;
}

/** A Docker event of the container. */
export interface Announcement {
  action: string;
  attributes?: Record<string, string>;
}

export type ContainerEvent =
  | { type: 'START'; reply: Reply; byPolicy?: boolean }
  | { type: 'STOP'; reply: Reply; order: StopOrder }
  | { type: 'RESTART'; reply: Reply; order: StopOrder }
  | { type: 'KILL'; reply: Reply; signal: number }
  | { type: 'PAUSE'; reply: Reply }
  | { type: 'UNPAUSE'; reply: Reply }
  | { type: 'REMOVE'; reply: Reply; order: RemoveOrder }
  /** A change of the record that moves nothing: rename, update, networks. */
  | { type: 'REVISE'; reply: Reply; change: Partial<ContainerRecord>; announce?: Announcement }
  | { type: 'EXIT'; attempt: number; exit: ExitStatus }
  | { type: 'OOM'; attempt: number }
  | { type: 'HEALTH'; attempt: number; result: ProbeResult };

export interface ContainerInput {
  record: ContainerRecord;
  probe: TaskProbe;
  /** The end that is written down for a process that was running and is gone without a trace. */
  lost: ExitStatus;
}

export interface ContainerContext extends ContainerInput {
  /** Counts the starts, so that news of an earlier process are told from those of this one. */
  attempt: number;
  networkReady: boolean;
  /** The end of this attempt's process, from when it is known until the next start. */
  exit: ExitStatus | undefined;
  failure: DaemonError | undefined;
  failedStarts: number;
  /** A client wants it down: the policy does not bring it back after this end. */
  halted: boolean;
  stop: StopOrder | undefined;
  /** Start again once it is down. */
  again: boolean;
  remove: RemoveOrder | undefined;
  /** Milliseconds of the last backoff. */
  delay: number;
  /** Publish `restart` once it is up. */
  announceRestart: boolean;
  /** Clients that wait for an answer, by what they asked for. */
  starters: readonly Reply[];
  stoppers: readonly Reply[];
  removers: readonly Reply[];
  freezers: readonly Reply[];
}

/** What every effect gets: whom it works for, and the way back for its news. */
export interface Work {
  record: ContainerRecord;
  attempt: number;
  send: (event: ContainerEvent) => void;
}

/** What an effect's end adds to an event. */
export interface Outcome {
  output?: unknown;
  error?: unknown;
}

export type AdoptOutput = Sandbox | undefined;
