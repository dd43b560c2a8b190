/**
 * A registry on loopback that serves one image well, until a test steps in front of it: the interceptor sees every
 * request first and answers it itself, or returns false. All requests are kept for what they carried.
 */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { BuiltImage } from './fixture-image.ts';

export type Interceptor = (request: IncomingMessage & { url: string }, response: ServerResponse) => unknown;

export interface FaultyRegistry {
  host: string;
  url: string;
  image: BuiltImage;
  /** Returns false for what it leaves to the registry; anything else means that it has answered. */
  intercept: Interceptor | undefined;
  requests: { method: string; url: string; headers: IncomingHttpHeaders }[];
  stop(): Promise<void>;
}

const REPOSITORY = /^\/v2\/(.+)\/(manifests|blobs)\/([^/?]+)$/;

export function sendBlob(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  if (from >= bytes.length && from > 0) return void response.writeHead(416).end();
  response.writeHead(from > 0 ? 206 : 200, {
    'content-type': 'application/octet-stream',
    'content-length': bytes.length - from,
    ...(from > 0 ? { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {}),
  });
  response.end(bytes.subarray(from));
}

function serve(image: BuiltImage, request: IncomingMessage, response: ServerResponse): void {
  const [, , kind, name] = REPOSITORY.exec(request.url!) ?? [];
  if (request.url === '/v2/') return void response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  const digest = kind === 'manifests' && !name!.startsWith('sha256:') ? image.manifest.digest : name;
  const bytes = image.blobs.get(digest ?? '');
  if (!bytes) {
    const code = kind === 'manifests' ? 'MANIFEST_UNKNOWN' : 'BLOB_UNKNOWN';
    const body = JSON.stringify({ errors: [{ code, message: 'not here' }] });
    return void response.writeHead(404, { 'content-type': 'application/json' }).end(body);
  }
  if (kind === 'blobs') return sendBlob(request, response, bytes);
  response.writeHead(200, { 'content-type': image.manifest.mediaType, 'docker-content-digest': digest! });
  response.end(bytes);
}

export async function startFaultyRegistry(image: BuiltImage): Promise<FaultyRegistry> {
  const registry = { image, intercept: undefined, requests: [] } as unknown as FaultyRegistry;
  const server = createServer((request, response) => {
    registry.requests.push({ method: request.method!, url: request.url!, headers: request.headers });
    request.resume();
    response.on('error', () => {});
    if (registry.intercept && registry.intercept(request as IncomingMessage & { url: string }, response) !== false)
      return;
    serve(registry.image, request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  registry.host = `127.0.0.1:${port}`;
  registry.url = `http://127.0.0.1:${port}`;
  registry.stop = () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return registry;
}
