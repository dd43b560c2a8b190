/**
 * Keeps index.json of the OCI layout in step with the catalog, for skopeo, umoci and whoever else reads the store. It is a
 * view: written soon after a change, many changes at once, by rename, and made anew at boot.
 */
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { MEDIA } from '../manifest.ts';
import { familiar, parseReference } from '../reference.ts';
import type { Descriptor } from '../store-port.ts';
import type { ImageRecord } from './record.ts';

export const REF_NAME = 'org.opencontainers.image.ref.name';
/** Digest of the manifest that an image came with, where another one stands for it in an index. */
const CAME_WITH = 'org.reactord.manifest';

type Listed = Pick<ImageRecord, 'manifest' | 'ociManifest'>;

/** An image's entry in index.json: readers of OCI layouts see no manifest of Docker's own form. */
export function indexEntry({ manifest, ociManifest }: Listed, annotations: Record<string, string> = {}): Descriptor {
  const { mediaType, digest, size, platform } = ociManifest ?? manifest;
  const all = { ...annotations, ...(ociManifest ? { [CAME_WITH]: manifest.digest } : {}) };
  return {
    ...{ mediaType, digest, size },
    ...(platform ? { platform } : {}),
    ...(Object.keys(all).length ? { annotations: all } : {}),
  };
}

/** The manifest that the image of an entry came with, as the entry says. */
export const cameWith = ({ annotations }: Descriptor): string | undefined => annotations?.[CAME_WITH];

/** An image without a tag is listed without a name, so that nobody collects its blobs. */
export function indexDocument(images: Iterable<Listed & { tags: readonly string[] }>): object {
  const manifests: Descriptor[] = [];
  for (const { tags, ...image } of images) {
    if (!tags.length) manifests.push(indexEntry(image));
    for (const tag of tags)
      manifests.push(indexEntry(image, { [REF_NAME]: familiar(parseReference(tag)), 'io.containerd.image.name': tag }));
  }
  return { schemaVersion: 2, mediaType: MEDIA.ociIndex, manifests };
}

export class IndexFile {
  #path: string;
  #document: () => object;
  #log: Logger;
  #dirty = false;
  #writing: Promise<void> | undefined;

  constructor(directory: string, document: () => object, log: Logger) {
    this.#path = join(directory, 'index.json');
    this.#document = document;
    this.#log = log;
  }

  changed(): void {
    this.#dirty = true;
    this.#writing ??= this.#write();
  }

  /** Resolves when the file shows everything told so far. */
  async settled(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  async #write(): Promise<void> {
    await Promise.resolve();
    while (this.#dirty) {
      this.#dirty = false;
      try {
        await writeFile(`${this.#path}.new`, JSON.stringify(this.#document()));
        await rename(`${this.#path}.new`, this.#path);
      } catch (error) {
        this.#log.warn({ err: error }, 'index.json could not be written');
      }
    }
    // In the turn that saw nothing more to write, or a change in between would be nobody's.
    this.#writing = undefined;
  }
}
