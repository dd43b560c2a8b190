import { cancelled, deadlineExceeded } from '../errors.ts';

/**
 * Runs `work` with a named deadline and an optional outer signal. `work` gets a signal that fires on either.
 * Rejects with kind `deadline` ("<name> did not finish within <ms> ms") or `cancelled`, even if `work` ignores its signal.
 */
export async function withDeadline<T>(
  name: string,
  ms: number,
  outer: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (outer?.aborted) throw cancelled(`${name} was cancelled`);
  const controller = new AbortController();
  let onOuterAbort: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  const ended = new Promise<never>((_, reject) => {
    const end = (error: Error): void => {
      controller.abort(error);
      reject(error);
    };
    timer = setTimeout(() => end(deadlineExceeded(`${name} did not finish within ${ms} ms`)), ms);
    onOuterAbort = () => end(cancelled(`${name} was cancelled`));
    outer?.addEventListener('abort', onOuterAbort, { once: true });
  });
  try {
    return await Promise.race([work(controller.signal), ended]);
  } finally {
    clearTimeout(timer);
    if (onOuterAbort) outer?.removeEventListener('abort', onOuterAbort);
  }
}
