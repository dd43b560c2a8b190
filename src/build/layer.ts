/** Making layers: changes to a prepared root file system, or to an empty directory when there is nothing below. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { internal } from '../errors.ts';
import type { Image, ImageStore, RootfsStore } from '../image/port.ts';
import { newId } from '../lib/ids.ts';
import { clampTimes } from './clamp.ts';
import { documentOf, type StageState } from './state.ts';
import type { Workspace } from './workspace.ts';

export interface LayerDeps {
  images: ImageStore;
  rootfs: RootfsStore;
  workspace: Workspace;
}

/** A directory as an uncompressed layer tar, in a fixed order. */
export async function* packDirectory(directory: string, signal: AbortSignal): AsyncIterable<Uint8Array> {
  const args = [
    '--create',
    '--file=-',
    '--numeric-owner',
    '--sort=name',
    '--format=posix',
    '--xattrs',
    '--pax-option=delete=atime,delete=ctime',
  ];
  const tar = spawn('tar', [...args, `--directory=${directory}`, '.'], { stdio: ['ignore', 'pipe', 'pipe'], signal });
  let words = '';
  tar.stderr.on('data', (chunk: Buffer) => (words = (words + chunk.toString('utf8')).slice(-2000)));
  const ended = new Promise<number | null>((resolve, reject) => {
    tar.once('error', reject);
    tar.once('close', resolve);
  });
  ended.catch(() => {});
  try {
    yield* tar.stdout as AsyncIterable<Uint8Array>;
    const code = await ended;
    if (code !== 0) throw internal(`tar: ${words.trim() || `ended with ${code}`}`);
  } finally {
    tar.kill('SIGKILL');
  }
}

/** The same tar, or undefined when it has no entry: it begins with the zeros of its end. */
export async function unlessEmpty(tar: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array> | undefined> {
  const iterator = tar[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done || first.value[0] === 0) {
    await iterator.return?.();
    return undefined;
  }
  return (async function* () {
    try {
      yield first.value;
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  })();
}

/** A writable root over a state, for as long as `work` runs. */
export async function withRoot<T>(
  deps: LayerDeps,
  state: StageState,
  work: (root: string, id: string | undefined) => Promise<T>,
): Promise<T> {
  if (!state.imageId) {
    const root = await mkdtemp(join(deps.workspace.directory, 'root-'));
    try {
      return await work(root, undefined);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  }
  const id = newId();
  try {
    await deps.rootfs.prepare(id, state.imageId, { bare: true });
    return await deps.rootfs.withMounted(id, (root) => work(root, id));
  } finally {
    await deps.rootfs.remove(id);
  }
}

/**
 * Lets `change` work on the files of a state and answers the layer it made, or undefined when it says that nothing changed.
 * `store` gets the layer's tar while the root still exists.
 */
export async function changeRoot<T>(
  deps: LayerDeps,
  state: StageState,
  change: (root: string) => Promise<boolean>,
  store: (tar: AsyncIterable<Uint8Array> | undefined) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  if (!state.imageId)
    return withRoot(deps, state, async (root) => store((await change(root)) ? packDirectory(root, signal) : undefined));
  const id = newId();
  try {
    await deps.rootfs.prepare(id, state.imageId, { bare: true });
    const changed = await deps.rootfs.withMounted(id, change);
    return await store(changed ? deps.rootfs.diff(id) : undefined);
  } finally {
    await deps.rootfs.remove(id);
  }
}

/** Stores a state as an image; `tar` becomes its topmost layer. */
export async function storeImage(
  deps: LayerDeps,
  state: StageState,
  options: { parent?: string; cache?: boolean; tar?: AsyncIterable<Uint8Array>; epoch?: number; inlineCache?: boolean },
): Promise<Image> {
  const { tar, epoch } = options;
  const layer = tar && epoch !== undefined ? clampTimes(tar, epoch) : tar;
  return deps.images.create({
    parent: options.parent,
    cache: options.cache,
    layers: layer ? [...state.layers, layer] : state.layers,
    config: documentOf(state, options),
  });
}

/** Makes the result of a build an image that is listed and may have names. */
export async function publishImage(images: ImageStore, { config }: Image): Promise<Image> {
  const { rootfs, ...document } = config;
  return images.create({ layers: rootfs.diff_ids, config: document });
}
