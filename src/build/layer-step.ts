/** Steps that make layers: from the cache where they can be, else made and remembered. */
import type { ImageRunConfig } from '../image/port.ts';
import { digestOf } from './cache.ts';
import type { Instruction } from './dockerfile/instructions.ts';
import { storeImage, unlessEmpty } from './layer.ts';
import type { StageRun } from './stage.ts';
import { advance, type StageState } from './state.ts';

/** What a step that makes a layer is known by, and how to make it. */
export interface LayerStep {
  /** Digest of everything it depends on beside the state before. */
  key: string;
  config: ImageRunConfig;
  createdBy: string;
  /** Files taken, for the explanation of a miss. */
  files?: Record<string, string>;
  /** Makes the layer and hands its tar to `store`; undefined when nothing changed. */
  make: (store: (tar: AsyncIterable<Uint8Array> | undefined) => Promise<void>) => Promise<void>;
}

/** A step that may make a layer: found in the cache, in an image given as one, or made. */
export async function layerStep(stage: StageRun, step: Instruction, plan: LayerStep): Promise<void> {
  const { cache } = stage.build.deps;
  const key = stage.keyOf(step, plan.key);
  // The same instruction of the same stage over the same base: what its last run is compared with.
  const { name, index, from } = stage.node.stage;
  const slot = digestOf([step.kind, name ?? index, from.original, step.original]);
  const found = stage.useCache ? (cached(stage, key) ?? elsewhere(stage, plan, key)) : undefined;
  if (found) return take(stage, step, plan, key, slot, found);
  const why = stage.useCache ? cache.explain(slot, plan.files, stage.state.cached) : 'the cache is not used';
  tell(stage, false, `${step.kind.toUpperCase()}: ${why}`);
  await plan.make((tar) => store(stage, step, plan, key, slot, tar));
}

async function store(
  stage: StageRun,
  step: Instruction,
  plan: LayerStep,
  key: string,
  slot: string,
  made: AsyncIterable<Uint8Array> | undefined,
): Promise<void> {
  const { build, state: base } = stage;
  const created = build.now();
  const tar = made && (await unlessEmpty(made));
  const next = (layer: string | undefined): StageState => advanced(stage, plan, key, layer, created, false);
  // The layer's digest is known only when it is stored; the history already counts it.
  const draft = { ...next(tar && 'new'), layers: base.layers, created };
  const image = await storeImage(build.layers, draft, { ...kept(stage), tar, epoch: build.epoch });
  const layer = tar && image.config.rootfs.diff_ids.at(-1);
  const below = base.imageId ? build.deps.images.get(base.imageId).size : 0;
  build.deps.cache.add(key, {
      description: step.original, size: Math.max(0, layer ? image.size - below : 0), parent: base.key,
      images: { [build.request.style]: image.id }, diffId: layer ?? '', created, slot,
    }, plan.files); // prettier-ignore
  stage.state = { ...next(layer), created, imageId: idOf(stage, image.id, image.config.rootfs.diff_ids) };
}

/** The classic builder's images are a chain that people see; BuildKit's steps are nobody's images. */
function kept(stage: StageRun): { parent?: string; cache?: boolean } {
  return stage.build.request.style === 'classic' ? { parent: stage.state.imageId } : { cache: true };
}

function advanced(
  stage: StageRun,
  plan: LayerStep,
  key: string,
  layer: string | undefined,
  created: string,
  cached: boolean,
): StageState {
  const { style } = stage.build.request;
  const after = digestOf([key, layer ?? '']);
  return advance(stage.state, {
    key: after,
    config: plan.config,
    layer,
    layerKey: key,
    created,
    createdBy: plan.createdBy,
    cached,
    style,
  });
}

/** Without layers there is nothing to mount; the classic builder names its images all the same. */
function idOf(stage: StageRun, id: string, layers: readonly string[]): string | undefined {
  return layers.length || stage.build.request.style === 'classic' ? id : undefined;
}

function tell(stage: StageRun, hit: boolean, why?: string): void {
  const { build, vertex } = stage;
  build.emit({ type: 'cache', vertex, hit, why });
  build.deps.bus.publish({
    topic: 'effect',
    type: 'build',
    action: hit ? 'cached' : 'step',
    id: build.id,
    data: {
      vertex: vertex.id,
      stage: vertex.stage,
      step: vertex.label,
      inputs: vertex.inputs,
      ...(why ? { why } : {}),
    },
  });
}

function cached(stage: StageRun, key: string): Found | undefined {
  const found = stage.build.deps.cache.find(key);
  if (!found) return undefined;
  const { diffId, created, size, images = {} } = found.record;
  return { layer: diffId || undefined, created: created!, size, images };
}

/** A layer of an image given by --cache-from. */
function elsewhere(stage: StageRun, plan: LayerStep, key: string): Found | undefined {
  const found = stage.build.cacheImages.layerFor(stage.state, { key, createdBy: plan.createdBy });
  return found && { ...found, size: 0, images: {} };
}

async function take(
  stage: StageRun,
  step: Instruction,
  plan: LayerStep,
  key: string,
  slot: string,
  found: Found,
): Promise<void> {
  const { style } = stage.build.request;
  const { cache, images } = stage.build.deps;
  const next = advanced(stage, plan, key, found.layer, found.created, true);
  let imageId = found.images[style];
  if (imageId && images.find(imageId)) cache.touch(key, cache.get(key)!);
  else {
    const image = await storeImage(stage.build.layers, { ...next, created: found.created }, kept(stage));
    imageId = image.id;
    cache.add(key, {
        description: step.original, size: found.size, parent: stage.state.key, images: { ...found.images, [style]: imageId },
        diffId: found.layer ?? '', created: found.created, slot,
      }, plan.files); // prettier-ignore
  }
  tell(stage, true);
  stage.state = { ...next, imageId: idOf(stage, imageId, next.layers) };
}

/** A layer that need not be made again. */
interface Found {
  layer: string | undefined;
  created: string;
  size: number;
  /** By style. */
  images: Record<string, string>;
}
