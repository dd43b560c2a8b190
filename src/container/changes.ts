/** Pure changes of a container's record by what happened to it. */
import type { DaemonError } from '../errors.ts';
import { rfc3339Nano } from '../lib/clock.ts';
import type { ExitStatus } from '../runtime/port.ts';
import { hasHealthcheck } from './health.ts';
import type { ContainerRecord, ContainerState } from './record.ts';

export const withState = (record: ContainerRecord, change: Partial<ContainerState>): ContainerRecord => ({
  ...record,
  state: { ...record.state, ...change },
});

export function afterStart(record: ContainerRecord, started: { pid: number; startedAt: string }): ContainerRecord {
  return withState(record, {
    pid: started.pid,
    startedAt: started.startedAt,
    exitCode: 0,
    error: '',
    oomKilled: false,
    hasBeenStartedBefore: true,
    manuallyStopped: false,
    health: hasHealthcheck(record.config.Healthcheck) ? { Status: 'starting', FailingStreak: 0, Log: [] } : undefined,
  });
}

/** The last health stays readable, as in dockerd. */
export const afterExit = (record: ContainerRecord, exit: ExitStatus): ContainerRecord =>
  withState(record, { pid: 0, exitCode: exit.exitCode, finishedAt: rfc3339Nano(exit.exitedAtNano) });

/** 127 and 126 are a shell's words for "no such program" and "cannot be run"; clients derive their own exit code from them. */
export function startExitCode(message: string): number {
  const text = message.toLowerCase();
  if (text.includes('executable file not found') || text.includes('no such file or directory')) return 127;
  if (text.includes('system cannot find the file specified')) return 127;
  if (text.includes('not a directory')) return 127;
  if (text.includes('permission denied') || text.includes('is a directory')) return 126;
  return 128;
}

export const afterFailedStart = (record: ContainerRecord, failure: DaemonError): ContainerRecord =>
  withState(
    { ...record, sandbox: undefined },
    {
      pid: 0,
      error: failure.message,
      exitCode: failure.code === 'runtime-start' ? startExitCode(failure.message) : 128,
    },
  );

/** Seconds that the last run took, as `die` tells them. */
export const secondsRun = (state: ContainerState): number =>
  Math.max(0, Math.floor((Date.parse(state.finishedAt) - Date.parse(state.startedAt)) / 1000)) || 0;
