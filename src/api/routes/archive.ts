/** /containers/{name}/archive, export and changes. */
import type { Archives, PathStat } from '../../archive/service.ts';
import { invalid } from '../../errors.ts';
import { took } from '../../lib/took.ts';
import { type Api, type ApiContext, bodyStream, byteStream, flag, isHead, setHeader, text } from '../kit.ts';

const TAR = 'application/x-tar';

export type ArchiveBackend = Pick<Archives, 'stat' | 'read' | 'write' | 'export' | 'changes'>;

function pathOf(c: ApiContext): string {
  const path = text(c, 'path');
  if (!path) throw invalid('bad parameter: path: value must not be empty');
  return path;
}

const statHeader = (c: ApiContext, stat: PathStat): void =>
  setHeader(c, 'X-Docker-Container-Path-Stat', Buffer.from(JSON.stringify(stat)).toString('base64'));

export function archiveRoutes(api: Api, archives: ArchiveBackend): void {
  api.get('/containers/:name{.+}/archive', async (c) => {
    const [name, path] = [c.req.param('name'), pathOf(c)];
    if (isHead(c)) {
      statHeader(c, await archives.stat(name, path));
      return c.body(null, 200);
    }
    const { stat, body } = await archives.read(name, path);
    statHeader(c, stat);
    return byteStream(c, body, TAR);
  });

  api.put('/containers/:name{.+}/archive', async (c) => {
    const options = { noOverwriteDirNonDir: flag(c, 'noOverwriteDirNonDir'), copyUIDGID: flag(c, 'copyUIDGID') };
    await archives.write(c.req.param('name'), pathOf(c), options, bodyStream(c));
    return c.body(null, 200);
  });

  api.get('/containers/:name{.+}/export', async (c) => byteStream(c, await archives.export(c.req.param('name')), TAR));

  api.get('/containers/:name{.+}/changes', async (c) => {
    const changes = await took('container', 'changes', () => archives.changes(c.req.param('name')));
    return c.json(changes.length ? changes : null);
  });
}
