/**
 * Which fact led to what happens now. It follows the program over awaits, promises and timers: a request's cause is its command's fact, an
 * effect's the fact of its beginning. What is published meanwhile names it, so that a chain is exact whoever else is busy.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

export interface Cause {
  /** Of the fact. */
  seq: number;
  /** Seq of the command that all of this goes back to, if it was one. */
  request: number | undefined;
}

const current = new AsyncLocalStorage<Cause | undefined>();

export const currentCause = (): Cause | undefined => current.getStore();

export const causedBy = <T>(cause: Cause | undefined, act: () => T): T => current.run(cause, act);

/** From here to the end of this turn: for news that XState passes on in the same turn. */
export const continueAs = (cause: Cause): void => current.enterWith(cause);

/** For a callback that somebody else's turn will call: it keeps the cause of now. */
export const keepCause = <A extends unknown[], R>(callback: (...args: A) => R): ((...args: A) => R) => {
  const cause = currentCause();
  return (...args) => causedBy(cause, () => callback(...args));
};
