/** How long something took that is no effect and no command, such as a read: told to who measures, and free where nobody does. */
import { channel } from 'node:diagnostics_channel';

export interface Took {
  /** A kind of metric, as `container` or `host`. */
  of: string;
  action: string;
  seconds: number;
}

const told = channel('reactord.took');

/** Runs `work`; failures are not measured. */
export async function took<T>(of: string, action: string, work: () => T | Promise<T>): Promise<T> {
  if (!told.hasSubscribers) return work();
  const from = performance.now();
  const result = await work();
  told.publish({ of, action, seconds: (performance.now() - from) / 1000 } satisfies Took);
  return result;
}

/** Call the result to hear no more. */
export function onTook(see: (took: Took) => void): () => void {
  const listener = (message: unknown): void => see(message as Took);
  told.subscribe(listener);
  return () => void told.unsubscribe(listener);
}
