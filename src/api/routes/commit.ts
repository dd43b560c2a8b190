/** POST /commit: a container's changes as a new image. */
import { type CommitDeps, commitContainer } from '../../container/commit.ts';
import { invalid } from '../../errors.ts';
import { took } from '../../lib/took.ts';
import { type Api, flag, jsonBody, text } from '../kit.ts';

export function commitRoutes(api: Api, deps: CommitDeps): void {
  api.post('/commit', async (c) => {
    const container = text(c, 'container');
    if (!container) throw invalid('no container named');
    const body = await jsonBody(c, 'commit-config', { optional: true });
    const options = {
      repository: text(c, 'repo'),
      tag: text(c, 'tag'),
      comment: text(c, 'comment') ?? '',
      author: text(c, 'author') ?? '',
      pause: flag(c, 'pause', true),
      changes: c.req.queries('changes') ?? [],
      config: body,
    };
    const id = await took('container', 'commit', () => commitContainer(deps, container, options));
    return c.json({ Id: id }, 201);
  });
}
