import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createHash } from 'node:crypto';
import { createReadStream, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadImages } from '../../src/image/archive/load.ts';
import { checkStore } from '../../src/image/fsck.ts';
import { tarOf } from '../support/fixture-image.ts';
import { openWorld } from '../support/image-crasher.ts';

let root: string;
let archive: string;

const sha = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'image-crash-'));
  archive = join(root, 'archive.tar');
  const layers = await Promise.all(
    [0, 1, 2].map((layer) =>
      tarOf(
        Array.from({ length: 60 }, (_, i) => ({ name: `d${i % 7}/l${layer}-${i}`, content: Buffer.alloc(i * 100) })),
      ),
    ),
  );
  const config = { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: layers.map(sha) } };
  const manifest = [{ Config: 'config.json', RepoTags: ['crash:1'], Layers: ['0.tar', '1.tar', '2.tar'] }];
  writeFileSync(
    archive,
    await tarOf([
      { name: 'manifest.json', content: JSON.stringify(manifest) },
      ...layers.map((content, i) => ({ name: `${i}.tar`, content })),
      { name: 'config.json', content: JSON.stringify(config) },
    ]),
  );
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

it('a store killed at any point is whole after the next start, loses no image and keeps no garbage', async () => {
  for (const after of [1, 40, 90, 160, 250, 400]) {
    const crasher = spawn(process.execPath, ['test/support/image-crasher.ts', root, archive, String(after)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const [, signal] = (await once(crasher, 'exit')) as [number | null, string | null];
    expect(signal).toBe('SIGKILL');

    const { room, services, store } = await openWorld(root);
    for (const image of room.catalog.list())
      for (const diffId of image.config.rootfs.diff_ids) readdirSync(room.layers.path(diffId));
    for (const container of await room.rootfs.list()) {
      await room.rootfs.withMounted(container, async (path) => expect(readdirSync(path)).toContain('d0'));
      await room.rootfs.remove(container);
    }
    await room.catalog.collect();
    expect(await checkStore(join(root, 'data'), store)).toEqual([]);
    for await (const _ of loadImages(services, createReadStream(archive), { quiet: true }));
    expect(room.images.get('crash:1').repoTags).toContain('crash:1');
    expect(await checkStore(join(root, 'data'), store)).toEqual([]);
    await room.stop();
    await store.durable();
    store.close();
  }
});
