/** POST /containers/{id}/wait: the end of a container, in three meanings. */
import { cancelled } from '../errors.ts';
import { hasProcesses, type ContainerRecord } from './record.ts';
import type { Registry } from './registry.ts';

export type WaitCondition = 'not-running' | 'next-exit' | 'removed';

export const isWaitCondition = (text: string): text is WaitCondition =>
  text === 'not-running' || text === 'next-exit' || text === 'removed';

export interface WaitResult {
  StatusCode: number;
  Error?: { Message: string };
}

const isDown = ({ phase }: ContainerRecord): boolean =>
  phase === 'created' || phase === 'exited' || phase === 'dead' || phase === 'removing';

const resultOf = ({ state }: ContainerRecord): WaitResult => ({ StatusCode: state.exitCode });

/**
 * Settles when the condition holds; the listener is in place when it returns. A removed container ends every wait.
 * Rejects with kind `cancelled` when the client leaves.
 */
export function waitFor(
  registry: Registry,
  record: ContainerRecord,
  condition: WaitCondition,
  gone: AbortSignal,
): Promise<WaitResult> {
  if (condition === 'not-running' && isDown(record)) return Promise.resolve(resultOf(record));
  return new Promise((resolve, reject) => {
    let last = record;
    const done = (result: WaitResult): void => {
      stop();
      gone.removeEventListener('abort', leave);
      resolve(result);
    };
    const stop = registry.watch(record.id, (now) => {
      if (!now) return done(resultOf(last));
      const ended = hasProcesses(last) && !hasProcesses(now);
      // A start that failed counts as an end for whoever waits for one.
      const failed = last.phase === 'starting' && isDown(now);
      last = now;
      if (condition === 'next-exit' && (ended || failed)) done(resultOf(now));
      if (condition === 'not-running' && isDown(now)) done(resultOf(now));
    });
    const leave = (): void => {
      stop();
      reject(cancelled('the client left'));
    };
    if (gone.aborted) return leave();
    gone.addEventListener('abort', leave, { once: true });
  });
}
