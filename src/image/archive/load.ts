/**
 * `docker load`: a docker archive, an OCI layout or both in one tar, compressed or not. Every file of the archive enters the
 * content store by its digest under a lease; only then the documents are read, so the order of entries does not matter
 * and a name can claim no other content than it has. Layers are unpacked meanwhile (ahead.ts). What no image took is
 * collected again.
 */
import { setMaxListeners } from 'node:events';
import type { Readable } from 'node:stream';
import { posix } from 'node:path';
import { invalid } from '../../errors.ts';
import { shortId } from '../../lib/ids.ts';
import { decompress } from '../../tar/decompress.ts';
import { componentsOf } from '../../tar/extract.ts';
import type { TarHeader } from '../../tar/header.ts';
import { readTar } from '../../tar/read.ts';
import { checkedConfig } from '../catalog/config.ts';
import { cameWith, REF_NAME } from '../catalog/index-file.ts';
import { readDocument } from '../content/content.ts';
import { publishImage } from '../events.ts';
import { layerMediaType } from '../layers/layers.ts';
import { checkIsImage, type ImageManifest, parseManifest, parsePlatform, platformMatches } from '../manifest.ts';
import type { Image } from '../port.ts';
import { canonical, familiar, isDigest, parseReference, withDefaultTag } from '../reference.ts';
import type { ImageServices } from '../services.ts';
import type { Descriptor, Lease } from '../store-port.ts';
import { Ahead, headOf } from './ahead.ts';
import { linesOf } from './lines.ts';
import { progressLine } from './progress.ts';

/** An image archive has a few files a layer; a million of them is an attack on the disk's inodes. */
const MAX_FILES = 20_000;

/** What an archive holds, by names in it. */
class Files {
  readonly lease: Lease;
  readonly #digests = new Map<string, string>();
  /** Old docker archives' way to share a layer. */
  readonly #links = new Map<string, string>();

  constructor(lease: Lease) {
    this.lease = lease;
  }

