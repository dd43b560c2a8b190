/**
 * `--cache-from`: images that were built elsewhere serve as cache. One that carries the keys of its layers (an inline cache)
 * fits a step by its key; any other fits when its layers and its history go on from exactly what has been built so far with
 * the very same instruction.
 */
import type { HistoryEntry, Image, ImageConfigDocument } from '../image/port.ts';
import type { StageState } from './state.ts';
import type { Style } from './types.ts';

/** Beside the image's configuration: the cache key of each layer, '' for those of the base. */
export const INLINE_CACHE = 'reactord.cache.v0';

export type WithInlineCache<T> = T & { [INLINE_CACHE]?: string[] };

const sameWords = (a: HistoryEntry, b: HistoryEntry): boolean =>
  a.created_by === b.created_by && !!a.empty_layer === !!b.empty_layer;

export interface Remembered {
  layer: string;
  created: string;
}

export class CacheImages {
  #style: Style;
  #sources: Image[] = [];

  constructor(style: Style) {
    this.#style = style;
  }

  add(image: Image): void {
    this.#sources.push(image);
  }

  /** The layer an image has for this step, with the time it was made. */
  layerFor(state: StageState, step: { key: string; createdBy: string }): Remembered | undefined {
    for (const { config } of this.#sources) {
      const { diff_ids: diffIds } = config.rootfs;
      if (!state.layers.every((layer, i) => diffIds[i] === layer)) continue;
      const found = byKey(config, state, step.key) ?? this.#byHistory(config, state, step.createdBy);
      if (found) return found;
    }
    return undefined;
  }

  /** What was copied is told by its content in classic history only. */
  #byHistory(
    { history = [], rootfs }: ImageConfigDocument,
    state: StageState,
    createdBy: string,
  ): Remembered | undefined {
    if (this.#style === 'buildkit' && /^(COPY|ADD) /.test(createdBy)) return undefined;
    const next = history[state.history.length];
    if (!next || next.empty_layer || next.created_by !== createdBy) return undefined;
    if (!state.history.every((entry, i) => sameWords(entry, history[i]!))) return undefined;
    return remembered(rootfs.diff_ids[state.layers.length], next.created);
  }
}

function byKey(config: WithInlineCache<ImageConfigDocument>, state: StageState, key: string): Remembered | undefined {
  const keys = config[INLINE_CACHE];
  const at = state.layers.length;
  if (!Array.isArray(keys) || keys[at] !== key) return undefined;
  const entries = (config.history ?? []).filter((entry) => !entry.empty_layer);
  return remembered(config.rootfs.diff_ids[at], entries[at]?.created);
}

const remembered = (layer: string | undefined, created = new Date(0).toISOString()): Remembered | undefined =>
  layer === undefined ? undefined : { layer, created };
