/** What the chart of a push is made of: its context, its effects by name, and its actions. */
import { assign, enqueueActions, fromPromise, setup, stopChild } from 'xstate';
import { asDaemonError, type DaemonError, internal } from '../../errors.ts';
import { shortId } from '../../lib/ids.ts';
import type { Image, RegistryAuth } from '../port.ts';
import type { Feed } from '../pull/view.ts';
import type { Reference } from '../reference.ts';
import type { RegistrySession } from '../registry/session.ts';
import type { Descriptor, Lease } from '../store-port.ts';
import { pushedLayerMachine } from './layer-machine.ts';

export interface PushInput {
  /** With its tag. */
  ref: Reference;
  image: Image;
  auth: RegistryAuth | undefined;
  feed: Feed;
  lease: Lease;
}

/** The image as it is here. */
export interface Plan {
  /** Blobs in the order of the diff ids, where the manifest they came in can go out again. */
  blobs: (Descriptor | undefined)[];
  /** That manifest. */
  manifest?: { bytes: Buffer; descriptor: Descriptor };
  /** Repositories to mount from, by diff id. */
  sources: ReadonlyMap<string, string>;
}

export type PushOutcome =
  { kind: 'done'; manifest: Descriptor } | { kind: 'failed'; error: DaemonError } | { kind: 'cancelled' };

export interface PushContext extends PushInput {
  plan: Plan;
  session?: RegistrySession;
  /** Blobs that are at the registry, by position. */
  pushed: readonly (Descriptor | undefined)[];
  outcome?: PushOutcome;
}

export type PushEvent =
  | { type: 'CANCEL' }
  | { type: 'LAYER_DONE'; position: number; blob: Descriptor }
  | { type: 'LAYER_FAILED'; error: DaemonError };

const unwired = async (): Promise<never> => {
  throw internal('the effect is not wired');
};

export const push = setup({
  types: { context: {} as PushContext, events: {} as PushEvent, input: {} as PushInput, output: {} as PushOutcome },
  actors: {
    plan: fromPromise<Plan, PushContext>(unwired),
    authenticate: fromPromise<RegistrySession, PushContext>(unwired),
    /** Sends config and manifest, and notes the digest. */
    publish: fromPromise<Descriptor, PushContext>(unwired),
    layer: pushedLayerMachine,
  },
  guards: { allLayersThere: ({ context }) => context.pushed.every(Boolean) },
  actions: {
    fail: assign({
      outcome: ({ event }) => ({
        kind: 'failed' as const,
        error: asDaemonError((event as { error?: unknown }).error ?? 'the push failed'),
      }),
    }),
    cancel: assign({ outcome: () => ({ kind: 'cancelled' as const }) }),
    expectLayers: assign({ pushed: ({ context }) => context.image.config.rootfs.diff_ids.map(() => undefined) }),
    spawnLayers: enqueueActions(({ context, enqueue }) => {
      const { image, plan, session, feed } = context;
      image.config.rootfs.diff_ids.forEach((diffId, position) => {
        const input = { position, diffId, blob: plan.blobs[position], from: plan.sources.get(diffId) };
        enqueue.spawnChild('layer', {
          id: `layer ${position}`,
          input: { ...input, session: session!, feed, id: shortId(diffId) },
        });
      });
    }),
    layerCame: assign({
      pushed: ({ context, event }) =>
        event.type === 'LAYER_DONE' ? context.pushed.with(event.position, event.blob) : context.pushed,
    }),
    stopLayers: enqueueActions(({ context, enqueue }) => {
      context.image.config.rootfs.diff_ids.forEach((_, position) => enqueue(stopChild(`layer ${position}`)));
    }),
    letGo: ({ context }) => context.lease.release(),
  },
});
