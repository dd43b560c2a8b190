/** `docker import`: a tar of a whole root filesystem, from the client or from a URL, becomes an image of one layer. */
import { STATUS_CODES } from 'node:http';
import type { Readable } from 'node:stream';
import { applyChanges } from '../../build/changes.ts';
import { forbidden, internal, invalid, notFound, unauthorized } from '../../errors.ts';
import { decompress } from '../../tar/decompress.ts';
import { publishImage } from '../events.ts';
import { parsePlatform } from '../manifest.ts';
import { connectionFailure } from '../registry/failure.ts';
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
function importName({ repo, tag }: Pick<ImportRequest, 'repo' | 'tag'>): string | undefined {
  if (!repo) return undefined;
  const parsed = parseReference(repo);
  if (parsed.digest) throw invalid('cannot import digest reference', { code: 'reference' });
  return familiar(withDefaultTag(tag ? withTagOrDigest(parsed, tag) : parsed));
}

/** What a server that refuses makes of the request. */
const REFUSALS: Readonly<Record<number, typeof invalid>> = { 401: unauthorized, 403: forbidden, 404: notFound };

/** An address as logs, errors and histories may have it: without its password. */
const shown = (address: string): string => address.replace(/(\/\/[^/?#@:]*):[^/?#]*@/, '$1:***@');

async function download(source: string, signal?: AbortSignal): Promise<Readable> {
  const url = URL.parse(source.includes('://') ? source : `http://${source}`);
  const address = shown(url?.href ?? source);
  if (!url?.host) throw invalid(`Get ${JSON.stringify(address)}: http: no Host in request URL`);
  if (!/^https?:$/.test(url.protocol))
    throw invalid(`Get "${address}": unsupported protocol scheme "${url.protocol.slice(0, -1)}"`);
  const { Agent, request } = (await import('undici')).default;
  const dispatcher = new Agent({ headersTimeout: HEADERS_TIMEOUT_MS, bodyTimeout: BODY_TIMEOUT_MS });
  const close = (): void => void dispatcher.destroy().catch(() => {});
  try {
    const { statusCode, body } = await request(url, { dispatcher, signal }).catch((error: unknown) => {
      throw internal(connectionFailure(`Get "${address}"`, error).message, { cause: error });
    });
    if (statusCode < 400) return body.on('close', close);
    const refuse = REFUSALS[statusCode] ?? (statusCode < 500 ? invalid : internal);
    throw refuse(`failed to GET ${address} with status ${statusCode} ${STATUS_CODES[statusCode] ?? ''}`);
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
  const source = fromBody ? wanted.body : await download(wanted.source, wanted.signal);
  if (!fromBody) yield { status: `Downloading from ${wanted.source}` };
  const created = new Date(clock.now()).toISOString();
  const comment = wanted.message || `Imported from ${shown(wanted.source)}`;
  const image = await images.create({
    layers: [await decompress(source)],
    config: { architecture, os, ...(variant ? { variant } : {}), created, config, history: [{ created, comment }] },
    ...(name ? { tag: name } : {}),
  });
  publishImage(bus, 'import', image, name ?? image.id);
  yield { status: image.id };
}
