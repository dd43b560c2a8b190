/**
 * `--cache-from`: images that were built elsewhere serve as cache. An image fits a step when its layers and its history
 * go on from exactly what has been built so far with the very same instruction.
 */
import type { HistoryEntry, Image, ImageStore } from '../image/port.ts';
import type { StageState } from './state.ts';
import type { Style } from './types.ts';

const sameWords = (a: HistoryEntry, b: HistoryEntry): boolean =>
  a.created_by === b.created_by && !!a.empty_layer === !!b.empty_layer;

export class CacheImages {
  #images: ImageStore;
  #style: Style;
  #sources: Image[] = [];

  constructor(images: ImageStore, style: Style) {
    this.#images = images;
    this.#style = style;
  }

  add(image: Image): void {
    this.#sources.push(image);
  }

  get active(): boolean {
    return this.#sources.length > 0;
  }

  has(id: string): boolean {
    return this.#sources.some((image) => image.id === id && this.#images.find(id));
  }

  /** The layer an image has for this step, with the time it was made. Copies are told apart by content only in classic history. */
  layerFor(state: StageState, createdBy: string): { layer: string; created: string } | undefined {
    if (this.#style === 'buildkit' && /^(COPY|ADD) /.test(createdBy)) return undefined;
    for (const { config } of this.#sources) {
      const history = config.history ?? [];
      const at = state.history.length;
      const next = history[at];
      const diffIds = config.rootfs.diff_ids;
      if (!next || next.empty_layer || next.created_by !== createdBy) continue;
      if (!state.layers.every((layer, i) => diffIds[i] === layer)) continue;
      if (!state.history.every((entry, i) => sameWords(entry, history[i]!))) continue;
      const layer = diffIds[state.layers.length];
      if (layer) return { layer, created: next.created ?? new Date(0).toISOString() };
    }
    return undefined;
  }
}
