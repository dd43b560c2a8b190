import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadImages } from '../../src/image/archive/load.ts';
import { checkStore } from '../../src/image/fsck.ts';
import type { ImageServices } from '../../src/image/services.ts';
import { encodeHeader, tarHeader } from '../../src/tar/header.ts';
import { tarOf } from '../support/fixture-image.ts';
import { testImageStore } from '../support/image-store.ts';

let store: Awaited<ReturnType<typeof testImageStore>>;
let services: ImageServices;

beforeEach(async () => {
  store = await testImageStore();
  const { deps, content, layers, catalog, rootfs } = store;
  services = {
    ...deps,
    content,
    layers,
    catalog,
    rootfs,
    users: { using: () => [] },
    hostPlatform: { os: 'linux', architecture: 'amd64' },
  } as unknown as ImageServices;
});

/** Whatever came in, nothing of it is left. */
afterEach(async () => {
  expect(store.catalog.list()).toEqual([]);
  expect(readdirSync(join(store.root, 'image/oci/ingest'))).toEqual([]);
  expect(readdirSync(join(store.root, 'image/oci/blobs/sha256'))).toEqual([]);
  expect(await checkStore(store.root, store.deps.store)).toEqual([]);
  await store.dispose();
});

async function load(archive: Buffer): Promise<void> {
  for await (const _ of loadImages(services, Readable.from([archive]), { quiet: true }));
}

const sha = (text: string | Buffer): string => createHash('sha256').update(text).digest('hex');

/** A docker archive of one layer, with documents of the attacker's choice. */
async function dockerArchive(parts: { config?: unknown; manifest?: unknown; layer?: Buffer }): Promise<Buffer> {
  const layer = parts.layer ?? (await tarOf([{ name: 'file', content: 'x' }]));
  const good = { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [`sha256:${sha(layer)}`] } };
  const config = 'config' in parts ? parts.config : good;
  const manifest = parts.manifest ?? [{ Config: 'config.json', RepoTags: ['evil:1'], Layers: ['layer.tar'] }];
  return await tarOf([
    { name: 'config.json', content: JSON.stringify(config) },
    { name: 'layer.tar', content: layer },
    { name: 'manifest.json', content: JSON.stringify(manifest) },
  ]);
}

describe('an archive that is loaded', () => {
  it.each<[string, { config?: unknown; manifest?: unknown }]>([
    ['a config that is null', { config: null }],
    ['a config that is a list', { config: [] }],
    ['diff ids that are numbers', { config: { rootfs: { type: 'layers', diff_ids: [1] } } }],
    ['diff ids with a path', { config: { rootfs: { type: 'layers', diff_ids: ['sha256:../../../etc/passwd'] } } }],
    [
      'an environment that is a number',
      { config: { config: { Env: 5 }, rootfs: { type: 'layers', diff_ids: [`sha256:${sha('x')}`] } } },
    ],
    ['no layer for a diff id', { manifest: [{ Config: 'config.json', Layers: [] }] }],
    ['a manifest that is an object', { manifest: {} }],
    ['a manifest of nulls', { manifest: [null] }],
    ['a config outside of the archive', { manifest: [{ Config: '../../../etc/passwd', Layers: ['layer.tar'] }] }],
    ['a layer that is not there', { manifest: [{ Config: 'config.json', Layers: ['other.tar'] }] }],
    ['a name that is none', { manifest: [{ Config: 'config.json', RepoTags: ['../UPPER'], Layers: ['layer.tar'] }] }],
  ])('with %s is refused (CVE-2021-21285)', async (_, parts) => {
    const archive = await dockerArchive(parts);
    await expect(load(archive)).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('with documents without end is refused before they are read (CVE-2023-25153)', async () => {
    const huge = `[${' '.repeat(9 << 20)}]`;
    for (const name of ['index.json', 'manifest.json']) {
      await expect(load(await tarOf([{ name, content: huge }]))).rejects.toThrow('too large for a document');
    }
  });

  it('with headers that swell is refused within little memory (CVE-2017-14992)', async () => {
    const bomb = Buffer.from(encodeHeader(tarHeader({ name: 'a', size: 0o7777777777 })));
    bomb.write('L', 156);
    bomb.fill(0x20, 148, 156);
    bomb.write(
      `${bomb
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
    );
    await expect(load(bomb)).rejects.toThrow('header field too long');
    await expect(load(await dockerArchive({ layer: bomb }))).rejects.toThrow('header field too long');
  });

  it('with an index that is a manifest too is refused (CVE-2021-41190)', async () => {
    const both = { schemaVersion: 2, manifests: [], layers: [], config: {} };
    await expect(load(await tarOf([{ name: 'index.json', content: JSON.stringify(both) }]))).rejects.toMatchObject({
      kind: 'invalid',
    });
  });

  it('cut or spoiled in any compression ends with an error and does not hang (CVE-2021-20291)', async () => {
    const tar = await dockerArchive({});
    for (const command of ['gzip', 'zstd', 'xz', 'bzip2']) {
      const packed = execFileSync(command, ['-c'], { input: tar });
      const spoiled = Buffer.from(packed);
      spoiled.fill(0x55, 20, 60);
      for (const broken of [packed.subarray(0, packed.length >> 1), spoiled])
        await expect(load(broken)).rejects.toThrow();
    }
  });

  it('changes no mode outside by links to links (CVE-2021-32760), and names itself by no other content', async () => {
    const outside = join(mkdtempSync(join(tmpdir(), 'outside-')), 'file');
    writeFileSync(outside, 'x', { mode: 0o600 });
    const layer = await tarOf([
      { name: 'link', type: 'symlink', linkname: outside },
      { name: 'hard', type: 'link', linkname: 'link', mode: 0o6777 },
      { name: 'link', type: 'symlink', linkname: outside, mode: 0o6777, uid: 1 },
      { name: 'hard/x', content: 'y' },
    ]);
    await expect(load(await dockerArchive({ layer }))).rejects.toMatchObject({ code: 'bad-archive' });
    expect(statSync(outside)).toMatchObject({ mode: 0o100600, uid: 0 });
    rmSync(join(outside, '..'), { recursive: true });
    const lying = {
      config: { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [`sha256:${sha('other')}`] } },
    };
    await expect(load(await dockerArchive(lying))).rejects.toMatchObject({ code: 'wrong-diff-id' });
  });
});
