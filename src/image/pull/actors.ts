/** The effects of a pull over registry, content store, layers and catalog. */
import { invalid } from '../../errors.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { effect, OPEN_ENDED } from '../../reactor/effect.ts';
import type { ImageConfigDocument } from '../port.ts';
import { checkIsImage, choosePlatform, type ImageManifest, parseManifest } from '../manifest.ts';
import { canonical, type Reference, repositoryName, tagOrDigest } from '../reference.ts';
import type { Downloads } from '../registry/downloads.ts';
import type { Registries } from '../registry/registries.ts';
import type { ReceivedManifest } from '../registry/session.ts';
import { pullError, transferError } from '../registry/wording.ts';
import type { Catalog, ContentStore, Descriptor, LayerStore } from '../store-port.ts';
import { type LayerContext, layerMachine } from './layer-machine.ts';
import type { PullContext, Target } from './setup.ts';
import { message, update } from './view.ts';

export interface PullDeps {
  registries: Registries;
  downloads: Downloads;
  content: ContentStore;
  layers: LayerStore;
  catalog: Catalog;
}

const RESOLVE_MS = 15_000;
const AUTHENTICATE_MS = 120_000;
const MANIFEST_MS = 600_000;
const COMMIT_MS = 60_000;
const LOOK_MS = 10_000;
const MOST_NESTED_INDEXES = 3;

/** Runs an effect and words its failure for this reference. */
async function worded<T>(ref: Reference, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    throw pullError(thrown, ref);
  }
}

export function pullActors({ registries, content, catalog }: PullDeps) {
  return {
    resolve: effect<PullContext['endpoints'], PullContext>(RESOLVE_MS, ({ input, signal }) =>
      withDeadline('looking up the registry', RESOLVE_MS, signal, () => registries.endpoints(input.ref.domain, 'pull')),
    ),
    authenticate: effect<NonNullable<PullContext['session']>, PullContext>(AUTHENTICATE_MS, ({ input, signal }) =>
      worded(input.ref, async () => {
        const session = registries.pullSession(input.endpoints[input.at]!, input.ref, input.auth);
        await withDeadline('authenticating', AUTHENTICATE_MS, signal, (inner) => session.ping(inner));
        return session;
      }),
    ),
    fetchManifest: effect<Target, PullContext>(MANIFEST_MS, ({ input, signal }) =>
      worded(input.ref, () =>
        withDeadline('fetching the manifest', MANIFEST_MS, signal, (inner) =>
          fetchTarget(content, catalog, input, inner),
        ),
      ),
    ),
    commit: effect<{ image: Awaited<ReturnType<Catalog['add']>>; updated: boolean }, PullContext>(
      COMMIT_MS,
      ({ input }) => commit(catalog, input),
    ),
  };
}

async function fetchTarget(
  content: ContentStore,
  catalog: Catalog,
  input: PullContext,
  signal: AbortSignal,
): Promise<Target> {
  const { lease, ref } = input;
  const session = input.session!;
  const keep = async ({ descriptor, bytes }: ReceivedManifest): Promise<void> => {
    lease.add(descriptor.digest);
    await content.write(bytes, descriptor.digest);
  };
  const top = (await unchanged(content, catalog, input, signal)) ?? (await session.manifest(tagOrDigest(ref), signal));
  let received = top;
  let document = parseManifest(top.bytes, top.descriptor.mediaType);
  // What goes wrong from here on is told in the answer's stream, as dockerd does.
  input.feed.say(message(`Pulling from ${ref.path}`, tagOrDigest(ref)));
  for (let depth = 0; document.kind === 'index'; depth++) {
    if (depth === MOST_NESTED_INDEXES) throw invalid('indexes are nested too deeply');
    const chosen = choosePlatform(document, input.platform);
    await keep(received);
    received = await manifestOf(content, session, chosen, signal);
    document = parseManifest(received.bytes, chosen.mediaType);
  }
  checkIsImage(document);
  await keep(received);
  const manifest = { ...received.descriptor, mediaType: document.mediaType };
  const config = await configOf(content, input, document, signal);
  const index =
    received === top
      ? {}
      : { index: { ...top.descriptor, mediaType: parseManifest(top.bytes, top.descriptor.mediaType).mediaType } };
  const isKnown = Boolean(catalog.find(document.config.digest));
  // Whoever deletes it meanwhile leaves its content to us.
  const parts = [...document.layers.map(({ digest }) => digest), ...config.rootfs.diff_ids];
  if (isKnown) for (const part of parts) lease.add(part);
  return { digest: top.descriptor.digest, manifest, document, config, isKnown, ...index };
}

/**
 * The manifest of an image that is here and that the registry still means by this reference. Only asked of images that are
 * here: registries do not count HEAD against their limits.
 */
