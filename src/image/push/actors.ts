/** The effects of a push over registry, content store, layers and catalog. */
import { withDeadline } from '../../lib/deadline.ts';
import { effect, OPEN_ENDED } from '../../reactor/effect.ts';
import { MEDIA, parseManifest } from '../manifest.ts';
import { manifestFor } from '../oci-manifest.ts';
import { update } from '../pull/view.ts';
import { repositoryName } from '../reference.ts';
import type { Registries } from '../registry/registries.ts';
import { sha256, type RegistrySession } from '../registry/session.ts';
import type { Slots } from '../registry/slots.ts';
import { hasBlob, putManifest, uploadBlob } from '../registry/uploads.ts';
import { pushError } from '../registry/wording.ts';
import type { Catalog, ContentStore, Descriptor, LayerStore } from '../store-port.ts';
import { pushedLayerMachine, type PushedLayerContext } from './layer-machine.ts';
import { mountSources, scopesFor } from './plan.ts';
import type { Plan, PushContext } from './setup.ts';

export interface PushDeps {
  registries: Registries;
  slots: Slots;
  content: ContentStore;
  layers: LayerStore;
  catalog: Catalog;
}

const PLAN_MS = 30_000;
const AUTHENTICATE_MS = 120_000;
const CHECK_MS = 120_000;
const PUBLISH_MS = 600_000;

export function pushActors(deps: PushDeps) {
  const { registries } = deps;
  return {
    plan: effect<Plan, PushContext>(PLAN_MS, ({ input }) => planOf(deps, input)),
    authenticate: effect<RegistrySession, PushContext>(
      AUTHENTICATE_MS,
      ({ input: { ref, auth, plan, image }, signal }) =>
        registries.connect(ref, auth, signal, scopesFor(ref, plan.sources, image.config.rootfs.diff_ids)),
    ),
    publish: effect<Descriptor, PushContext>(PUBLISH_MS, ({ input, signal }) =>
      withDeadline('publishing the manifest', PUBLISH_MS, signal, (inner) => publish(deps, input, inner)).catch(
        (thrown: unknown) => {
          throw pushError(thrown);
        },
      ),
    ),
  };
}

/** An image that is as it came goes out with the very manifest it came with. */
async function planOf({ content, catalog }: PushDeps, { image, ref, lease }: PushContext): Promise<Plan> {
  lease.add(image.id);
  const sources = mountSources(catalog.list(), ref);
  const digest = image.manifestDigest;
  if (!digest || !content.has(digest)) return { blobs: [], sources };
  lease.add(digest);
  const bytes = await content.read(digest);
  const document = parseManifest(bytes);
  const whole = document.kind === 'image' && document.layers.every((layer) => content.has(layer.digest));
  if (!whole) return { blobs: [], sources };
  const descriptor = { mediaType: document.mediaType, digest, size: bytes.length };
  return { blobs: document.layers, manifest: { bytes, descriptor }, sources };
}

async function publish(
  { content, registries, catalog }: PushDeps,
  { image, plan, pushed, ref, session, lease }: PushContext,
  signal: AbortSignal,
): Promise<Descriptor> {
  const config = { mediaType: MEDIA.ociConfig, digest: image.id, size: content.size(image.id) };
  if (!(await hasBlob(session!, config.digest, signal)))
    await uploadBlob({
      ...{ session: session!, blob: config, path: content.path(config.digest), retries: registries.retries, signal },
      onProgress: () => {},
    });
  const bytes = plan.manifest?.bytes ?? manifestFor(config, pushed as readonly Descriptor[]);
  const descriptor = plan.manifest?.descriptor ?? {
    mediaType: MEDIA.ociManifest,
    digest: sha256(bytes),
    size: bytes.length,
  };
  await putManifest(session!, ref.tag!, { bytes, descriptor }, signal);
  lease.add(descriptor.digest);
  await catalog.addDigest(image.id, repositoryName(ref), descriptor.digest);
  return descriptor;
}

export function pushedLayerLogic({ registries, slots, content, layers }: PushDeps): typeof pushedLayerMachine {
  return pushedLayerMachine.provide({
    actors: {
      prepare: effect<Descriptor, PushedLayerContext>(OPEN_ENDED, async ({ input: { blob, diffId }, signal }) => {
        const known = blob ?? layers.blobOf(diffId);
        return known && content.has(known.digest) ? known : layers.ensureBlob(diffId, signal);
      }),
      check: effect<boolean, PushedLayerContext>(CHECK_MS, ({ input: { session, blob }, signal }) =>
        withDeadline('checking a layer', CHECK_MS, signal, (inner) => hasBlob(session, blob!.digest, inner)).catch(
          (thrown: unknown) => {
            throw pushError(thrown);
          },
        ),
      ),
      wait: effect<() => void, PushedLayerContext>(OPEN_ENDED, ({ input: { feed, id }, signal }) =>
        slots.take(signal, () => feed.say(update(id, 'Waiting'))),
      ),
      upload: effect<'mounted' | 'sent', PushedLayerContext>(
        OPEN_ENDED,
        ({ input: { session, blob, from, feed, id }, signal }) =>
          uploadBlob({
            ...{ session, blob: blob!, from, signal, path: content.path(blob!.digest), retries: registries.retries },
            onProgress: (current) => feed.figures(id, 'Pushing', current, blob!.size),
          }).catch((thrown: unknown) => {
            throw pushError(thrown);
          }),
      ),
    },
  });
}
