/** The chart of a pull: resolving · authenticating · manifest · layers · committing · done | failed | cancelled. */
import { assign } from 'xstate';
import { pull } from './setup.ts';

const giveUp = { target: 'failed', actions: 'fail' } as const;
const elsewhere = {
  guard: { type: 'canGoElsewhere', params: ({ event }: { event: { error: unknown } }) => ({ error: event.error }) },
  target: 'authenticating',
  actions: 'goElsewhere',
  reenter: true,
} as const;

export const pullMachine = pull.createMachine({
  id: 'pull',
  context: ({ input }) => ({ ...input, endpoints: [], at: 0, missing: 0 }),
  initial: 'resolving',
  output: ({ context }) => context.outcome!,
  on: { CANCEL: '.cancelled' },
  states: {
    /** Which endpoints the registry has, and how far each is trusted. */
    resolving: {
      invoke: {
        src: 'resolve',
        input: ({ context }) => context,
        onDone: { target: 'authenticating', actions: assign({ endpoints: ({ event }) => event.output }) },
        onError: giveUp,
      },
    },
    authenticating: {
      invoke: {
        src: 'authenticate',
        input: ({ context }) => context,
        onDone: { target: 'manifest', actions: assign({ session: ({ event }) => event.output }) },
        onError: [elsewhere, giveUp],
      },
    },
    manifest: {
      invoke: {
        src: 'fetchManifest',
        input: ({ context }) => context,
        onDone: { target: 'layers', actions: assign({ target: ({ event }) => event.output }) },
        onError: [elsewhere, giveUp],
      },
    },
    /** One child a layer; the first that fails ends all. */
    layers: {
      entry: 'spawnLayers',
      exit: 'stopLayers',
      always: { guard: 'allLayersThere', target: 'committing' },
      on: { LAYER_DONE: { actions: 'layerCame' }, LAYER_FAILED: giveUp },
    },
    committing: {
      invoke: {
        src: 'commit',
        input: ({ context }) => context,
        onDone: {
          target: 'done',
          actions: assign({
            outcome: ({ context, event }) => ({
              kind: 'done' as const,
              digest: context.target!.digest,
              ...event.output,
            }),
          }),
        },
        onError: giveUp,
      },
    },
    done: { type: 'final', entry: 'letGo' },
    failed: { type: 'final', entry: 'letGo' },
    cancelled: { type: 'final', entry: ['cancel', 'letGo'] },
  },
});
