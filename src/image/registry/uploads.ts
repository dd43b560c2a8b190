/** The writing half of the distribution specification: blobs that are there, mounted or sent, and manifests. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import type { Descriptor } from '../store-port.ts';
import { BrokenAnswer, ConnectionFailure, RegistryRefusal } from './failure.ts';
import { withRetries, type RetryOptions } from './retry.ts';
import type { RegistrySession } from './session.ts';
import { discard, placeOf } from './transport.ts';

export interface BlobUpload {
  session: RegistrySession;
  blob: Descriptor;
  /** File with the blob's bytes. */
  path: string;
  retries: Omit<RetryOptions, 'signal' | 'onRetry'>;
  /** Repository of the same registry that has the blob. */
  from?: string;
  signal: AbortSignal;
  onProgress(current: number): void;
}

const PIECE = 256 << 10;
/** A registry that takes nothing for so long, or does not answer a whole blob, is given up. */
const STALL_MS = 300_000;

export async function hasBlob(session: RegistrySession, digest: string, signal: AbortSignal): Promise<boolean> {
  try {
    discard((await session.call('HEAD', session.url(`blobs/${digest}`), { signal })).body);
    return true;
  } catch (thrown) {
    if (thrown instanceof RegistryRefusal && thrown.status === 404) return false;
    throw thrown;
  }
}

/** Brings a blob into the repository. Says whether it was mounted from another one. */
export function uploadBlob(upload: BlobUpload): Promise<'mounted' | 'sent'> {
  return withRetries({ ...upload.retries, signal: upload.signal }, async (attempt) => {
    const { session, blob, from, signal } = upload;
    const url = session.url('blobs/uploads/');
    if (from && attempt === 1) {
      url.searchParams.set('mount', blob.digest);
      url.searchParams.set('from', from);
    }
    const begun = await session.call('POST', url, { headers: { 'content-length': '0' }, signal });
    discard(begun.body);
    if (begun.status === 201) return 'mounted';
    await send(upload, placeOf(session.endpoint, begun.url, begun.headers.location));
    return 'sent';
  });
}

async function send({ session, blob, path, signal, onProgress }: BlobUpload, place: URL): Promise<void> {
  place.searchParams.set('digest', blob.digest);
  const stalled = new AbortController();
  const timer = setTimeout(
    () =>
      stalled.abort(
        new ConnectionFailure(
          `Put "${place.origin}${place.pathname}": the registry stopped taking data`,
          true,
          undefined,
        ),
      ),
    STALL_MS,
  );
  const pieces = async function* (): AsyncGenerator<Buffer> {
    let sent = 0;
    for await (const piece of createReadStream(path, { highWaterMark: PIECE }) as AsyncIterable<Buffer>) {
      yield piece;
      sent += piece.length;
      timer.refresh();
      onProgress(sent);
    }
  };
  try {
    const answer = await session.call('PUT', place, {
      headers: { 'content-type': 'application/octet-stream', 'content-length': String(blob.size) },
      body: () => Readable.from(pieces(), { objectMode: false, highWaterMark: PIECE }),
      signal: AbortSignal.any([signal, stalled.signal]),
    });
    discard(answer.body);
  } finally {
    clearTimeout(timer);
  }
}

/** Puts a manifest; the registry's idea of its digest must be ours. */
export async function putManifest(
  session: RegistrySession,
  tag: string,
  manifest: { bytes: Uint8Array; descriptor: Descriptor },
  signal: AbortSignal,
): Promise<void> {
  const { mediaType, digest } = manifest.descriptor;
  const answer = await session.call('PUT', session.url(`manifests/${tag}`), {
    headers: { 'content-type': mediaType },
    body: () => manifest.bytes,
    signal,
  });
  discard(answer.body);
  const said = answer.headers['docker-content-digest'];
  if (typeof said === 'string' && said.startsWith('sha256:') && said !== digest)
    throw new BrokenAnswer(`the registry stored the manifest as ${said}, not as ${digest}`);
}
