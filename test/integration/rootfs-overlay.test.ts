import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mount, umountIfMounted } from '../../src/host/ffi.ts';
import { createImage } from '../../src/image/create.ts';
import { makeRoot } from '../../src/image/rootfs/base.ts';
import { tarOf } from '../support/fixture-image.ts';
import { testImageStore } from '../support/image-store.ts';

let store: Awaited<ReturnType<typeof testImageStore>>;
const CONFIG = { architecture: 'amd64', os: 'linux', config: { Cmd: ['sh'] } };

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

beforeAll(async () => {
  store = await testImageStore();
});
afterAll(async () => {
  await store.dispose();
});

async function baseImage() {
  const layers = [
    await tarOf([
      { name: 'etc/', type: 'directory', mode: 0o751 },
      { name: 'etc/passwd', content: 'root:x:0:0::/:' },
      { name: 'var/cache/', type: 'directory' },
      { name: 'var/cache/a', content: 'a' },
      { name: 'var/cache/b', content: 'b' },
      { name: 'doomed', content: 'x' },
      { name: 'home/user/', type: 'directory' },
      { name: 'home/user/log', content: 'kept' },
    ]),
    await tarOf([{ name: '.wh.doomed' }, { name: 'bin/tool', content: 'tool', mode: 0o755 }]),
  ];
  return await createImage(store, { layers: layers.map(once), config: CONFIG });
}

const mountedUnder = (path: string): string[] =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(path));

describe('a container root', () => {
  it('stands on an image that has a layer twice, with what lies between', async () => {
    const twice = await tarOf([{ name: 'a', content: 'twice' }]);
    const between = await tarOf([{ name: '.wh.a' }, { name: 'b', content: 'between' }]);
    const image = await createImage(store, { layers: [twice, between, twice].map(once), config: CONFIG });
    await store.rootfs.prepare('twice', image.id);
    await store.rootfs.withMounted('twice', async (root) => {
      expect([readFileSync(join(root, 'a'), 'utf8'), readFileSync(join(root, 'b'), 'utf8')]).toEqual(['twice', 'between']);
    });
    await store.rootfs.remove('twice');
  }); // prettier-ignore

  it('shows the image, takes changes, and gives them back as a layer that makes the same root again', async () => {
    const image = await baseImage();
    const { rootfs } = store;
    await rootfs.prepare('one', image.id);
    await rootfs.prepare('one', image.id);
    await rootfs.withMounted('one', async (root) => {
      expect(readdirSync(root).sort()).toEqual(['.dockerenv', 'bin', 'dev', 'etc', 'home', 'proc', 'sys', 'var']);
      expect(lstatSync(join(root, 'etc')).mode & 0o777).toBe(0o751);
      expect(readFileSync(join(root, 'bin/tool'), 'utf8')).toBe('tool');
      await rootfs.withMounted('one', async (again) => expect(again).toBe(root));
      writeFileSync(join(root, 'etc/passwd'), 'changed');
      writeFileSync(join(root, 'new'), '12345');
      execFileSync('ln', [join(root, 'new'), join(root, 'new-link')]);
      rmSync(join(root, 'bin/tool'));
      rmSync(join(root, 'var/cache'), { recursive: true });
      mkdirSync(join(root, 'var/cache'));
      writeFileSync(join(root, 'var/cache/c'), 'c');
      // Copied up, and as it was before.
      writeFileSync(join(root, 'home/user/passing'), '');
      rmSync(join(root, 'home/user/passing'));
      closeSync(openSync(join(root, 'home/user/log'), 'r+'));
    });
    expect(mountedUnder(store.root)).toEqual([]);
    expect(await rootfs.changes('one')).toEqual([
      { Path: '/bin', Kind: 0 },
      { Path: '/bin/tool', Kind: 2 },
      { Path: '/etc', Kind: 0 },
      { Path: '/etc/passwd', Kind: 0 },
      { Path: '/new', Kind: 1 },
      { Path: '/new-link', Kind: 1 },
      { Path: '/var', Kind: 0 },
      { Path: '/var/cache', Kind: 0 },
      { Path: '/var/cache/a', Kind: 2 },
      { Path: '/var/cache/b', Kind: 2 },
      { Path: '/var/cache/c', Kind: 1 },
    ]);
    expect(await rootfs.usage('one')).toEqual({ sizeRw: 17, sizeRootFs: 17 + image.size });

    const committed = await createImage(store, {
      parent: image.id,
      layers: [...image.config.rootfs.diff_ids, rootfs.diff('one')],
      config: CONFIG,
    });
    expect(committed.parent).toBe(image.id);
    await rootfs.prepare('two', committed.id);
    await rootfs.withMounted('two', async (root) => {
      expect(existsSync(join(root, 'bin/tool'))).toBe(false);
      expect(readdirSync(join(root, 'var/cache'))).toEqual(['c']);
      expect(lstatSync(join(root, 'new')).ino).toBe(lstatSync(join(root, 'new-link')).ino);
    });
    expect(await rootfs.changes('two')).toEqual([]);
    await rootfs.remove('two');
    await rootfs.remove('two');
    expect(await rootfs.list()).toEqual(['one']);
  });

  it('is seen through the running container, whose changes show at once', async () => {
    const image = await baseImage();
    await store.rootfs.prepare('running', image.id);
    const [mounting] = store.rootfs.mounts('running');
    const target = join(store.root, 'running');
    mkdirSync(target);
    mount('overlay', target, 'overlay', 0, mounting!.options.join(','));
    await store.rootfs.withMounted('running', async (root) => {
      writeFileSync(join(target, 'late'), 'x');
      expect(readFileSync(join(root, 'late'), 'utf8')).toBe('x');
      umountIfMounted(target);
      expect(readFileSync(join(root, 'late'), 'utf8')).toBe('x');
    });
    expect(mountedUnder(store.root)).toEqual([]);
    await store.rootfs.remove('running');
  });

  it('is nobody else’s to look into, whichever of its directories is made first', async () => {
    const own = join(store.root, 'overlay2', 'made-first');
    await makeRoot(join(own, 'diff'));
    expect([lstatSync(own).mode & 0o777, lstatSync(join(own, 'diff')).mode & 0o777]).toEqual([0o710, 0o755]);
    rmSync(own, { recursive: true });
  });

  it('mounts 120 layers', async () => {
    const layers = await Promise.all(
      Array.from({ length: 120 }, (_, i) =>
        tarOf([
          { name: `file-${i}`, content: String(i) },
          { name: 'last', content: String(i) },
        ]),
      ),
    );
    const image = await createImage(store, { layers: layers.map(once), config: CONFIG });
    await store.rootfs.prepare('tall', image.id);
    await store.rootfs.withMounted('tall', async (root) => {
      expect(readFileSync(join(root, 'last'), 'utf8')).toBe('119');
      expect(readFileSync(join(root, 'file-0'), 'utf8')).toBe('0');
    });
    await store.rootfs.remove('tall');
  });
});
