/** The chart of one layer of a pull: waiting · downloading · verifying · extracting · done | failed. */
import { assign, fromPromise, sendParent, setup } from 'xstate';
import { asDaemonError, type DaemonError, internal } from '../../errors.ts';
import type { Download } from '../registry/downloads.ts';
import type { RegistrySession } from '../registry/session.ts';
import type { Descriptor, Lease } from '../store-port.ts';
import { type Feed, update } from './view.ts';

export interface LayerInput {
  blob: Descriptor;
  diffId: string;
  session: RegistrySession;
  feed: Feed;
  /** Of the whole pull. */
  lease: Lease;
  /** As its lines name it. */
  id: string;
}

export interface LayerContext extends LayerInput {
  /** Our part in the transfer of its blob, which may serve other pulls too. */
  download?: Download;
  error?: DaemonError;
}

const unwired = async (): Promise<never> => {
  throw internal('the effect is not wired');
};

const fail = { target: 'failed', actions: 'fail' } as const;

export const layerMachine = setup({
  types: { context: {} as LayerContext, input: {} as LayerInput },
  actors: {
    /** Whether the unpacked layer is there. */
    look: fromPromise<boolean, LayerContext>(unwired),
    queue: fromPromise<Download, LayerContext>(unwired),
    download: fromPromise<void, LayerContext>(unwired),
    verify: fromPromise<void, LayerContext>(unwired),
    extract: fromPromise<void, LayerContext>(unwired),
  },
  actions: {
    fail: assign({ error: ({ event }) => asDaemonError((event as { error?: unknown }).error ?? 'the layer failed') }),
    say: ({ context }, { status }: { status: string }) => context.feed.say(update(context.id, status)),
    tellDone: sendParent({ type: 'LAYER_DONE' }),
    tellFailed: sendParent(({ context }: { context: LayerContext }) => ({
      type: 'LAYER_FAILED',
      error: context.error,
    })),
  },
}).createMachine({
  id: 'layer',
  context: ({ input }) => input,
  initial: 'looking',
  states: {
    looking: {
      invoke: {
        src: 'look',
        input: ({ context }) => context,
        onDone: [
          {
            guard: ({ event }) => event.output,
            target: 'done',
            actions: { type: 'say', params: { status: 'Already exists' } },
          },
          { target: 'waiting', actions: { type: 'say', params: { status: 'Pulling fs layer' } } },
        ],
        onError: fail,
      },
    },
    waiting: {
      invoke: {
        src: 'queue',
        input: ({ context }) => context,
        onDone: { target: 'downloading', actions: assign({ download: ({ event }) => event.output }) },
        onError: fail,
      },
    },
    downloading: { invoke: { src: 'download', input: ({ context }) => context, onDone: 'verifying', onError: fail } },
    verifying: {
      entry: { type: 'say', params: { status: 'Verifying Checksum' } },
      invoke: {
        src: 'verify',
        input: ({ context }) => context,
        onDone: { target: 'extracting', actions: { type: 'say', params: { status: 'Download complete' } } },
        onError: fail,
      },
    },
    extracting: {
      invoke: {
        src: 'extract',
        input: ({ context }) => context,
        onDone: { target: 'done', actions: { type: 'say', params: { status: 'Pull complete' } } },
        onError: fail,
      },
    },
    done: { type: 'final', entry: 'tellDone' },
    /** Not final: the parent ends with this, and a child's end must not be told to an actor that has ended. */
    failed: { entry: 'tellFailed' },
  },
});
