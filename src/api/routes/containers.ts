/** /containers: everything but streams, archives and statistics. */
import type { WaitCondition } from '../../container/wait.ts';
import { type Containers, PRUNE_FILTERS } from '../../container/service.ts';
import { LIST_FILTERS } from '../../container/list.ts';
import { invalid, notImplemented } from '../../errors.ts';
import { type Api, type ApiContext, atLeast, filtersOf, flag, integer, jsonBody, noContent, text } from '../kit.ts';
import { streamAnswer } from '../stream.ts';

const nameOf = (c: ApiContext): string => c.req.param('name') ?? '';

/** JSON that was put together as text. */
const jsonText = (c: ApiContext, body: string): Response => c.body(body, 200, { 'Content-Type': 'application/json' });

/** `t` seconds, and since 1.42 `signal`. */
const stopOptions = (c: ApiContext): { timeout?: number; signal?: string } => ({
  timeout: integer(c, 't'),
  ...(atLeast(c, '1.42') ? { signal: text(c, 'signal') } : {}),
});

/** Height and width in characters; both are wanted. */
export function sizeOf(c: ApiContext): { height: number; width: number } {
  const [height, width] = [integer(c, 'h'), integer(c, 'w')];
  if (height === undefined || height < 0) throw invalid('invalid resize height: it must be a whole number');
  if (width === undefined || width < 0) throw invalid('invalid resize width: it must be a whole number');
  return { height, width };
}

function readRoutes(api: Api, containers: Containers): void {
  api.get('/containers/json', async (c) => {
    const limit = integer(c, 'limit') ?? 0;
    const options = { all: flag(c, 'all'), limit, filters: filtersOf(c, LIST_FILTERS) };
    return jsonText(c, await containers.list(options, flag(c, 'size')));
  });
  api.get('/containers/:name/json', async (c) => jsonText(c, await containers.inspect(nameOf(c), flag(c, 'size'))));
}

function lifeRoutes(api: Api, containers: Containers): void {
  api.post('/containers/create', async (c) => {
    const body = await jsonBody(c, 'container-create');
    const created = await containers.create(body, { name: text(c, 'name'), platform: text(c, 'platform') });
    return c.json(created, 201);
  });
  api.post('/containers/:name/start', async (c) => {
    if (text(c, 'checkpoint')) throw notImplemented('checkpoints are not supported: criu is not part of this daemon');
    await containers.start(nameOf(c));
    return noContent(c);
  });
  api.post('/containers/:name/stop', async (c) => {
    await containers.stop(nameOf(c), stopOptions(c));
    return noContent(c);
  });
  api.post('/containers/:name/restart', async (c) => {
    await containers.restart(nameOf(c), stopOptions(c));
    return noContent(c);
  });
  api.post('/containers/:name/kill', async (c) => {
    await containers.kill(nameOf(c), text(c, 'signal'));
    return noContent(c);
  });
  api.post('/containers/:name/pause', async (c) => {
    await containers.pause(nameOf(c));
    return noContent(c);
  });
  api.post('/containers/:name/unpause', async (c) => {
    await containers.unpause(nameOf(c));
    return noContent(c);
  });
  // The name of a link has a slash: web/db.
  api.delete('/containers/:name{.+}', async (c) => {
    await containers.remove(nameOf(c), { force: flag(c, 'force'), volumes: flag(c, 'v'), link: flag(c, 'link') });
    return noContent(c);
  });
}

function changeRoutes(api: Api, containers: Containers): void {
  api.post('/containers/:name/rename', async (c) => {
    await containers.rename(nameOf(c), text(c, 'name') ?? '');
    return noContent(c);
  });
  api.post('/containers/:name/update', async (c) =>
    c.json(await containers.update(nameOf(c), await jsonBody(c, 'container-update'))),
  );
  api.post('/containers/:name/resize', async (c) => {
    await containers.resize(nameOf(c), sizeOf(c));
    return c.body(null, 200);
  });
  api.post('/containers/prune', async (c) => c.json(await containers.prune(filtersOf(c, PRUNE_FILTERS))));
  // Headers go out at once: clients start the container only when they know that somebody waits for its end.
  api.post('/containers/:name/wait', (c) => {
    const condition = (text(c, 'condition') ?? 'not-running') as WaitCondition;
    const ended = containers.wait(nameOf(c), condition, c.get('gone'));
    ended.catch(() => {});
    return streamAnswer(c, oneResult(ended), 'application/json');
  });
}

async function* oneResult(ended: Promise<object>): AsyncGenerator<string> {
  yield `${JSON.stringify(await ended)}\n`;
}

/** Honest answers for what needs CRIU. */
function checkpointRoutes(api: Api, containers: Containers): void {
  const refuse = (c: ApiContext): never => {
    containers.resolve(nameOf(c));
    throw notImplemented('checkpoints are not supported: criu is not part of this daemon');
  };
  api.post('/containers/:name/checkpoints', refuse);
  api.delete('/containers/:name/checkpoints/:checkpoint', refuse);
  api.get('/containers/:name/checkpoints', (c) => {
    containers.resolve(nameOf(c));
    return c.json([]);
  });
}

export function containerRoutes(api: Api, containers: Containers): void {
  // Before the routes whose names may hold slashes.
  checkpointRoutes(api, containers);
  readRoutes(api, containers);
  changeRoutes(api, containers);
  lifeRoutes(api, containers);
}
