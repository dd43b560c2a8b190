/** Fetches one blob into a file, going on from what the file already holds; it is written and hashed in a worker thread. */
import type { Readable } from 'node:stream';
import { stat } from 'node:fs/promises';
import { DaemonError } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { release } from '../../lib/memory.ts';
import type { BlobWriter } from '../content/writers.ts';
import type { Descriptor } from '../store-port.ts';
import { BrokenAnswer, ConnectionFailure, connectionFailure, RegistryRefusal } from './failure.ts';
import { withRetries } from './retry.ts';
import type { RegistrySession } from './session.ts';
import { discard } from './transport.ts';

export interface BlobFetch {
  session: Pick<RegistrySession, 'open'>;
  blob: Descriptor;
  path: string;
  writers: { open(path: string, from?: number): BlobWriter };
  retries: { attempts: number; backoffMs: number; clock: Clock };
  signal: AbortSignal;
  onProgress(current: number): void;
  onRetry(delayMs: number): void;
}

export interface FetchedFile {
  /** Some of it was there before: a wrong digest may be the fault of that part. */
  resumed: boolean;
  digest(): Promise<string>;
}

/** The file as far as it was handed to its writer. */
interface Growing {
  at: number;
  writer: BlobWriter;
}

export async function fetchBlob(fetch: BlobFetch): Promise<FetchedFile> {
  const { blob, path, writers, signal, retries, onRetry } = fetch;
  const there = await sizeOf(path);
  const from = there <= blob.size ? there : 0;
  const file: Growing = { at: from, writer: writers.open(path, from) };
  try {
    await withRetries({ ...retries, signal, onRetry: (_, delay) => onRetry(delay) }, () => fetchRest(fetch, file));
  } catch (error) {
    await file.writer.abandon();
    throw error;
  }
  return { resumed: from > 0, digest: async () => (await file.writer.finish()).digest };
}

/** One try: what is missing, or everything where the registry knows no ranges. */
async function fetchRest(fetch: BlobFetch, file: Growing): Promise<void> {
  const { session, blob, path, writers, signal } = fetch;
  if (file.at === blob.size && file.at > 0) return;
  const answer = await session.open(blob, file.at, signal).catch((error: unknown) => {
    if (!(error instanceof RegistryRefusal && error.status === 416)) throw error;
    return session.open(blob, 0, signal);
  });
  try {
    if (answer.offset < file.at) {
      await file.writer.abandon();
      file.writer = writers.open(path);
      file.at = 0;
    }
    await append(fetch, file, answer.body);
  } finally {
    discard(answer.body);
  }
}

async function append({ blob, onProgress }: BlobFetch, file: Growing, body: Readable): Promise<void> {
  const request = `Get blob ${blob.digest}`;
  const { writer } = file;
  await eachPiece(body, (piece) => {
    if (file.at + piece.length > blob.size)
      throw new BrokenAnswer(`${request}: more than the ${blob.size} bytes of its descriptor`);
    file.at += piece.length;
    const room = writer.write(piece);
    release(piece);
    onProgress(file.at);
    return room;
  }).catch((error: unknown) => {
    throw error instanceof DaemonError || error instanceof BrokenAnswer ? error : connectionFailure(request, error);
  });
  if (file.at < blob.size)
    throw new ConnectionFailure(`${request}: unexpected EOF after ${file.at} of ${blob.size} bytes`, true, undefined);
}

/** Each piece as it came; an iterator over the stream would copy what piled up into one. */
function eachPiece(body: Readable, take: (piece: Buffer) => Promise<void> | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    body.on('error', reject);
    body.on('end', resolve);
    body.on('close', () => reject(body.errored ?? Object.assign(new Error('aborted'), { code: 'UND_ERR_SOCKET' })));
    body.on('data', (piece: Buffer) => {
      try {
        const room = take(piece);
        if (!room) return;
        body.pause();
        room.then(() => body.resume(), reject);
      } catch (error) {
        reject(error);
        body.pause();
      }
    });
  });
}

const sizeOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    () => 0,
  );
