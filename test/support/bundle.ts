/** Bundles with a busybox root, for tests that run real containers below the daemon. */
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { newId } from '../../src/lib/ids.ts';
import type { TaskSpec } from '../../src/runtime/port.ts';

const APPLETS = ['sh', 'cat', 'echo', 'sleep', 'seq', 'kill', 'true', 'stty', 'head', 'dd', 'tail'];

/** A root file system with a static busybox, to be shared read-only. */
export async function busyboxRoot(directory: string): Promise<string> {
  for (const name of ['bin', 'proc', 'dev', 'sys', 'tmp', 'etc'])
    await mkdir(join(directory, name), { recursive: true });
  await copyFile('/usr/bin/busybox', join(directory, 'bin/busybox'));
  for (const name of APPLETS) await symlink('busybox', join(directory, 'bin', name));
  return directory;
}

export const ociProcess = (script: string, terminal = false): object => ({
  terminal,
  user: { uid: 0, gid: 0 },
  args: ['/bin/sh', '-c', script],
  env: ['PATH=/bin', 'TERM=xterm'],
  cwd: '/',
});

/** Makes `<root>/<id>` with config.json and an empty rootfs, on which the shim mounts `lower` by overlayfs. */
export async function makeBundle(
  root: string,
  lower: string,
  script: string,
  options: { terminal?: boolean; stdin?: boolean; memory?: number } = {},
): Promise<TaskSpec> {
  const id = newId();
  const bundle = join(root, id);
  for (const name of ['rootfs', 'upper', 'work']) await mkdir(join(bundle, name), { recursive: true });
  const { terminal = false, stdin = false } = options;
  const config = {
    ociVersion: '1.0.2',
    process: ociProcess(script, terminal),
    root: { path: 'rootfs' },
    hostname: 'test',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666'],
      },
    ],
    linux: {
      cgroupsPath: `/reactord-test-${id}`,
      namespaces: ['pid', 'mount', 'ipc', 'uts', 'network'].map((type) => ({ type })),
      resources: options.memory ? { memory: { limit: options.memory, swap: options.memory } } : {},
    },
  };
  await writeFile(join(bundle, 'config.json'), JSON.stringify(config));
  const overlay = [`lowerdir=${lower}`, `upperdir=${join(bundle, 'upper')}`, `workdir=${join(bundle, 'work')}`];
  const rootfs = [{ type: 'overlay', source: 'overlay', options: overlay }];
  return { id, bundle, rootfs, terminal, stdin, runtime: 'runc', systemdCgroup: false };
}
