/** Fetches one blob into a file, going on from what the file already holds, and has it hashed beside that. */
import { open, stat } from 'node:fs/promises';
import { DaemonError, internal } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Descriptor } from '../store-port.ts';
import type { Digester, Following } from './digester.ts';
import { BrokenAnswer, ConnectionFailure, connectionFailure, RegistryRefusal } from './failure.ts';
import { withRetries } from './retry.ts';
import type { RegistrySession } from './session.ts';
import { discard } from './transport.ts';

export interface BlobFetch {
  session: Pick<RegistrySession, 'open'>;
  blob: Descriptor;
  path: string;
  digester: Digester;
  retries: { attempts: number; backoffMs: number; clock: Clock };
  signal: AbortSignal;
  onProgress(current: number): void;
  onRetry(delayMs: number): void;
}

export interface FetchedFile {
  /** Some of it was there before: a wrong digest may be the fault of that part. */
  resumed: boolean;
  digest(): Promise<string>;
  abandon(): void;
}

export async function fetchBlob(fetch: BlobFetch): Promise<FetchedFile> {
  const { blob, path, digester, signal, retries, onRetry } = fetch;
  const resumed = (await sizeOf(path)) > 0;
  const hash: { now: Following } = { now: digester.follow(path) };
  try {
    await withRetries({ ...retries, signal, onRetry: (_, delay) => onRetry(delay) }, () => fetchRest(fetch, hash));
  } catch (error) {
    hash.now.abandon();
    throw error;
  }
  return { resumed, digest: () => hash.now.finish(blob.size), abandon: () => hash.now.abandon() };
}

/** One try: what is missing, or everything where the registry knows no ranges. */
async function fetchRest(fetch: BlobFetch, hash: { now: Following }): Promise<void> {
  const { session, blob, path, digester, signal } = fetch;
  const there = await sizeOf(path);
  if (there === blob.size && there > 0) return hash.now.written(there);
  const wanted = there < blob.size ? there : 0;
  const answer = await session.open(blob.digest, wanted, signal).catch((error: unknown) => {
    if (!(error instanceof RegistryRefusal && error.status === 416)) throw error;
    return session.open(blob.digest, 0, signal);
  });
  if (answer.offset < there) {
    hash.now.abandon();
    hash.now = digester.follow(path);
  }
  const file = await open(path, answer.offset > 0 ? 'r+' : 'w', 0o600).catch((error: unknown) => {
    discard(answer.body);
    throw internal(`failed to write the download: ${(error as Error).message}`, { cause: error });
  });
  try {
    await append(fetch, file, answer, hash.now);
  } finally {
    discard(answer.body);
    await file.close();
  }
}

async function append(
  { blob, onProgress }: BlobFetch,
  file: { write(chunk: Uint8Array, offset: number, length: number, position: number): Promise<unknown> },
  { body, offset }: Awaited<ReturnType<RegistrySession['open']>>,
  hash: Following,
): Promise<void> {
  const request = `Get blob ${blob.digest}`;
  let at = offset;
  const chunks = (body as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  for (;;) {
    const next = await chunks.next().catch((error: unknown) => {
      throw error instanceof DaemonError ? error : connectionFailure(request, error);
    });
    if (next.done) break;
    if (at + next.value.length > blob.size)
      throw new BrokenAnswer(`${request}: more than the ${blob.size} bytes of its descriptor`);
    await writeAll(file, next.value, at);
    at += next.value.length;
    hash.written(at);
    onProgress(at);
  }
  if (at < blob.size)
    throw new ConnectionFailure(`${request}: unexpected EOF after ${at} of ${blob.size} bytes`, true, undefined);
}

async function writeAll(file: Parameters<typeof append>[1], chunk: Buffer, position: number): Promise<void> {
  try {
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = (await file.write(chunk, done, chunk.length - done, position + done)) as {
        bytesWritten: number;
      };
      done += bytesWritten;
    }
  } catch (error) {
    throw internal(`failed to write the download: ${(error as Error).message}`, { cause: error });
  }
}

const sizeOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    () => 0,
  );
