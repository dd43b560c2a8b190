/**
 * Small images for tests, made in memory from the machine's static busybox, and an uploader of its own that speaks the
 * distribution protocol: tests of our client must not depend on our client.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type Header as TarHeader, pack } from 'tar-stream';
import { Agent, type Dispatcher, request } from 'undici';
import type { ImageConfigDocument, ImageRunConfig } from '../../src/image/port.ts';
import type { Descriptor } from '../../src/image/store-port.ts';
import type { TestRegistry } from './registry.ts';

export type Compression = 'gzip' | 'zstd' | 'none';
export type Entry = Partial<Omit<TarHeader, 'size' | 'pax'>> & {
  name: string;
  content?: string | Buffer;
  pax?: Record<string, string>;
};

export interface ImageSpec {
  /** Tars in order. */
  layers: Buffer[];
  config?: ImageRunConfig;
  architecture?: string;
  variant?: string;
  /** How each layer is compressed; one for all, or one each. gzip unless told. */
  compression?: Compression | Compression[];
  format?: 'oci' | 'docker';
}

export interface BuiltImage {
  manifest: Descriptor;
  config: Descriptor;
  layers: Descriptor[];
  diffIds: string[];
  /** All documents and layers by digest. */
  blobs: Map<string, Buffer>;
}

