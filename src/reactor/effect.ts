/** Effects (invoked actors), and what is known of them beside their work: how long they may take. Declared where an effect is defined. */
import { type AnyActorLogic, fromPromise, type NonReducibleUnknown, type PromiseActorLogic } from 'xstate';

const limits = new WeakMap<object, number>();

/** An effect that lasts as long as what it looks after, or as its peer has bytes to send. */
export const OPEN_ENDED = Infinity;

/**
 * Declares that an effect ends within `ms`: the calls in it have deadlines that add up to that. One that runs longer is shown as stuck, and
 * commands that wait for it are told so in the end; it is not ended itself, since nobody knows what it has half done.
 */
export function within<L extends AnyActorLogic>(ms: number, logic: L): L {
  limits.set(logic, ms);
  return logic;
}

/** An effect that ends with a result. */
export const effect = <Output, Input = NonReducibleUnknown>(
  ms: number,
  work: Parameters<typeof fromPromise<Output, Input>>[0],
): PromiseActorLogic<Output, Input> => within(ms, fromPromise<Output, Input>(work));

export const limitOf = (logic: object): number | undefined => limits.get(logic);
