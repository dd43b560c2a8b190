/** /images: list, inspect, history, tag, remove, prune, save, load and import. Pull and push are the transfers'. */
import { type ImportRequest, importImage as importLines } from '../../image/archive/import.ts';
import { loadImages } from '../../image/archive/load.ts';
import { saveImages } from '../../image/archive/save.ts';
import { deleteImage } from '../../image/delete.ts';
import { LIST_FILTERS, listImages } from '../../image/list.ts';
import { PRUNE_FILTERS, pruneImages } from '../../image/prune.ts';
import { canonical, parseReference, withDefaultTag, withTagOrDigest } from '../../image/reference.ts';
import type { ImageServices } from '../../image/services.ts';
import { imageHistory, inspectImage } from '../../image/view.ts';
import { invalid } from '../../errors.ts';
import {
  type Api,
  type ApiContext,
  atLeast,
  bodyStream,
  byteStream,
  filtersOf,
  flag,
  jsonStream,
  text,
} from '../kit.ts';
import { ociPlatform } from '../platform.ts';

export function imageRoutes(api: Api, services: ImageServices): void {
  const { catalog, images } = services;

  api.get('/images/json', (c) => c.json(listDocument(c, services)));

  api.get('/images/get', (c) => archiveAnswer(c, services, namesOf(c)));

  api.post('/images/load', (c) => {
    const options = { quiet: flag(c, 'quiet'), platform: ociPlatform(c) };
    return jsonStream(c, loadImages(services, bodyStream(c), options));
  });

  api.post('/images/prune', async (c) => c.json(await pruneImages(services, filtersOf(c, PRUNE_FILTERS))));

  // Whoever owns pulling answers the same path when nothing is imported.
  api.post('/images/create', async (c, next) => (text(c, 'fromImage') ? next() : importImage(c, services)));

  api.get('/images/:name{.+}/json', (c) => {
    const image = catalog.get(c.req.param('name'), ociPlatform(c));
    return c.json(inspectImage(services, image, (version) => atLeast(c, version)));
  });

  api.get('/images/:name{.+}/history', (c) =>
    c.json(imageHistory(services, catalog.get(c.req.param('name'), ociPlatform(c)))),
  );

  api.get('/images/:name{.+}/get', (c) => archiveAnswer(c, services, [c.req.param('name')]));

  api.post('/images/:name{.+}/tag', async (c) => {
    const { id } = catalog.get(c.req.param('name'));
    await images.tag(id, tagOf(text(c, 'repo'), text(c, 'tag')));
    return c.body(null, 201);
  });

  api.delete('/images/:name{.+}', async (c) => {
    const name = c.req.param('name');
    return c.json(await deleteImage(services, name, { force: flag(c, 'force'), prune: !flag(c, 'noprune') }));
  });
}

function listDocument(c: ApiContext, services: ImageServices): object[] {
  const filters = filtersOf(c, LIST_FILTERS);
  const summaries = listImages(services, {
    all: flag(c, 'all'),
    filters,
    sharedSize: flag(c, 'shared-size'),
    containers: atLeast(c, '1.51'),
  });
  return summaries.map((summary) => {
    const unnamed = !summary.RepoTags?.length && !summary.RepoDigests?.length && !atLeast(c, '1.43');
    return {
      ...summary,
      ...(unnamed ? { RepoTags: ['<none>:<none>'], RepoDigests: ['<none>@<none>'] } : {}),
      ...(atLeast(c, '1.44') ? {} : { VirtualSize: summary.Size }),
    };
  });
}

function namesOf(c: ApiContext): string[] {
  const names = (c.req.queries('names') ?? []).filter(Boolean);
  if (!names.length) throw invalid('no image names were given');
  return names;
}

const archiveAnswer = (c: ApiContext, services: ImageServices, names: string[]): Response | Promise<Response> =>
  byteStream(c, saveImages(services, names, ociPlatform(c)), 'application/x-tar', { own: true });

function tagOf(repo: string | undefined, tag: string | undefined): string {
  const parsed = parseReference(repo ?? '');
  if (parsed.digest) throw invalid('cannot import digest reference', { code: 'tag' });
  return canonical(tag ? withTagOrDigest(parsed, tag) : withDefaultTag(parsed));
}

/** POST /images/create with fromSrc. */
export async function importImage(c: ApiContext, services: ImageServices): Promise<Response> {
  const wanted: ImportRequest = {
    source: text(c, 'fromSrc') ?? '',
    body: bodyStream(c),
    repo: text(c, 'repo'),
    tag: text(c, 'tag'),
    message: text(c, 'message'),
    changes: c.req.queries('changes') ?? [],
    platform: text(c, 'platform'),
    signal: c.get('gone'),
  };
  const lines = importLines(services, wanted);
  // What goes wrong before there is a line has a status of its own.
  const first = await lines.next();
  return jsonStream(c, after(first, lines));
}

async function* after<T>(first: IteratorResult<T>, rest: AsyncIterable<T>): AsyncGenerator<T> {
  if (!first.done) yield first.value;
  yield* rest;
}
