/** `docker import`: a tar of a whole root filesystem, from the client or from a URL, becomes an image of one layer. */
import { Readable } from 'node:stream';
import { applyChanges } from '../../build/changes.ts';
import { invalid, unavailable } from '../../errors.ts';
import { decompress } from '../../tar/decompress.ts';
import { publishImage } from '../events.ts';
import { parsePlatform } from '../manifest.ts';
import { familiar, parseReference, withDefaultTag, withTagOrDigest } from '../reference.ts';
import type { ImageServices } from '../services.ts';

export interface ImportRequest {
  /** "-" for the body, or where to download from. */
  source: string;
  body: Readable;
  repo?: string;
  tag?: string;
  message?: string;
  changes: readonly string[];
  platform?: string;
  signal?: AbortSignal;
}

const HEADERS_TIMEOUT_MS = 30_000;
const BODY_TIMEOUT_MS = 60_000;

/** The name to give, checked before anything is read. */
export function importName({ repo, tag }: Pick<ImportRequest, 'repo' | 'tag'>): string | undefined {
  if (!repo) return undefined;
  const parsed = parseReference(repo);
  if (parsed.digest) throw invalid('cannot import digest reference', { code: 'reference' });
  return familiar(withDefaultTag(tag ? withTagOrDigest(parsed, tag) : parsed));
}

async function download(source: string, signal?: AbortSignal): Promise<Readable> {
  const url = URL.parse(/^https?:\/\//.test(source) ? source : `http://${source}`);
  if (!url?.host) throw invalid(`invalid source ${JSON.stringify(source)} of an import`);
  const { Agent, request } = (await import('undici')).default;
  const dispatcher = new Agent({ headersTimeout: HEADERS_TIMEOUT_MS, bodyTimeout: BODY_TIMEOUT_MS });
  const close = (): void => void dispatcher.destroy().catch(() => {});
  try {
    const { statusCode, body } = await request(url, { dispatcher, signal });
    if (statusCode >= 400) throw unavailable(`${url.href}: answered ${statusCode}`);
    return body.on('close', close);
  } catch (error) {
    close();
    throw error;
  }
}

/** Docker's JSON lines: the last one has the new image's id. */
export async function* importImage(services: ImageServices, wanted: ImportRequest): AsyncGenerator<object> {
  const { images, bus, clock, hostPlatform } = services;
  const name = importName(wanted);
  const config = applyChanges({}, wanted.changes);
  const { os, architecture, variant } = wanted.platform ? parsePlatform(wanted.platform, hostPlatform) : hostPlatform;
  const fromBody = wanted.source === '-';
  if (!fromBody) yield { status: `Downloading from ${wanted.source}` };
  const source = fromBody ? wanted.body : await download(wanted.source, wanted.signal);
  const created = new Date(clock.now()).toISOString();
  const comment = wanted.message || `Imported from ${wanted.source}`;
  const image = await images.create({
    layers: [await decompress(source)],
    config: { architecture, os, ...(variant ? { variant } : {}), created, config, history: [{ created, comment }] },
    ...(name ? { tag: name } : {}),
  });
  publishImage(bus, 'import', image, name ?? image.id);
  yield { status: image.id };
}
