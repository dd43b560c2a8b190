/** GET /images/json and the images' part of /system/df. */
import type { Filters } from '../api/filters.ts';
import { chainIds } from './catalog/record.ts';
import { createdBefore, createdOf, danglingFilter, labelsMatch, matchesReference, untilFilter } from './filters.ts';
import type { Image } from './port.ts';
import { familiar, parseReference } from './reference.ts';
import type { ImageServices } from './services.ts';

export const LIST_FILTERS = ['dangling', 'label', 'before', 'since', 'reference', 'until'] as const;

export interface ImageSummary {
  Containers: number;
  Created: number;
  Id: string;
  Labels: Record<string, string> | null;
  ParentId: string;
  /** Null in /system/df where there is none. */
  RepoDigests: string[] | null;
  RepoTags: string[] | null;
  SharedSize: number;
  Size: number;
}

interface ListOptions {
  all: boolean;
  filters: Filters;
  sharedSize?: boolean;
  containers?: boolean;
}

export function listImages(services: ImageServices, options: ListOptions): ImageSummary[] {
  const { catalog, users } = services;
  const { filters } = options;
  const chosen = catalog.list().filter((image) => matches(services, image, filters));
  const shared = options.sharedSize ? sharedSizes(services) : undefined;
  const summaries = chosen.flatMap((image) => {
    const names = namesOf(services, image, options);
    return names ? [summaryOf(image, names)] : [];
  });
  for (const summary of summaries) {
    if (shared) summary.SharedSize = shared(summary.Id);
    if (options.containers) summary.Containers = users.using(summary.Id).length;
  }
  return summaries.sort((a, b) => b.Created - a.Created);
}

function matches(services: ImageServices, image: Image, filters: Filters): boolean {
  const { catalog, clock } = services;
  const created = createdOf(image) ?? 0;
  const timeOf = (name: string): number => createdOf(catalog.get(name)) ?? 0;
  if ((filters.get('before') ?? []).some((name) => created >= timeOf(name))) return false;
  if ((filters.get('since') ?? []).some((name) => created <= timeOf(name))) return false;
  if (danglingFilter(filters) && (image.cache || catalog.childrenOf(image.id).length)) return false;
  return createdBefore(image, untilFilter(filters, clock.now())) && labelsMatch(image, filters);
}

/** The names to show, or undefined when the image is not shown at all. */
function namesOf(
  { catalog }: ImageServices,
  image: Image,
  { all, filters }: ListOptions,
): { tags: string[]; digests: string[] } | undefined {
  const patterns = filters.get('reference');
  const dangling = danglingFilter(filters);
  const shown = (references: readonly string[]): string[] =>
    references
      .map((reference) => parseReference(reference))
      .filter((reference) => !patterns?.length || matchesReference(patterns, reference))
      .map(familiar);
  const tags = shown(catalog.tagsOf(image.id));
  const digests = shown(catalog.digestsOf(image.id));
  if (dangling && tags.length) return undefined;
  if (tags.length || digests.length) return { tags, digests };
  const intermediate = image.cache || catalog.childrenOf(image.id).length > 0;
  if ((intermediate && !all) || patterns?.length || dangling === false) return undefined;
  return { tags, digests };
}

function summaryOf(image: Image, names: { tags: string[]; digests: string[] }): ImageSummary {
  return {
    Containers: -1,
    Created: Math.floor((createdOf(image) ?? 0) / 1000),
    Id: image.id,
    Labels: image.config.config.Labels ?? null,
    ParentId: image.parent ?? '',
    RepoDigests: names.digests,
    RepoTags: names.tags,
    SharedSize: -1,
    Size: image.size,
  };
}

/** Bytes of an image's layers that another image has too. */
function sharedSizes({ catalog, layers }: ImageServices): (id: string) => number {
  const counts = new Map<string, number>();
  for (const { config } of catalog.list()) {
    for (const chain of chainIds(config.rootfs.diff_ids)) counts.set(chain, (counts.get(chain) ?? 0) + 1);
  }
  return (id) => {
    const { diff_ids: diffIds } = catalog.record(id).config.rootfs;
    const chains = chainIds(diffIds);
    return diffIds.reduce((sum, diffId, i) => sum + (counts.get(chains[i]!)! > 1 ? layers.record(diffId).size : 0), 0);
  };
}

/** For /system/df: all images with what they share, and the bytes of all layers. */
export function imageUsage(services: ImageServices): { images: ImageSummary[]; layersSize: number } {
  const layersSize = services.layers.all().reduce((sum, { record }) => sum + record.size, 0);
  const images = listImages(services, { all: false, filters: new Map(), sharedSize: true, containers: true });
  for (const image of images) {
    if (!image.RepoDigests?.length) image.RepoDigests = null;
    if (!image.RepoTags?.length) image.RepoTags = null;
  }
  return { images, layersSize };
}