async function unchanged(
  content: ContentStore,
  catalog: Catalog,
  { ref, session }: PullContext,
  signal: AbortSignal,
): Promise<ReceivedManifest | undefined> {
  if (!catalog.find(canonical(ref))) return undefined;
  // Whatever goes wrong here goes wrong again, and is told, when the manifest is fetched.
  const descriptor = await session!.resolve(tagOrDigest(ref), signal).catch(() => undefined);
  if (!descriptor || (ref.digest && ref.digest !== descriptor.digest) || !content.has(descriptor.digest))
    return undefined;
  const bytes = await content.read(descriptor.digest);
  return { descriptor: { ...descriptor, size: bytes.length }, bytes };
}

/** A manifest named by an index: what the content store has is not asked for again. */
async function manifestOf(
  content: ContentStore,
  session: NonNullable<PullContext['session']>,
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<ReceivedManifest> {
  const { digest, size } = descriptor;
  if (content.has(digest)) return { descriptor, bytes: await content.read(digest) };
  const received = await session.manifest(digest, signal);
  if (received.bytes.length !== size)
    throw invalid(`manifest ${digest} has ${received.bytes.length} bytes, not ${size}`);
  return { descriptor, bytes: received.bytes };
}

async function configOf(
  content: ContentStore,
  { session, lease }: PullContext,
  { config: descriptor, layers }: ImageManifest,
  signal: AbortSignal,
): Promise<ImageConfigDocument> {
  lease.add(descriptor.digest);
  const known = content.has(descriptor.digest);
  const bytes = known ? await content.read(descriptor.digest) : await session!.document(descriptor, signal);
  const config = parseConfig(bytes);
  if (config.os !== 'linux') throw invalid(`image operating system "${config.os}" cannot be used on this platform`);
  if (config.rootfs.diff_ids.length !== layers.length)
    throw invalid(`invalid image: ${layers.length} layers but ${config.rootfs.diff_ids.length} diff ids`, {
      code: 'bad-image',
    });
  if (!known) await content.write(bytes, descriptor.digest);
  return config;
}

function parseConfig(bytes: Buffer): ImageConfigDocument {
  try {
    const document = JSON.parse(bytes.toString()) as ImageConfigDocument;
    const diffIds: unknown = document.rootfs?.diff_ids;
    if (typeof document.os === 'string' && typeof document.architecture === 'string' && Array.isArray(diffIds))
      if (diffIds.every((id) => typeof id === 'string' && /^sha256:[0-9a-f]{64}$/.test(id))) return document;
  } catch {
    // Said below.
  }
  throw invalid('invalid image config', { code: 'bad-image' });
}

async function commit(catalog: Catalog, { ref, target }: PullContext) {
  const { digest, manifest, index, document } = target!;
  const before = catalog.find(canonical(ref))?.id;
  const image = await catalog.add({
    configDigest: document.config.digest,
    manifest,
    ...(index ? { index } : {}),
    blobs: document.layers,
  });
  if (!ref.digest) await catalog.tag(image.id, canonical(ref), 'came');
  await catalog.addDigest(image.id, repositoryName(ref), digest);
  return { image: catalog.get(image.id), updated: before !== image.id };
}

/** The chart of a layer with its effects. */
export function layerLogic({ downloads, layers }: PullDeps): typeof layerMachine {
  /** Waits for a part of the transfer, and leaves it when the pull ends before. */
  const until = (part: 'downloaded' | 'committed') =>
    effect<void, LayerContext>(OPEN_ENDED, async ({ input, signal }) => {
      const download = input.download!;
      signal.addEventListener('abort', download.leave, { once: true });
      await download[part].catch((error: unknown) => {
        throw transferError(error);
      });
      signal.removeEventListener('abort', download.leave);
    });
  return layerMachine.provide({
    actors: {
      look: effect<boolean, LayerContext>(LOOK_MS, async ({ input: { lease, blob, diffId } }) => {
        lease.add(diffId);
        lease.add(blob.digest);
        return layers.has(diffId);
      }),
      queue: effect(OPEN_ENDED, async ({ input: { blob, session, feed, id }, signal }) => {
        const download = downloads.join(session, blob, {
          waits: () => feed.say(update(id, 'Waiting')),
          progress: (current) => feed.figures(id, 'Downloading', current, blob.size),
          retry: (delay) => feed.say(update(id, `Retrying in ${Math.max(1, Math.ceil(delay / 1000))} seconds`)),
        });
        signal.addEventListener('abort', download.leave, { once: true });
        await download.started.catch((error: unknown) => {
          throw transferError(error);
        });
        signal.removeEventListener('abort', download.leave);
        return download;
      }),
      download: until('downloaded'),
      verify: until('committed'),
      extract: effect<void, LayerContext>(OPEN_ENDED, ({ input: { blob, diffId, feed, id }, signal }) =>
        layers.unpack({
          blob,
          diffId,
          signal,
          onProgress: (current, total) => feed.figures(id, 'Extracting', current, total),
        }),
      ),
    },
  });
}
