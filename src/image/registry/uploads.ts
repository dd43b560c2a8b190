/** The writing half of the distribution specification: blobs that are there, mounted or sent, and manifests. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import type { Descriptor } from '../store-port.ts';
import { BrokenAnswer, ConnectionFailure, RegistryRefusal } from './failure.ts';
import { withRetries, type RetryOptions } from './retry.ts';
import type { RegistrySession } from './session.ts';
import { type Answer, discard, placeOf, requestText } from './transport.ts';

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
/** What is tried, in turn, where a whole blob is refused. */
const LESSER_BODIES = [64 << 20, 16 << 20, 4 << 20, 1 << 20, 512 << 10];

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
  const { session, blob, from, signal } = upload;
  let most = Number.POSITIVE_INFINITY;
  return withRetries({ ...upload.retries, signal }, async (attempt) => {
    for (let round = 1; ; round++) {
      const url = session.url('blobs/uploads/');
      if (from && attempt === 1 && round === 1) {
        url.searchParams.set('mount', blob.digest);
        url.searchParams.set('from', from);
      }
      const begun = await session.call('POST', url, { headers: { 'content-length': '0' }, signal });
      discard(begun.body);
      if (begun.status === 201) return 'mounted';
      try {
        await send(upload, begun, most);
        return 'sent';
      } catch (thrown) {
        const less = LESSER_BODIES.find((size) => size < Math.min(most, blob.size));
        if (less === undefined || !isTooMuch(thrown)) throw thrown;
        most = less;
      }
    }
  });
}

/** A registry, or a proxy before it, that does not take a blob as one body. */
const isTooMuch = (thrown: unknown): boolean =>
  thrown instanceof RegistryRefusal && (thrown.status === 413 || thrown.status === 405 || thrown.status === 501);

/** `most`: bytes of the largest body; a blob with more goes in several, one after another. */
async function send(upload: BlobUpload, begun: Answer, most: number): Promise<void> {
  const { session, blob } = upload;
  let place = placeOf(session.endpoint, begun.url, begun.headers.location);
  let sent = 0;
  if (blob.size > most) {
    const least = Number(begun.headers['oci-chunk-min-length']) || 0;
    for (const piece = Math.max(most, least); sent < blob.size;) {
      const size = Math.min(piece, blob.size - sent);
      const headers = { 'content-range': `${sent}-${sent + size - 1}` };
      const answer = await sendRange(upload, 'PATCH', place, { start: sent, size, headers });
      sent += size;
      const has = /^(?:bytes=)?0-(\d+)$/.exec(String(answer.headers.range))?.[1];
      if (has !== undefined && Number(has) !== sent - 1)
        throw new BrokenAnswer(`${requestText('PATCH', place)}: of ${sent} bytes the registry has ${Number(has) + 1}`);
      place = placeOf(session.endpoint, answer.url, answer.headers.location);
    }
  }
  place.searchParams.set('digest', blob.digest);
  await sendRange(upload, 'PUT', place, { start: sent, size: blob.size - sent });
}

interface Range {
  start: number;
  size: number;
  headers?: Record<string, string>;
}

async function sendRange(
  { session, path, signal, onProgress }: BlobUpload,
  method: 'PUT' | 'PATCH',
  place: URL,
  { start, size, headers }: Range,
): Promise<Answer> {
  const stalled = new AbortController();
  const why = `${requestText(method, place)}: the registry stopped taking data`;
  const timer = setTimeout(() => stalled.abort(new ConnectionFailure(why, true, undefined)), STALL_MS);
  const pieces = async function* (): AsyncGenerator<Buffer> {
    let sent = start;
    const range = { start, end: start + size - 1, highWaterMark: PIECE };
    for await (const piece of createReadStream(path, range) as AsyncIterable<Buffer>) {
      yield piece;
      sent += piece.length;
      timer.refresh();
      onProgress(sent);
    }
  };
  try {
    const answer = await session.call(method, place, {
      headers: { 'content-type': 'application/octet-stream', 'content-length': String(size), ...headers },
      body: () => (size ? Readable.from(pieces(), { objectMode: false, highWaterMark: PIECE }) : ''),
      signal: AbortSignal.any([signal, stalled.signal]),
    });
    discard(answer.body);
    return answer;
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
