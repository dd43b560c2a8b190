/** `docker image prune`: deletes what nobody names or, with dangling=false, what no container uses. */
import type { Filters } from '../api/filters.ts';
import { DaemonError } from '../errors.ts';
import { type DeleteRecord, removeImage } from './delete.ts';
import { createdBefore, danglingFilter, labelsMatch, untilFilter } from './filters.ts';
import type { ImageServices } from './services.ts';
import { chainIds } from './catalog/record.ts';

export const PRUNE_FILTERS = ['dangling', 'label', 'label!', 'until'] as const;

export interface PruneReport {
  ImagesDeleted: DeleteRecord[] | null;
  SpaceReclaimed: number;
}

export async function pruneImages(services: ImageServices, filters: Filters): Promise<PruneReport> {
  const { catalog, layers, bus } = services;
  const danglingOnly = danglingFilter(filters) ?? true;
  const until = untilFilter(filters, services.clock.now());
  const sizes = new Map<string, number>();
  const chosen = catalog.list().filter((image) => {
    const { diff_ids: diffIds } = image.config.rootfs;
    chainIds(diffIds).forEach((chain, i) => sizes.set(chain, layers.record(diffIds[i]!).size));
    const children = catalog.childrenOf(image.id).length > 0;
    const named = image.repoTags.length + image.repoDigests.length > 0;
    if ((children || image.cache) && (danglingOnly || !named)) return false;
    return createdBefore(image, until) && labelsMatch(image, filters);
  });
  const deleted: DeleteRecord[] = [];
  for (const image of chosen) {
    if (danglingOnly && image.repoTags.length) continue;
    const names = [...image.repoTags, ...image.repoDigests];
    for (const name of names.length ? names : [image.id]) deleted.push(...removeUnlessNeeded(services, name));
  }
  await services.store.durable();
  await catalog.collect();
  await services.content.sweepIngest(services.clock.now(), true);
  const reclaimed = deleted.reduce((sum, entry) => sum + ('Deleted' in entry ? (sizes.get(entry.Deleted) ?? 0) : 0), 0);
  bus.publish({ topic: 'event', type: 'image', action: 'prune', id: '', attributes: { reclaimed: String(reclaimed) } });
  return { ImagesDeleted: deleted.length ? deleted : null, SpaceReclaimed: reclaimed };
}

function removeUnlessNeeded(services: ImageServices, name: string): DeleteRecord[] {
  try {
    return removeImage(services, name, { force: false, prune: true });
  } catch (error) {
    // A digest goes with its last tag; an image in use stays.
    if (error instanceof DaemonError && (error.kind === 'conflict' || error.kind === 'notFound')) return [];
    throw error;
  }
}
