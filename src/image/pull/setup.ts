/** What the chart of a pull is made of: its context, its effects by name, its guards and its actions. */
import { assign, enqueueActions, fromPromise, setup, stopChild } from 'xstate';
import { asDaemonError, type DaemonError, internal } from '../../errors.ts';
import { shortId } from '../../lib/ids.ts';
import type { Image, ImageConfigDocument, RegistryAuth } from '../port.ts';
import type { ImageManifest, Platform } from '../manifest.ts';
import type { Reference } from '../reference.ts';
import type { Endpoint } from '../registry/endpoints.ts';
import type { RegistrySession } from '../registry/session.ts';
import type { Descriptor, Lease } from '../store-port.ts';
import { type LayerInput, layerMachine } from './layer-machine.ts';
import type { Feed } from './view.ts';

export interface PullInput {
  ref: Reference;
  platform: Platform;
  auth: RegistryAuth | undefined;
  feed: Feed;
  /** Holds what the pull brings in until the catalog refers to it. */
  lease: Lease;
}

/** All documents of an image, which are in the content store by now. */
export interface Target {
  /** Digest of what the reference means at the registry: an index, or the manifest. */
  digest: string;
  manifest: Descriptor;
  index?: Descriptor;
  document: ImageManifest;
  config: ImageConfigDocument;
  /** The image is here, under whatever name: nothing of it is to be fetched. */
  isKnown?: boolean;
}

export type PullOutcome =
  | { kind: 'done'; image: Image; updated: boolean; digest: string }
  | { kind: 'failed'; error: DaemonError }
  | { kind: 'cancelled' };

export interface PullContext extends PullInput {
  endpoints: readonly Endpoint[];
  /** Position of the endpoint in use. */
  at: number;
  session?: RegistrySession;
  target?: Target;
  /** Layers that are not there yet. */
  missing: number;
  outcome?: PullOutcome;
}

export type PullEvent = { type: 'CANCEL' } | { type: 'LAYER_DONE' } | { type: 'LAYER_FAILED'; error: DaemonError };

const unwired = async (): Promise<never> => {
  throw internal('the effect is not wired');
};

const failed = (event: unknown): DaemonError =>
  asDaemonError((event as { error?: unknown }).error ?? 'the pull failed');

export const pull = setup({
  types: { context: {} as PullContext, events: {} as PullEvent, input: {} as PullInput, output: {} as PullOutcome },
  actors: {
    resolve: fromPromise<readonly Endpoint[], PullContext>(unwired),
    authenticate: fromPromise<RegistrySession, PullContext>(unwired),
    fetchManifest: fromPromise<Target, PullContext>(unwired),
    commit: fromPromise<{ image: Image; updated: boolean }, PullContext>(unwired),
    layer: layerMachine,
  },
  guards: {
    /** A mirror may be left for any reason; a registry only when it could not be talked to, lest a password go out in the clear. */
    canGoElsewhere: ({ context }, { error }: { error: unknown }) => {
      const left = context.at + 1 < context.endpoints.length;
      const unreachable = (error as { code?: string } | undefined)?.code === 'unreachable';
      return left && (context.endpoints[context.at]!.mirror || unreachable);
    },
    allLayersThere: ({ context }) => context.missing === 0,
  },
  actions: {
    goElsewhere: assign({ at: ({ context }) => context.at + 1 }),
    fail: assign({ outcome: ({ event }) => ({ kind: 'failed' as const, error: failed(event) }) }),
    cancel: assign({ outcome: () => ({ kind: 'cancelled' as const }) }),
    spawnLayers: enqueueActions(({ context, enqueue }) => {
      const { target, session, feed, lease } = context;
      const layers = target!.isKnown ? [] : target!.document.layers;
      layers.forEach((blob, position) => {
        const diffId = target!.config.rootfs.diff_ids[position]!;
        const input: LayerInput = { blob, diffId, session: session!, feed, lease, id: shortId(blob.digest) };
        enqueue.spawnChild('layer', { id: `layer ${position}`, input });
      });
      enqueue.assign({ missing: layers.length });
    }),
    layerCame: assign({ missing: ({ context }) => context.missing - 1 }),
    stopLayers: enqueueActions(({ context, enqueue }) => {
      context.target?.document.layers.forEach((_, position) => enqueue(stopChild(`layer ${position}`)));
    }),
    letGo: ({ context }) => context.lease.release(),
  },
});