  digest(name: string): string | undefined {
    let at = posix.normalize(name);
    for (let hops = 0; hops < 16 && !this.#digests.has(at) && this.#links.has(at); hops++) at = this.#links.get(at)!;
    return this.#digests.get(at);
  }

  add(name: string, digest: string): void {
    this.#bound();
    this.#digests.set(name, digest);
  }

  link(name: string, target: string): void {
    this.#bound();
    this.#links.set(name, componentsOf(target).join('/'));
  }

  #bound(): void {
    if (this.#digests.size + this.#links.size >= MAX_FILES) throw bad('too many files');
  }
}

interface Found {
  configDigest: string;
  blobs: Descriptor[];
  manifest?: Descriptor;
  index?: Descriptor;
  names: string[];
}

const bad = (why: string): Error => invalid(`invalid archive: ${why}`, { code: 'bad-archive' });

/** Takes in all files. */
async function takeFiles(
  { content }: ImageServices,
  source: Readable,
  files: Files,
  onFile: (digest: string, size: number) => Promise<void>,
): Promise<void> {
  const takeFile = async (header: TarHeader, bytes: AsyncIterable<Uint8Array>): Promise<void> => {
    const name = componentsOf(header.name).join('/');
    if (header.type === 'file') {
      const { digest, size } = await content.writeStream(bytes, files.lease);
      files.add(name, digest);
      await onFile(digest, size);
    } else if (header.type === 'symlink') files.link(name, posix.join(posix.dirname(name), header.linkname));
    else if (header.type === 'link') files.link(name, header.linkname);
  };
  await readTar(await decompress(source), takeFile, { own: true });
}

/** Images of index.json, down through nested indexes; of those only what the platform runs. */
async function* ofLayout(services: ImageServices, files: Files, platform?: string): AsyncGenerator<Found> {
  const { content } = services;
  const root = files.digest('index.json');
  if (!root) return;
  const wanted = platform ? parsePlatform(platform, services.hostPlatform) : services.hostPlatform;
  const top = parseManifest(await content.read(root), undefined);
  if (top.kind !== 'index') throw bad('index.json is no index');
  const queue = top.manifests.map((descriptor) => ({
    descriptor,
    names: namesOf(descriptor),
    index: undefined as Descriptor | undefined,
    depth: 0,
  }));
  for (let next = queue.shift(); next; next = queue.shift()) {
    const { descriptor, names, index, depth } = next;
    if (!content.has(descriptor.digest)) {
      if (index) continue;
      throw bad(`content ${descriptor.digest} is missing`);
    }
    files.lease.add(descriptor.digest);
    const document = parseManifest(await content.read(descriptor.digest), descriptor.mediaType);
    if (document.kind === 'index') {
      if (depth > 3) throw bad('indexes are nested too deep');
      for (const child of document.manifests) {
        const fits = !child.platform || platformMatches(wanted, child.platform);
        if (fits) queue.push({ descriptor: child, names, index: descriptor, depth: depth + 1 });
      }
      continue;
    }
    checkIsImage(document);
    const { manifest, blobs } = (await original(services, files, descriptor, document)) ?? {
      manifest: descriptor,
      blobs: document.layers,
    };
    yield { configDigest: document.config.digest, blobs, manifest, ...(index ? { index } : {}), names };
  }
}

/** The manifest that the same image came with, when the archive has it. */
async function original(
  { content }: ImageServices,
  { lease }: Files,
  descriptor: Descriptor,
  { config }: ImageManifest,
): Promise<(Pick<Found, 'blobs'> & { manifest: Descriptor }) | undefined> {
  const digest = cameWith(descriptor);
  if (!digest || !isDigest(digest) || !content.has(digest)) return undefined;
  lease.add(digest);
  const document = parseManifest(await content.read(digest));
  if (document.kind !== 'image' || document.config.digest !== config.digest) return undefined;
  return { manifest: { mediaType: document.mediaType, digest, size: content.size(digest) }, blobs: document.layers };
}

/** A full name, or none: a bare tag (as other tools write) names no image of ours. */
function namesOf({ annotations = {} }: Descriptor): string[] {
  const name = annotations['io.containerd.image.name'] ?? annotations[REF_NAME];
  if (!name || (!annotations['io.containerd.image.name'] && !/[/:]/.test(name))) return [];
  return [canonical(withDefaultTag(parseReference(name)))];
}

interface ManifestItem {
  Config: string;
  RepoTags?: string[] | null;
  Layers: string[];
}

async function* ofDockerArchive(services: ImageServices, files: Files): AsyncGenerator<Found> {
  const { content } = services;
  const manifest = files.digest('manifest.json');
  if (!manifest) return;
  const items = await readDocument<ManifestItem[]>(content, manifest);
  if (!Array.isArray(items)) throw bad('manifest.json is no list');
  for (const item of items) {
    if (typeof item?.Config !== 'string' || !Array.isArray(item.Layers)) throw bad('manifest.json is malformed');
    const configDigest = files.digest(item.Config);
    if (!configDigest) throw bad(`file ${item.Config} is missing`);
    const blobs: Descriptor[] = [];
    for (const layer of item.Layers) {
      const digest = files.digest(String(layer));
      if (!digest) throw bad(`file ${layer} is missing`);
      const mediaType = layerMediaType(await headOf(content.path(digest)));
      blobs.push({ mediaType, digest, size: content.size(digest) });
    }
    const names = (item.RepoTags ?? []).map((tag) => canonical(withDefaultTag(parseReference(String(tag)))));
    yield { configDigest, blobs, names };
  }
}

/** One entry an image: the docker archive has the names, the layout the manifest it came with. */
async function imagesOf(services: ImageServices, files: Files, platform?: string): Promise<Found[]> {
  const found = new Map<string, Found>();
  const add = (image: Found): void => {
    const known = found.get(image.configDigest);
    if (known) for (const name of image.names) !known.names.includes(name) && known.names.push(name);
    else found.set(image.configDigest, image);
  };
  for await (const image of ofLayout(services, files, platform)) add(image);
  for await (const image of ofDockerArchive(services, files)) add(image);
  if (!found.size) throw bad('it holds neither manifest.json nor index.json');
  return [...found.values()];
}

/** All layers at once: the workers take as many as they can. */
async function unpackLayers(
  services: ImageServices,
  image: Found,
  files: Files,
  ahead: Ahead,
  tell: (line: object) => void,
): Promise<void> {
  const { content, layers } = services;
  const { rootfs } = checkedConfig(await readDocument(content, image.configDigest));
  files.lease.add(image.configDigest);
  if (rootfs.diff_ids.length !== image.blobs.length) throw bad('the number of layers is not that of the config');
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const unpack = async (blob: Descriptor, diffId: string): Promise<void> => {
    files.lease.add(diffId);
    files.lease.add(blob.digest);
    if (!content.has(blob.digest)) throw bad(`layer ${blob.digest} is missing`);
    const size = content.size(blob.digest);
    const onProgress = (current: number): void => tell(progressLine(shortId(diffId), 'Loading layer', current, size));
    if (ahead.has(blob.digest)) {
      await ahead.settled(blob.digest);
      if (layers.has(diffId)) return onProgress(size);
    }
    if (layers.has(diffId)) return;
    onProgress(0);
    await layers.unpack({ blob: { ...blob, size }, diffId, onProgress, signal: controller.signal });
    onProgress(size);
  };
  const unpacked = rootfs.diff_ids.map((diffId, i) => unpack(image.blobs[i]!, diffId));
  try {
    await Promise.all(unpacked);
  } catch (error) {
    controller.abort();
    await Promise.allSettled(unpacked);
    throw error;
  }
}

async function* nameImage(services: ImageServices, image: Image, names: readonly string[]): AsyncGenerator<object> {
  for (const name of names) {
    const shown = familiar(parseReference(name));
    const before = await services.catalog.tag(image.id, name, 'came');
    if (before && before !== image.id) {
      yield { stream: `The image ${shown} already exists, renaming the old one with ID ${before} to empty string\n` };
    }
    yield { stream: `Loaded image: ${shown}\n` };
  }
  if (!names.length) yield { stream: `Loaded image ID: ${image.id}\n` };
}

/** Docker's JSON lines of the loading. The source's chunks are freed on the way. Errors: invalid (code bad-archive). */
export async function* loadImages(
  services: ImageServices,
  source: Readable,
  options: { quiet: boolean; platform?: string },
): AsyncGenerator<object> {
  const { content, catalog, bus } = services;
  const lease = content.lease();
  const files = new Files(lease);
  const ahead = new Ahead(services);
  const told = async function* (work: (tell: (line: object) => void) => Promise<void>): AsyncGenerator<object> {
    for await (const line of linesOf(work)) if (!options.quiet) yield line;
  };
  try {
    yield* told((tell) => takeFiles(services, source, files, (digest, size) => ahead.take(digest, size, tell)));
    for (const found of await imagesOf(services, files, options.platform)) {
      yield* told((tell) => unpackLayers(services, found, files, ahead, tell));
      const image = await catalog.add(found);
      yield* nameImage(services, image, found.names);
      publishImage(bus, 'load', image);
    }
  } finally {
    await ahead.stop();
    lease.release();
    await catalog.collect();
  }
}
