/**
 * Loads, tags, stands a container on and deletes images over and over, until it kills itself after the given time:
 * image-crasher.ts <directory> <archive> <milliseconds>. The parent looks at what is left.
 */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { loadImages } from '../../src/image/archive/load.ts';
import { deleteImage } from '../../src/image/delete.ts';
import { createImageRoom, type ImageRoom } from '../../src/image/room.ts';
import type { ImageServices } from '../../src/image/services.ts';
import { sqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/port.ts';
import { testDeps } from './deps.ts';

export interface CrashWorld {
  room: ImageRoom;
  services: ImageServices;
  store: Store;
}

/** A room as the daemon has it, over a directory that survives. */
export async function openWorld(directory: string): Promise<CrashWorld> {
  const dataRoot = join(directory, 'data');
  const fail = (error: unknown): never => {
    throw error;
  };
  const store = sqliteStore({
    path: join(dataRoot, 'reactord.db'),
    onDamaged: (_, error) => fail(error),
    onError: fail,
  });
  const deps = { ...testDeps({ config: { dataRoot, execRoot: join(directory, 'exec') } }), store };
  const users = { using: () => [] };
  const room = await createImageRoom({ ...deps, users });
  await room.boot();
  const hostPlatform = { os: 'linux', architecture: 'amd64' };
  const services = { ...deps, ...room, users, hostPlatform } as unknown as ImageServices;
  return { room, services, store };
}

async function turn({ room, services }: CrashWorld, archive: string, container: string): Promise<void> {
  for await (const _ of loadImages(services, createReadStream(archive), { quiet: true }));
  const { id } = room.images.get('crash:1');
  await room.images.tag(id, 'crash:2');
  await room.rootfs.prepare(container, id);
  await deleteImage(services, id, { force: true, prune: true });
  await room.rootfs.remove(container);
  await room.catalog.collect();
}

if (process.argv[1] === import.meta.filename) {
  const [directory, archive, after] = process.argv.slice(2) as [string, string, string];
  const world = await openWorld(directory);
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), Number(after));
  for (let i = 0; ; i++) await turn(world, archive, `container-${i}`);
}
