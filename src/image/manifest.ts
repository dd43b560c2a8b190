/**
 * Manifests and indexes (OCI image-spec, Docker schema 2 and manifest list) read strictly: the media type decides what
 * a document is, and one that could be read as both kinds is refused (CVE-2021-41190). Pure.
 */
import { invalid, notFound } from '../errors.ts';
import { own } from '../lib/own.ts';
import { checkDigest } from './reference.ts';
import type { Descriptor } from './store-port.ts';

export const MEDIA = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
} as const;

/** What is accepted of a registry, as an Accept header. */
export const ACCEPT_MANIFESTS = [MEDIA.dockerManifest, MEDIA.dockerList, MEDIA.ociIndex, MEDIA.ociManifest].join(', ');

const INDEXES: readonly string[] = [MEDIA.ociIndex, MEDIA.dockerList];
const MANIFESTS: readonly string[] = [MEDIA.ociManifest, MEDIA.dockerManifest];
const CONFIGS: readonly string[] = [MEDIA.ociConfig, MEDIA.dockerConfig];
const SCHEMA_1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/;
const LAYER =
  /^application\/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:[.+]gzip|[.+]zstd)?)$/;

/** Layers that their makers let nobody pass on: registries have only where to get them. */
export const isForeign = (mediaType: string): boolean => /\.(?:foreign\.diff|nondistributable\.v1)\./.test(mediaType);

export interface ImageManifest {
  kind: 'image';
  mediaType: string;
  config: Descriptor;
  layers: Descriptor[];
}

export interface ImageIndex {
  kind: 'index';
  mediaType: string;
  manifests: Descriptor[];
}

export interface Platform {
  os: string;
  architecture: string;
  variant?: string;
}

const MAX_LAYERS = 512;
const MAX_ENTRIES = 4096;

const broken = (why: string): Error => invalid(`invalid manifest: ${why}`, { code: 'manifest' });

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isPlatform = (value: unknown): value is NonNullable<Descriptor['platform']> =>
  isRecord(value) &&
  typeof value.os === 'string' &&
  typeof value.architecture === 'string' &&
  (value.variant === undefined || typeof value.variant === 'string');

const textsOf = (record: Record<string, unknown>): Record<string, string> =>
  Object.fromEntries(Object.entries(record).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));

function descriptorOf(value: unknown, what: string): Descriptor {
  if (!isRecord(value)) throw broken(`${what} is not a descriptor`);
  const { mediaType, digest, size, platform, urls, annotations } = value;
  if (typeof digest !== 'string' || typeof mediaType !== 'string') throw broken(`${what} has no digest or media type`);
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw broken(`${what} has no valid size`);
  checkDigest(digest);
  if (!digest.startsWith('sha256:')) throw broken(`${what}: only sha256 digests are supported`);
  return {
    mediaType,
    digest,
    size: size as number,
    ...(isPlatform(platform) ? { platform } : {}),
    ...(isRecord(annotations) ? { annotations: textsOf(annotations) } : {}),
    ...(Array.isArray(urls) ? { urls: urls.filter((url): url is string => typeof url === 'string') } : {}),
  };
}

const listOf = (value: unknown, what: string, most: number): Descriptor[] => {
  if (!Array.isArray(value)) throw broken(`${what} is not a list`);
  if (value.length > most) throw broken(`more than ${most} ${what}`);
  return value.map((entry, position) => descriptorOf(entry, `${what}[${position}]`));
};

/** The media type of a document: what it says itself and what came with it must agree; one of the two must be there. */
function mediaTypeOf(document: Record<string, unknown>, received: string | undefined): string {
  const header = received?.split(';')[0]!.trim().toLowerCase();
  const own = document.mediaType;
  if (own !== undefined && typeof own !== 'string') throw broken('mediaType is not a string');
  const known = header && (INDEXES.includes(header) || MANIFESTS.includes(header) || SCHEMA_1.test(header));
  if (known && own && own !== header) throw broken(`media type in manifest should be '${header}' not '${own}'`);
  if (known) return header;
  if (own) return own;
  return document.manifests !== undefined ? MEDIA.ociIndex : MEDIA.ociManifest;
}

/** Reads a manifest or an index. `received` is the media type it came with (Content-Type, or its descriptor's). */
export function parseManifest(bytes: Uint8Array, received?: string): ImageManifest | ImageIndex {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw broken('not JSON');
  }
  if (!isRecord(document)) throw broken('not an object');
  const mediaType = mediaTypeOf(document, received);
  if (SCHEMA_1.test(mediaType) || document.schemaVersion === 1)
    throw invalid(
      'Docker Image manifest version 2, schema 1 is not supported; the image must be pushed again as schema 2 or OCI',
      { code: 'schema-1' },
    );
  if (document.schemaVersion !== 2) throw broken('schemaVersion is not 2');
  const asImage = 'layers' in document || 'config' in document || 'fsLayers' in document;
  const asIndex = 'manifests' in document;
  if (INDEXES.includes(mediaType)) {
    if (asImage) throw broken('expected index but found "layers" or "config"');
    return { kind: 'index', mediaType, manifests: listOf(document.manifests, 'manifests', MAX_ENTRIES) };
  }
  if (!MANIFESTS.includes(mediaType)) throw invalid(`unsupported media type ${mediaType}`, { code: 'manifest' });
  if (asIndex || 'fsLayers' in document) throw broken('expected manifest but found "manifests" or "fsLayers"');
  const config = descriptorOf(document.config, 'config');
  return { kind: 'image', mediaType, config, layers: listOf(document.layers, 'layers', MAX_LAYERS) };
}

