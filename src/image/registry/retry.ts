/** Tries again what may pass: after the time the registry names, else after doubling pauses. */
import { cancelled } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { isTransient, RegistryRefusal } from './failure.ts';

export interface RetryOptions {
  attempts: number;
  /** First pause in milliseconds. */
  backoffMs: number;
  clock: Clock;
  signal: AbortSignal;
  onRetry?: (error: unknown, delayMs: number) => void;
}

/** A registry that wants to be left alone for longer is not waited for. */
const LONGEST_MS = 120_000;
const LONGEST_BACKOFF_MS = 30_000;

export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(cancelled('cancelled'));
    const leave = (): void => {
      cancel();
      reject(cancelled('cancelled'));
    };
    const cancel = clock.after(ms, () => {
      signal.removeEventListener('abort', leave);
      resolve();
    });
    signal.addEventListener('abort', leave, { once: true });
  });
}

export async function withRetries<T>(options: RetryOptions, work: (attempt: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(attempt);
    } catch (error) {
      if (options.signal.aborted || attempt >= options.attempts || !isTransient(error)) throw error;
      const named = error instanceof RegistryRefusal ? error.retryAfter : undefined;
      if (named !== undefined && named > LONGEST_MS) throw error;
      const delay = named ?? Math.min(options.backoffMs * 2 ** (attempt - 1), LONGEST_BACKOFF_MS);
      options.onRetry?.(error, delay);
      await pause(options.clock, delay, options.signal);
    }
  }
}
