/** An image as GET /images/{name}/json and /history show it. Pure but for sizes and paths of layers. */
import { ZERO_TIME } from '../lib/clock.ts';
import type { ImageCatalog } from './catalog/catalog.ts';
import type { OverlayLayers } from './layers/layers.ts';
import type { Image, ImageRunConfig } from './port.ts';
import { familiar, parseReference } from './reference.ts';

interface Stores {
  catalog: ImageCatalog;
  layers: OverlayLayers;
}

/** Fields of a container's configuration that old clients read from an image; they never mean anything there. */
const LEGACY_CONFIG = {
  Hostname: '',
  Domainname: '',
  AttachStdin: false,
  AttachStdout: false,
  AttachStderr: false,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
  Image: '',
};

const configView = (config: ImageRunConfig, legacy: boolean): object => ({
  ...(legacy ? LEGACY_CONFIG : {}),
  User: '',
  Env: null,
  Cmd: null,
  Volumes: null,
  WorkingDir: '',
  Entrypoint: null,
  OnBuild: null,
  Labels: null,
  ...config,
});

/** `version` decides on fields that came and went: atLeast('1.44') and so on. */
export function inspectImage({ catalog, layers }: Stores, image: Image, atLeast: (version: string) => boolean): object {
  const { manifest, ownManifest, taggedAt } = catalog.record(image.id);
  const { config } = image;
  const [top, ...below] = [...config.rootfs.diff_ids].reverse().map((diffId) => layers.path(diffId));
  const own = top?.replace(/\/diff$/, '');
  const data: Record<string, string> = own
    ? {
        ...(below.length ? { LowerDir: below.join(':') } : {}),
        MergedDir: `${own}/merged`,
        UpperDir: `${own}/diff`,
        WorkDir: `${own}/work`,
      }
    : {};
  const { mediaType, digest, size } = manifest;
  return {
    Id: image.id,
    RepoTags: image.repoTags,
    RepoDigests: image.repoDigests,
    Parent: image.parent ?? '',
    Comment: config.history?.at(-1)?.comment ?? '',
    Created: config.created ?? ZERO_TIME,
    ...(atLeast('1.45')
      ? {}
      : { Container: '', ContainerConfig: { ...LEGACY_CONFIG, Cmd: null, Env: null, Labels: null } }),
    DockerVersion: '',
    Author: config.author ?? '',
    Config: configView(config.config, !atLeast('1.50')),
    Architecture: config.architecture,
    ...(config.variant ? { Variant: config.variant } : {}),
    Os: config.os,
    Size: image.size,
    ...(atLeast('1.44') ? {} : { VirtualSize: image.size }),
    GraphDriver: { Data: data, Name: 'overlay2' },
    RootFS: { Type: 'layers', Layers: config.rootfs.diff_ids },
    Metadata: { LastTagTime: taggedAt ? new Date(taggedAt).toISOString() : ZERO_TIME },
    ...(atLeast('1.48') && !ownManifest ? { Descriptor: { mediaType, digest, size } } : {}),
  };
}

export interface HistoryItem {
  Comment: string;
  Created: number;
  CreatedBy: string;
  Id: string;
  Size: number;
  Tags: string[] | null;
}

/** Newest first. Only images made here know the ids of their parents. */
export function imageHistory({ catalog, layers }: Stores, image: Image): HistoryItem[] {
  const diffIds = [...image.config.rootfs.diff_ids];
  const items = (image.config.history ?? []).map((entry): HistoryItem => {
    const diffId = entry.empty_layer ? undefined : diffIds.shift();
    return {
      Comment: entry.comment ?? '',
      Created: Math.floor((Date.parse(entry.created ?? '') || 0) / 1000),
      CreatedBy: entry.created_by ?? '',
      Id: '<missing>',
      Size: diffId ? layers.record(diffId).size : 0,
      Tags: null,
    };
  });
  items.reverse();
  let of: Image | undefined = image;
  for (const item of items) {
    if (!of) break;
    const tags = catalog.tagsOf(of.id).map((tag) => familiar(parseReference(tag)));
    item.Id = of.id;
    item.Tags = tags.length ? tags : null;
    of = of.parent ? catalog.find(of.parent) : undefined;
  }
  return items;
}
