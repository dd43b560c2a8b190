/** The chart of a push: planning · authenticating · layers · publishing · done | failed | cancelled. */
import { assign } from 'xstate';
import { push } from './setup.ts';

const giveUp = { target: 'failed', actions: 'fail' } as const;

export const pushMachine = push.createMachine({
  id: 'push',
  context: ({ input }) => ({ ...input, plan: { blobs: [], sources: new Map() }, pushed: [] }),
  initial: 'planning',
  output: ({ context }) => context.outcome!,
  on: { CANCEL: '.cancelled' },
  states: {
    planning: {
      invoke: {
        src: 'plan',
        input: ({ context }) => context,
        onDone: { target: 'authenticating', actions: assign({ plan: ({ event }) => event.output }) },
        onError: giveUp,
      },
    },
    authenticating: {
      invoke: {
        src: 'authenticate',
        input: ({ context }) => context,
        onDone: { target: 'layers', actions: assign({ session: ({ event }) => event.output }) },
        onError: giveUp,
      },
    },
    /** One child a layer; the first that fails ends all. */
    layers: {
      entry: ['expectLayers', 'spawnLayers'],
      exit: 'stopLayers',
      always: { guard: 'allLayersThere', target: 'publishing' },
      on: { LAYER_DONE: { actions: 'layerCame' }, LAYER_FAILED: giveUp },
    },
    publishing: {
      invoke: {
        src: 'publish',
        input: ({ context }) => context,
        onDone: {
          target: 'done',
          actions: assign({ outcome: ({ event }) => ({ kind: 'done' as const, manifest: event.output }) }),
        },
        onError: giveUp,
      },
    },
    done: { type: 'final', entry: 'letGo' },
    failed: { type: 'final', entry: 'letGo' },
    cancelled: { type: 'final', entry: ['cancel', 'letGo'] },
  },
});
