import type { AnyActorRef } from 'xstate';
import type { DaemonError } from '../errors.ts';

/** How a command's event carries its answer. The chart's effects settle it; settling twice is harmless. */
export interface Reply<T = void> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

/**
 * Sends a command to an actor and waits for the answer. The statechart alone decides whether it is accepted: what its
 * current state does not accept is refused at once with `refusal(snapshot)`. Send and check happen in one turn of the
 * event loop, so nothing comes between them.
 */
export function ask<T>(
  actor: AnyActorRef,
  command: (reply: Reply<T>) => { type: string },
  refusal: (snapshot: any, command: string) => DaemonError,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const event = command({ resolve, reject });
    const snapshot = actor.getSnapshot() as { can?(event: unknown): boolean; status: string };
    if (snapshot.status !== 'active' || (snapshot.can && !snapshot.can(event))) {
      reject(refusal(snapshot, event.type));
      return;
    }
    actor.send(event as never);
  });
}
