import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { planMounts } from '../../src/volume/mounts.ts';
import { checkBindSources, type MountContext, releaseMounts, resolveMounts } from '../../src/volume/resolve.ts';

let root: string;
let log: string[];
let context: MountContext;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'volume-resolve-'));
  log = [];
  mkdirSync(join(root, 'vol/sub'), { recursive: true });
  writeFileSync(join(root, 'vol/sub/file'), 'inside');
  context = {
    containerId: 'c1',
    directory: join(root, 'c1'),
    volumes: {
      mount: async (name, id, attributes) => {
        log.push(`mount ${name} ${id} ${attributes.destination}`);
        return join(root, 'vol');
      },
      unmount: async (name, id) => void log.push(`unmount ${name} ${id}`),
    },
    mountImage: async () => {},
  };
});
afterEach(async () => {
  await releaseMounts([], context);
  rmSync(root, { recursive: true, force: true });
});

const volume = (subpath: string) =>
  planMounts({ mounts: [{ Type: 'volume', Source: 'v', Target: '/t', VolumeOptions: { Subpath: subpath } }] });

test('a missing source of -v is made, one of --mount is an error', async () => {
  const made = join(root, 'made/here');
  const points = planMounts({ binds: [`${made}:/t`] });
  await checkBindSources(points);
  expect(await resolveMounts(points, context)).toMatchObject([{ kind: 'bind', source: made, destination: '/t' }]);
  expect(existsSync(made)).toBe(true);
  const missing = planMounts({ mounts: [{ Type: 'bind', Source: join(root, 'no'), Target: '/t' }] });
  await expect(checkBindSources(missing)).rejects.toThrow('bind source path does not exist');
});

test('a subpath is pinned: what it names later does not change what the container gets', async () => {
  const points = volume('sub');
  const [mounted] = await resolveMounts(points, context);
  const source = mounted!.kind === 'bind' ? mounted!.source : '';
  rmSync(join(root, 'vol/sub/file'));
  writeFileSync(join(root, 'vol/sub/file'), 'changed');
  symlinkSync('/etc', join(root, 'vol/other'));
  expect(readFileSync(join(source, 'file'), 'utf8')).toBe('changed');
  await releaseMounts(points, context);
  expect(existsSync(source)).toBe(false);
  expect(readFileSync(join(root, 'vol/sub/file'), 'utf8')).toBe('changed');
  expect(log).toEqual(['mount v c1 /t', 'unmount v c1']);
});

test('a subpath that leads out of the volume stays inside it, and a failure lets go of everything', async () => {
  symlinkSync('/etc', join(root, 'vol/escape'));
  await expect(resolveMounts(volume('escape/passwd'), context)).rejects.toThrow('no such file or directory');
  await expect(resolveMounts(volume('nothing'), context)).rejects.toThrow('cannot access path');
  expect(log).toEqual(['mount v c1 /t', 'unmount v c1', 'mount v c1 /t', 'unmount v c1']);
});
