/** The routes that move files in and out of containers, over the other rooms' ports. It holds nothing of its own. */
import { archiveRoutes } from '../api/routes/archive.ts';
import type { Room } from '../reactor/room.ts';
import { type ArchiveDeps, Archives } from './service.ts';

export function createArchiveRoom(deps: ArchiveDeps): Room & { archives: Archives } {
  const archives = new Archives(deps);
  return { archives, boot: async () => {}, stop: async () => {}, routes: (api) => archiveRoutes(api, archives) };
}
