/** Transfers over a real content store of their own, with the lines that a client would see. */
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../../src/config/config.ts';
import type { Image, PullOptions } from '../../src/image/port.ts';
import type { RegistryTuning } from '../../src/image/registry/registries.ts';
import { createTransfers } from '../../src/image/transfers.ts';
import { testImageStore } from './image-store.ts';
import type { TestRegistry } from './registry.ts';

export interface Line {
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  aux?: object;
}

/** In a new temporary directory unless told where: another life of the daemon over the same content, whose records are lost. */
export async function testTransfers(
  options: { config?: Partial<Config>; tuning?: RegistryTuning; directory?: string } = {},
) {
  const store = await testImageStore(options.directory);
  const certificates = await mkdtemp(join(tmpdir(), 'certs.d-'));
  const deps = { ...store.deps, config: { ...store.deps.config, ...options.config } };
  const { content, layers, catalog } = store;
  const tuning = { certificates, backoffMs: 5, ...options.tuning };
  const transfers = createTransfers({ ...deps, content, layers, catalog, tuning });
  return {
    ...store,
    deps,
    transfers,
    /** Trusts the certificate of a registry, and has the one that it wants to see. */
    async trust(registry: TestRegistry): Promise<void> {
      const folder = join(certificates, registry.host);
      await mkdir(folder);
      await writeFile(join(folder, 'ca.crt'), registry.ca!);
      for (const [name, text] of Object.entries(registry.client ?? {}))
        await writeFile(join(folder, `client.${name}`), text);
    },
    async pull(
      reference: string,
      more: PullOptions = {},
    ): Promise<{ image: Image; lines: Line[]; statuses: string[] }> {
      const lines: Line[] = [];
      const image = await transfers.pull(reference, { ...more, onProgress: (line) => lines.push(line) });
      return { image, lines, statuses: lines.map(({ id, status }) => (id ? `${id}: ${status}` : status!)) };
    },
    async push(reference: string, auth?: PullOptions['auth']): Promise<Line[]> {
      const lines: Line[] = [];
      await transfers.push(reference, { auth, onProgress: (line) => lines.push(line) });
      return lines;
    },
    async dispose(): Promise<void> {
      await transfers.stop();
      await store.dispose();
      await rm(certificates, { recursive: true, force: true });
    },
  };
}
