/** The chart of one layer of a push: preparing · checking · waiting · uploading · done | failed. */
import { assign, fromPromise, sendParent, setup } from 'xstate';
import { asDaemonError, type DaemonError, internal } from '../../errors.ts';
import { isForeign } from '../manifest.ts';
import { type Feed, update } from '../pull/view.ts';
import type { RegistrySession } from '../registry/session.ts';
import type { Descriptor } from '../store-port.ts';

export interface PushedLayerInput {
  position: number;
  diffId: string;
  /** Known when the image goes out as it came in. */
  blob: Descriptor | undefined;
  /** Repository to mount it from. */
  from: string | undefined;
  session: RegistrySession;
  feed: Feed;
  id: string;
}

export interface PushedLayerContext extends PushedLayerInput {
  release?: () => void;
  error?: DaemonError;
}

const unwired = async (): Promise<never> => {
  throw internal('the effect is not wired');
};

const fail = { target: 'failed', actions: 'fail' } as const;
const say = (status: string) => ({ type: 'say', params: { status } }) as const;

export const pushedLayerMachine = setup({
  types: { context: {} as PushedLayerContext, input: {} as PushedLayerInput },
  actors: {
    /** The layer's blob, compressed now when there is none. */
    prepare: fromPromise<Descriptor, PushedLayerContext>(unwired),
    check: fromPromise<boolean, PushedLayerContext>(unwired),
    wait: fromPromise<() => void, PushedLayerContext>(unwired),
    upload: fromPromise<'mounted' | 'sent', PushedLayerContext>(unwired),
  },
  actions: {
    fail: assign({ error: ({ event }) => asDaemonError((event as { error?: unknown }).error ?? 'the layer failed') }),
    say: ({ context }, { status }: { status: string }) => context.feed.say(update(context.id, status)),
    giveBack: ({ context }) => context.release?.(),
    tellDone: sendParent(({ context }: { context: PushedLayerContext }) => ({
      type: 'LAYER_DONE',
      position: context.position,
      blob: context.blob,
    })),
    tellFailed: sendParent(({ context }: { context: PushedLayerContext }) => ({
      type: 'LAYER_FAILED',
      error: context.error,
    })),
  },
}).createMachine({
  id: 'pushed layer',
  context: ({ input }) => input,
  initial: 'preparing',
  states: {
    preparing: {
      entry: say('Preparing'),
      invoke: {
        src: 'prepare',
        input: ({ context }) => context,
        onDone: [
          {
            guard: ({ event }) => isForeign(event.output.mediaType) && Boolean(event.output.urls?.length),
            target: 'done',
            actions: [assign({ blob: ({ event }) => event.output }), say('Skipped foreign layer')],
          },
          { target: 'checking', actions: assign({ blob: ({ event }) => event.output }) },
        ],
        onError: fail,
      },
    },
    checking: {
      invoke: {
        src: 'check',
        input: ({ context }) => context,
        onDone: [
          { guard: ({ event }) => event.output, target: 'done', actions: say('Layer already exists') },
          { target: 'waiting' },
        ],
        onError: fail,
      },
    },
    waiting: {
      invoke: {
        src: 'wait',
        input: ({ context }) => context,
        onDone: { target: 'uploading', actions: assign({ release: ({ event }) => event.output }) },
        onError: fail,
      },
    },
    uploading: {
      exit: 'giveBack',
      invoke: {
        src: 'upload',
        input: ({ context }) => context,
        onDone: [
          {
            guard: ({ event }) => event.output === 'mounted',
            target: 'done',
            actions: ({ context }) => context.feed.say(update(context.id, `Mounted from ${context.from}`)),
          },
          { target: 'done', actions: say('Pushed') },
        ],
        onError: fail,
      },
    },
    done: { type: 'final', entry: 'tellDone' },
    /** Not final: the parent ends with this, and a child's end must not be told to an actor that has ended. */
    failed: { entry: 'tellFailed' },
  },
});