/** Manifests are also made over what is no container image: charts, signatures, models. */
export const isImage = ({ config }: ImageManifest): boolean => CONFIGS.includes(config.mediaType);

export function checkIsImage({ config, layers }: ImageManifest): void {
  if (!CONFIGS.includes(config.mediaType))
    throw invalid(`unsupported media type ${config.mediaType}: not a container image`, { code: 'not-an-image' });
  const odd = layers.find((layer) => !LAYER.test(layer.mediaType));
  if (odd) throw invalid(`unsupported media type ${odd.mediaType} of layer ${odd.digest}`, { code: 'manifest' });
}

const ARCHITECTURES: Readonly<Record<string, [string, string?]>> = {
  i386: ['386'],
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  aarch64: ['arm64'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
};

/** One spelling for each platform: names of kernels become Go's, and default variants (amd64 v1, arm64 v8) go. */
export function normalizePlatform(platform: Platform): Platform {
  const [architecture, implied] = own(ARCHITECTURES, platform.architecture.toLowerCase()) ?? [
    platform.architecture.toLowerCase(),
  ];
  let variant = (platform.variant || implied || '').toLowerCase();
  if (/^\d$/.test(variant)) variant = `v${variant}`;
  if (architecture === 'arm' && variant === '') variant = 'v7';
  if ((architecture === 'amd64' && variant === 'v1') || (architecture === 'arm64' && variant === 'v8')) variant = '';
  return { os: platform.os.toLowerCase(), architecture, ...(variant ? { variant } : {}) };
}

const PLATFORM_PART = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;
const SYSTEMS = ['linux', 'windows', 'darwin', 'freebsd', 'wasi'];

/** "os/arch[/variant]", "arch" or "os". Throws `invalid`. */
export function parsePlatform(text: string, host: Platform): Platform {
  const parts = text.split('/');
  const odd = parts.find((part) => !PLATFORM_PART.test(part));
  if (odd !== undefined)
    throw invalid(
      `"${odd}" is an invalid component of "${text}": platform specifier component must match "${PLATFORM_PART.source}": invalid argument`,
    );
  if (parts.length > 3) throw invalid(`"${text}": cannot parse platform specifier: invalid argument`);
  const [first, second, variant] = parts as [string, string?, string?];
  if (second !== undefined) return normalizePlatform({ os: first, architecture: second, variant });
  if (SYSTEMS.includes(first.toLowerCase())) return normalizePlatform({ ...host, os: first });
  const { architecture, variant: implied } = normalizePlatform({ os: 'linux', architecture: first });
  return { os: host.os, architecture, ...(implied ? { variant: implied } : {}) };
}

export const platformText = (platform: Platform): string =>
  [platform.os, platform.architecture, platform.variant].filter(Boolean).join('/');

const NODE_ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' };

/** The platform of a machine, from Node's name of its processor. */
export const platformOfHost = (arch: string): Platform =>
  normalizePlatform({ os: 'linux', architecture: NODE_ARCHITECTURES[arch] ?? arch });

/** No variant is beyond it; a client may name any. */
const NEWEST_VARIANT = 16;

const versions = (from: number, to: number): string[] => {
  const first = Math.min(from, NEWEST_VARIANT);
  return Array.from({ length: Math.max(0, first - to + 1) || 0 }, (_, position) => `v${first - position}`);
};

/** All platforms this one runs, best first: older variants, and 32 bits on 64. */
function runnable(wanted: Platform): Platform[] {
  const { os, architecture, variant } = normalizePlatform(wanted);
  const arm = (from: number): Platform[] => versions(from, 5).map((v) => ({ os, architecture: 'arm', variant: v }));
  if (architecture === 'amd64') {
    const level = Number(variant?.slice(1) ?? 1);
    const older = level > 1 ? versions(level, 2).map((v) => ({ os, architecture, variant: v })) : [];
    return [...older, { os, architecture }, { os, architecture: '386' }];
  }
  if (architecture === 'arm64')
    return [...(variant ? [{ os, architecture, variant }] : []), { os, architecture }, ...arm(8)];
  if (architecture === 'arm') return arm(Number(variant?.slice(1) ?? 7));
  return [{ os, architecture, ...(variant ? { variant } : {}) }];
}

/** Whether an image of platform `of` runs where `wanted` is asked for. */
export const platformMatches = (wanted: Platform, of: Platform): boolean => {
  const text = platformText(normalizePlatform(of));
  return runnable(wanted).some((platform) => platformText(platform) === text);
};

/** The manifest of an index for a platform; attestations (platform unknown/unknown) never match. Throws `notFound`. */
export function choosePlatform(index: ImageIndex, wanted: Platform): Descriptor {
  const images = index.manifests.filter(
    (entry) => MANIFESTS.includes(entry.mediaType) || INDEXES.includes(entry.mediaType),
  );
  for (const platform of runnable(wanted)) {
    const text = platformText(platform);
    const found = images.find((entry) => entry.platform && platformText(normalizePlatform(entry.platform)) === text);
    if (found) return found;
  }
  const only = images.length === 1 && !images[0]!.platform ? images[0] : undefined;
  if (only) return only;
  throw notFound(`no matching manifest for ${platformText(wanted)} in the manifest list entries`, { code: 'platform' });
}