export const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** An uncompressed tar of the entries. */
export async function tarOf(entries: readonly Entry[]): Promise<Buffer> {
  const tar = pack();
  for (const { content, ...header } of entries)
    tar.entry({ mtime: new Date(1_700_000_000_000), uid: 0, gid: 0, ...header } as TarHeader, content ?? '');
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const MEDIA = {
  oci: {
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    index: 'application/vnd.oci.image.index.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
    zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
    none: 'application/vnd.oci.image.layer.v1.tar',
  },
  docker: {
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    gzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
    zstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
    none: 'application/vnd.docker.image.rootfs.diff.tar',
  },
};

const compressors: Record<Compression, (tar: Buffer) => Buffer> = {
  gzip: (tar) => gzipSync(tar, { level: 1 }),
  zstd: (tar) => zstdCompressSync(tar),
  none: (tar) => tar,
};

const ARCHITECTURES: Record<string, string> = { x64: 'amd64', arm64: 'arm64' };
export const HOST_ARCHITECTURE = ARCHITECTURES[process.arch] ?? process.arch;

export function buildImage(spec: ImageSpec): BuiltImage {
  const layers = spec.layers.map((tar, position) => {
    const kind = (Array.isArray(spec.compression) ? spec.compression[position] : spec.compression) ?? 'gzip';
    return { blob: compressors[kind](tar), diffId: digestOf(tar), kind };
  });
  return imageOf(layers, spec);
}

/** The same of blobs that may be anything, and whose diff ids may lie. */
export function imageOf(
  given: readonly { blob: Buffer; diffId: string; kind?: Compression }[],
  spec: Omit<ImageSpec, 'layers' | 'compression'> = {},
): BuiltImage {
  const media = MEDIA[spec.format ?? 'oci'];
  const blobs = new Map<string, Buffer>();
  const keep = (mediaType: string, bytes: Buffer): Descriptor => {
    const digest = digestOf(bytes);
    blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const layers = given.map(({ blob, kind = 'gzip' }) => keep(media[kind], blob));
  const diffIds = given.map(({ diffId }) => diffId);
  const document: ImageConfigDocument = {
    architecture: spec.architecture ?? HOST_ARCHITECTURE,
    ...(spec.variant ? { variant: spec.variant } : {}),
    os: 'linux',
    created: '2024-01-02T03:04:05Z',
    config: { Cmd: ['sh'], Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], ...spec.config },
    rootfs: { type: 'layers', diff_ids: diffIds },
    history: diffIds.map((_, position) => ({ created: '2024-01-02T03:04:05Z', created_by: `layer ${position}` })),
  };
  const config = keep(media.config, Buffer.from(JSON.stringify(document)));
  const manifest = { schemaVersion: 2, mediaType: media.manifest, config, layers };
  return {
    manifest: keep(media.manifest, Buffer.from(JSON.stringify(manifest, null, 3))),
    config,
    layers,
    diffIds,
    blobs,
  };
}

const agents = new Map<string, Dispatcher>();

function agentOf({ ca = '', client }: TestRegistry): Dispatcher {
  const agent = agents.get(ca) ?? new Agent({ connect: { ca: ca || undefined, ...client }, keepAliveTimeout: 1000 });
  agents.set(ca, agent);
  return agent;
}

async function call(registry: TestRegistry, method: Dispatcher.HttpMethod, path: string, body?: Buffer, type?: string) {
  const answer = await request(new URL(path, registry.url), {
    method,
    dispatcher: agentOf(registry),
    body: body ?? null,
    headers: {
      ...(registry.authorization ? { authorization: registry.authorization } : {}),
      ...(type ? { 'content-type': type } : {}),
    },
  });
  const text = await answer.body.text();
  if (answer.statusCode >= 400) throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`);
  return answer;
}

const split = (reference: string): [repository: string, tagOrDigest: string] => {
  const [, repository, digest, tag] = /^([^:@]+)(?:@(.+)|:(.+))?$/.exec(reference) ?? [];
  return [repository!, digest ?? tag ?? 'latest'];
};

async function pushBlobs(registry: TestRegistry, repository: string, image: BuiltImage): Promise<void> {
  for (const { digest } of [image.config, ...image.layers]) {
    const begun = await call(registry, 'POST', `/v2/${repository}/blobs/uploads/`);
    const place = new URL(String(begun.headers.location), registry.url);
    place.searchParams.set('digest', digest);
    const path = `${place.pathname}${place.search}`;
    await call(registry, 'PUT', path, image.blobs.get(digest)!, 'application/octet-stream');
  }
}

/** Pushes an image as "name:tag". Its manifest is also there by digest. */
export async function pushImage(registry: TestRegistry, reference: string, image: BuiltImage): Promise<BuiltImage> {
  const [repository, tag] = split(reference);
  await pushBlobs(registry, repository, image);
  const { digest, mediaType } = image.manifest;
  await call(registry, 'PUT', `/v2/${repository}/manifests/${tag}`, image.blobs.get(digest)!, mediaType);
  return image;
}

/** Pushes an index over images, each with its platform. Returns the index' descriptor. */
export async function pushIndex(
  registry: TestRegistry,
  reference: string,
  images: readonly { image: BuiltImage; platform: NonNullable<Descriptor['platform']> }[],
  format: 'oci' | 'docker' = 'oci',
): Promise<Descriptor> {
  const [repository, tag] = split(reference);
  for (const { image } of images)
    await pushImage(registry, `${repository}:${image.manifest.digest.slice(7, 27)}`, image);
  const manifests = images.map(({ image, platform }) => ({ ...image.manifest, platform }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA[format].index, manifests }));
  await call(registry, 'PUT', `/v2/${repository}/manifests/${tag}`, bytes, MEDIA[format].index);
  return { mediaType: MEDIA[format].index, digest: digestOf(bytes), size: bytes.length };
}

/** The bytes of a blob as the registry has it now. */
export async function blobBytes(registry: TestRegistry, repository: string, digest: string): Promise<Buffer> {
  const answer = await request(new URL(`/v2/${repository}/blobs/${digest}`, registry.url), {
    dispatcher: agentOf(registry),
    headers: registry.authorization ? { authorization: registry.authorization } : {},
  });
  if (answer.statusCode !== 200) throw new Error(`blob ${digest} of ${repository}: ${answer.statusCode}`);
  return Buffer.from(await answer.body.arrayBuffer());
}

/** The bytes of a manifest as the registry has it now. */
export async function manifestBytes(registry: TestRegistry, reference: string): Promise<Buffer> {
  const [repository, tag] = split(reference);
  const answer = await request(new URL(`/v2/${repository}/manifests/${tag}`, registry.url), {
    dispatcher: agentOf(registry),
    headers: {
      accept: Object.values(MEDIA)
        .flatMap((media) => [media.manifest, media.index])
        .join(', '),
      ...(registry.authorization ? { authorization: registry.authorization } : {}),
    },
  });
  const bytes = Buffer.from(await answer.body.arrayBuffer());
  if (answer.statusCode !== 200) throw new Error(`manifest of ${reference}: ${answer.statusCode} ${bytes.toString()}`);
  return bytes;
}

const directory = (name: string, mode = 0o755): Entry => ({ name: `${name}/`, type: 'directory', mode });
const file = (name: string, content: string | Buffer, mode = 0o644): Entry => ({ name, content, mode });

let busybox: Promise<Buffer> | undefined;

/** The layer of a small Linux: busybox with all its applets as hard links, users, /tmp. */
export function busyboxLayer(): Promise<Buffer> {
  busybox ??= (async () => {
    const binary = readFileSync('/bin/busybox');
    const applets = spawnSync('/bin/busybox', ['--list'])
      .stdout.toString()
      .split('\n')
      .filter((name) => name && name !== 'busybox');
    return tarOf([
      ...['bin', 'etc', 'home', 'usr', 'usr/bin', 'usr/sbin', 'var', 'var/www', 'sbin'].map((name) => directory(name)),
      directory('root', 0o700),
      directory('tmp', 0o1777),
      file('bin/busybox', binary, 0o755),
      ...applets.map((name): Entry => ({ name: `bin/${name}`, type: 'link', linkname: 'bin/busybox', mode: 0o755 })),
      file(
        'etc/passwd',
        'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n',
      ),
      file('etc/group', 'root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nusers:x:100:www-data\nnogroup:x:65534:\n'),
      file('etc/shadow', 'root:*::0:::::\n', 0o600),
    ]);
  })();
  return busybox;
}

/** Layers that need care: hard links, long names, xattrs, whiteouts of a file and a directory, an opaque directory, a type change. */
export async function oddLayers(): Promise<Buffer[]> {
  const long = `odd/${'deep/'.repeat(20)}${'n'.repeat(120)}`;
  return Promise.all([
    tarOf([
      directory('odd'),
      directory('odd/opaque'),
      directory('odd/gone'),
      directory('odd/becomes-file'),
      file('odd/gone/inner', 'x'),
      file('odd/opaque/old', 'old'),
      file('odd/removed', 'removed'),
      file('odd/first', 'linked'),
      { name: 'odd/second', type: 'link', linkname: 'odd/first', mode: 0o644 },
      { name: 'odd/symlink', type: 'symlink', linkname: '/etc/passwd', mode: 0o777 },
      { name: 'odd/fifo', type: 'fifo', mode: 0o600 },
      { ...file('odd/attributed', 'xattr'), pax: { 'SCHILY.xattr.user.note': 'kept' } },
      { ...file('odd/owned', 'mine', 0o4711), uid: 33, gid: 65534 },
      file(long, 'long'),
      file('odd/ünïcode', 'utf8'),
    ]),
    tarOf([
      file('odd/.wh.removed', ''),
      file('odd/.wh.gone', ''),
      directory('odd/opaque'),
      file('odd/opaque/.wh..wh..opq', ''),
      file('odd/opaque/new', 'new'),
      file('odd/.wh.becomes-file', ''),
    ]),
    tarOf([file('odd/becomes-file', 'file now'), file('odd/removed', 'back again')]),
  ]);
}

/** A plain busybox image of one layer, for whoever only needs something that runs. */
export async function pushBusybox(
  registry: TestRegistry,
  reference: string,
  spec: Partial<ImageSpec> = {},
): Promise<BuiltImage> {
  return pushImage(registry, reference, buildImage({ ...spec, layers: spec.layers ?? [await busyboxLayer()] }));
}

/** Busybox under the odd layers, in all compressions. */
export async function pushOdd(
  registry: TestRegistry,
  reference: string,
  spec: Partial<ImageSpec> = {},
): Promise<BuiltImage> {
  const layers = [await busyboxLayer(), ...(await oddLayers())];
  return pushImage(registry, reference, buildImage({ compression: ['gzip', 'zstd', 'none', 'gzip'], ...spec, layers }));
}
