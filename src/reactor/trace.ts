/**
 * Statecharts and effects, watched where they step: each logic is wrapped once, and tells what it did before anything comes of it. So every fact
 * names the one that led to it: a transition its command or the effect that brought news, an effect and what a transition announces the
 * transition, an effect's end its beginning. XState's inspection tells the same only afterwards, and for each event anew.
 */
import type { ActorScope, AnyActorLogic, AnyActorRef, AnyStateMachine, EventObject, Snapshot } from 'xstate';
import { type Cause, causedBy, continueAs, currentCause } from '../bus/cause.ts';
import { limitOf } from './effect.ts';

export interface Tracer {
  /** After each step of a root actor. Returns the cause of what its actions and effects do. */
  stepped(root: AnyActorRef, next: unknown, event: string, cause: Cause | undefined): Cause | undefined;
  /** The cause that a timer's event goes back to: it was set when the present state was entered. */
  entered(root: AnyActorRef): Cause | undefined;
  began(effect: AnyActorRef, name: string, limit: number | undefined, cause: Cause | undefined): Cause;
  /** Returns the cause of what its parent does about it. */
  ended(effect: AnyActorRef, snapshot: { status: string; error?: unknown }): Cause | undefined;
}

type Logic = AnyActorLogic & { start?(snapshot: unknown, scope: Scope): void };
type Scope = ActorScope<any, any, any, any> & { actionExecutor: (action: unknown) => void };
type Status = Snapshot<unknown>;

const isMachine = (logic: object): logic is AnyStateMachine => 'root' in logic && 'implementations' in logic;

const TIMER = 'xstate.after.';

export class Tracing {
  #tracer: Tracer;
  #roots = new WeakMap<object, AnyActorLogic>();
  #effects = new WeakMap<object, AnyActorLogic>();
  /** Cause of what each machine's last step began. */
  #steps = new WeakMap<AnyActorRef, Cause | undefined>();
  #begun = new WeakMap<AnyActorRef, Cause>();

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  /** A root actor's logic that tells its steps and its effects. */
  root<L extends AnyActorLogic>(logic: L): L {
    const known = this.#roots.get(logic) as L | undefined;
    if (known) return known;
    const traced = this.#stepping(logic, (scope, next, event) => {
      const cause = event.startsWith(TIMER) ? this.#tracer.entered(scope.self) : currentCause();
      return this.#tracer.stepped(scope.self, next, event, cause);
    });
    this.#roots.set(logic, traced);
    return traced as L;
  }

  /**
   * A machine whose actions run once its step is told, under that cause; XState collects them in order while it computes the step, so nothing
   * of it is seen before.
   */
  #stepping(logic: Logic, step: (scope: Scope, next: Status, event: string) => Cause | undefined): Logic {
    const machine = isMachine(logic) ? this.#withEffects(logic) : logic;
    const take = (scope: Scope, event: string, compute: (own: Scope) => Status): Status => {
      const actions: { exec?: (...args: unknown[]) => void }[] = [];
      const next = compute({ ...scope, actionExecutor: (action: object) => actions.push(action) } as Scope);
      const cause = step(scope, next, event);
      this.#steps.set(scope.self, cause);
      for (const action of actions) {
        const { exec } = action;
        // Bound, since those of the first step run only when the actor is started.
        const bound = cause && exec && ((...args: unknown[]): void => causedBy(cause, () => exec(...args)));
        scope.actionExecutor(bound ? { ...action, exec: bound } : action);
      }
      return next;
    };
    return Object.assign(Object.create(machine) as Logic, {
      getInitialSnapshot: (scope: Scope, input: never) =>
        take(scope, 'xstate.init', (own) => machine.getInitialSnapshot(own, input) as Status),
      transition: (snapshot: Status, event: EventObject, scope: Scope) =>
        take(scope, event.type, (own) => machine.transition(snapshot as never, event, own) as Status),
    });
  }

  #withEffects(machine: AnyStateMachine): AnyStateMachine {
    const actors = Object.entries(machine.implementations.actors as Record<string, Logic>);
    return machine.provide({ actors: Object.fromEntries(actors.map(([name, logic]) => [name, this.#effect(logic)])) });
  }

  #effect(logic: Logic): Logic {
    const known = this.#effects.get(logic);
    if (known) return known;
    // A machine within a machine: its steps are not told; what they begin goes back to their news, the first to the effect itself.
    const inner = isMachine(logic)
      ? this.#stepping(logic, (_scope, _next, event) => (event === 'xstate.init' ? undefined : currentCause()))
      : logic;
    const traced = Object.assign(Object.create(inner) as Logic, {
      start: (snapshot: unknown, scope: Scope) => this.#start(inner, limitOf(logic), snapshot, scope),
      transition: (snapshot: Status, event: EventObject, scope: Scope) => {
        const next = inner.transition(snapshot, event, scope) as Status;
        if (snapshot.status === 'active' && next.status !== 'active') {
          const cause = this.#tracer.ended(scope.self, next);
          // Its parent stops it in a step of its own.
          if (cause && next.status !== 'stopped') continueAs(cause);
        }
        return next;
      },
    });
    this.#effects.set(logic, traced);
    return traced;
  }

  #start(logic: Logic, limit: number | undefined, snapshot: unknown, scope: Scope): void {
    const self = scope.self as AnyActorRef & { src?: unknown; _parent?: AnyActorRef };
    const parent = self._parent!;
    const name = typeof self.src === 'string' ? self.src : self.id;
    const cause = this.#steps.get(parent) ?? this.#begun.get(parent);
    const began = this.#tracer.began(self, name, limit, cause);
    this.#begun.set(self, began);
    try {
      causedBy(began, () => logic.start?.(snapshot, scope));
    } catch (error) {
      this.#tracer.ended(self, { status: 'error', error });
      throw error;
    }
  }
}
