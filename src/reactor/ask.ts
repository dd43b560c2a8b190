import type { AnyActorRef } from 'xstate';
import type { DaemonError } from '../errors.ts';

/** How a command's event carries its answer. The chart's effects settle it; settling twice is harmless. */
export interface Reply<T = void> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

type Refuse = (error: DaemonError) => void;

/** Who waits for an actor. */
const waiting = new WeakMap<AnyActorRef, Set<Refuse>>();

/** Somebody waits for the actor, and is told when it is in vain. Call the result when that is over. */
export function awaits(actor: AnyActorRef, refuse: Refuse): () => void {
  const all = waiting.get(actor) ?? new Set<Refuse>();
  waiting.set(actor, all.add(refuse));
  return () => all.delete(refuse);
}

/** How many commands wait for the actor. */
export const waitingFor = (actor: AnyActorRef): number => waiting.get(actor)?.size ?? 0;

/** Nobody waits for the actor any longer. What it does goes on. */
export function giveUp(actor: AnyActorRef, error: DaemonError): void {
  for (const refuse of waiting.get(actor) ?? []) refuse(error);
}

/**
 * Sends a command to an actor and waits for the answer, but no longer than the effect may take on which it hangs. The statechart alone decides
 * whether it is accepted: what its current state does not accept is refused at once with `refusal(snapshot)`. Send and check happen in one turn
 * of the event loop, so nothing comes between them.
 */
export async function ask<T>(
  actor: AnyActorRef,
  command: (reply: Reply<T>) => { type: string },
  refusal: (snapshot: any, command: string) => DaemonError,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const event = command({ resolve, reject });
  const snapshot = actor.getSnapshot() as { can?(event: unknown): boolean; status: string };
  if (snapshot.status !== 'active' || (snapshot.can && !snapshot.can(event))) throw refusal(snapshot, event.type);
  const forget = awaits(actor, reject);
  actor.send(event as never);
  try {
    return await promise;
  } finally {
    forget();
  }
}
