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

export const REF_NAME = 'org.opencontainers.image.ref.name';

/** An image without a tag is listed without a name, so that nobody collects its blobs. */
export function indexDocument(images: Iterable<{ manifest: Descriptor; tags: readonly string[] }>): object {
  const manifests: Descriptor[] = [];
  for (const { manifest, tags } of images) {
    const { mediaType, digest, size, platform } = manifest;
    const entry: Descriptor = { mediaType, digest, size, ...(platform ? { platform } : {}) };
    if (!tags.length) manifests.push(entry);
    for (const tag of tags) {
      const annotations = { [REF_NAME]: familiar(parseReference(tag)), 'io.containerd.image.name': tag };
      manifests.push({ ...entry, annotations });
    }
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
    this.#writing ??= this.#write().finally(() => (this.#writing = undefined));
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
  }
}
