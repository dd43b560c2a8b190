/** The daemon's own statechart: booting · recovering · serving · draining · stopped. Effects come in as named actors. */
import { assign, fromPromise, setup } from 'xstate';

export interface LifecycleContext {
  error: unknown;
}

export type LifecycleEvent = { type: 'STOP' } | { type: 'FORCE' };

const missing = fromPromise<void>(async () => {
  throw new Error('this effect was not provided');
});

export const lifecycle = setup({
  types: { context: {} as LifecycleContext, events: {} as LifecycleEvent },
  actors: {
    /** Opens the sockets. */
    open: missing,
    /** Reconciles every room's records with what is true. */
    recover: missing,
    /** Stops containers and rooms. */
    drain: missing,
    /** Lets go of sockets, store and locks. */
    release: missing,
  },
  actions: { keepError: assign({ error: (_, params: { error: unknown }) => params.error }) },
}).createMachine({
  id: 'reactor',
  context: { error: undefined },
  initial: 'booting',
  states: {
    booting: {
      invoke: {
        src: 'open',
        onDone: 'recovering',
        onError: {
          target: 'releasing',
          actions: { type: 'keepError', params: ({ event }) => ({ error: event.error }) },
        },
      },
      on: { STOP: 'releasing', FORCE: 'releasing' },
    },
    recovering: {
      invoke: {
        src: 'recover',
        onDone: 'serving',
        onError: {
          target: 'draining',
          actions: { type: 'keepError', params: ({ event }) => ({ error: event.error }) },
        },
      },
      on: { STOP: 'draining', FORCE: 'releasing' },
    },
    serving: { on: { STOP: 'draining', FORCE: 'releasing' } },
    draining: {
      invoke: {
        src: 'drain',
        onDone: 'releasing',
        onError: {
          target: 'releasing',
          actions: { type: 'keepError', params: ({ event }) => ({ error: event.error }) },
        },
      },
      on: { FORCE: 'releasing' },
    },
    releasing: {
      invoke: {
        src: 'release',
        onDone: 'stopped',
        onError: { target: 'stopped', actions: { type: 'keepError', params: ({ event }) => ({ error: event.error }) } },
      },
    },
    stopped: { type: 'final' },
  },
});
