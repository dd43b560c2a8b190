/**
 * Blobs on their way into the content store: one transfer of a digest however many pulls want it, so many at a time over
 * all pulls. A transfer that was interrupted goes on where it stopped, also after a restart of the daemon.
 */
import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { cancelled, DaemonError } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { Lanes } from '../../lib/lanes.ts';
import type { ContentStore, Descriptor } from '../store-port.ts';
import { fetchBlob, type BlobFetch } from './blob-file.ts';
import { BrokenAnswer } from './failure.ts';
import type { RegistrySession } from './session.ts';
import type { Slots } from './slots.ts';

export interface DownloadListener {
  /** As many as may are under way already. */
  waits(): void;
  progress(current: number): void;
  retry(delayMs: number): void;
}

/** One pull's part in a transfer. The promises settle in this order, and fail together. */
export interface Download {
  started: Promise<void>;
  downloaded: Promise<void>;
  /** Verified, and in the content store. */
  committed: Promise<void>;
  /** This pull wants it no more; the last one to leave ends the transfer. Harmless afterwards. */
  leave(): void;
}

export interface DownloadsDeps {
  content: Pick<ContentStore, 'has' | 'ingestPath' | 'commitIngest'>;
  writers: BlobFetch['writers'];
  slots: Slots;
  retries: { attempts: number; backoffMs: number; clock: Clock };
}

type Step = PromiseWithResolvers<void>;

interface Transfer {
  started: Step;
  downloaded: Step;
  committed: Step;
  /** For one of the turns. */
  isWaiting: boolean;
  listeners: Set<DownloadListener>;
  controller: AbortController;
}

const step = (): Step => {
  const made = Promise.withResolvers<void>();
  made.promise.catch(() => {});
  return made;
};

export class Downloads {
  #transfers = new Map<string, Transfer>();
  /** Transfers that nobody wants any more, until they have let go of their files. */
  #leaving = new Set<Promise<void>>();
  /** A blob's file has one writer: a transfer that was left lets go of it before the next begins. */
  #lanes = new Lanes();
  #deps: DownloadsDeps;

  constructor(deps: DownloadsDeps) {
    this.#deps = deps;
  }

  /** Takes part in the transfer of a blob, beginning it when there is none. */
  join(session: Pick<RegistrySession, 'open'>, blob: Descriptor, listener: DownloadListener): Download {
    const transfer = this.#transfers.get(blob.digest) ?? this.#begin(session, blob);
    transfer.listeners.add(listener);
    if (transfer.isWaiting) listener.waits();
    return {
      started: transfer.started.promise,
      downloaded: transfer.downloaded.promise,
      committed: transfer.committed.promise,
      leave: () => {
        if (!transfer.listeners.delete(listener) || transfer.listeners.size > 0) return;
        this.#forget(blob.digest, transfer);
        transfer.controller.abort(cancelled('the download was cancelled'));
        const ended = transfer.committed.promise;
        this.#leaving.add(ended);
        void ended.catch(() => {}).finally(() => this.#leaving.delete(ended));
      },
    };
  }

  /** Whatever was left so far has ended. */
  async left(): Promise<void> {
    await Promise.allSettled(this.#leaving);
  }

  /** Ends all transfers and waits until their files are closed. */
  async close(): Promise<void> {
    const ended = [...this.#transfers].map(([digest, transfer]) => {
      transfer.controller.abort(cancelled('the daemon stops'));
      return this.#lanes.run(digest, async () => {});
    });
    await Promise.all(ended);
  }

  #forget(digest: string, transfer: Transfer): void {
    if (this.#transfers.get(digest) === transfer) this.#transfers.delete(digest);
  }

  #begin(session: Pick<RegistrySession, 'open'>, blob: Descriptor): Transfer {
    const transfer: Transfer = {
      started: step(),
      downloaded: step(),
      committed: step(),
      isWaiting: false,
      listeners: new Set(),
      controller: new AbortController(),
    };
    this.#transfers.set(blob.digest, transfer);
    void this.#lanes
      .run(blob.digest, () => this.#run(session, blob, transfer))
      .then(
        () => [transfer.started, transfer.downloaded, transfer.committed].forEach(({ resolve }) => resolve()),
        (error: unknown) =>
          [transfer.started, transfer.downloaded, transfer.committed].forEach(({ reject }) => reject(error)),
      )
      .finally(() => this.#forget(blob.digest, transfer));
    return transfer;
  }

  async #run(session: Pick<RegistrySession, 'open'>, blob: Descriptor, transfer: Transfer): Promise<void> {
    const { content, slots } = this.#deps;
    if (content.has(blob.digest)) return;
    const path = content.ingestPath(blob.digest);
    const release = await slots.take(transfer.controller.signal, () => {
      transfer.isWaiting = true;
      transfer.listeners.forEach((listener) => listener.waits());
    });
    transfer.isWaiting = false;
    transfer.started.resolve();
    try {
      await mkdir(dirname(path), { recursive: true });
      await this.#fetchVerified(session, blob, path, transfer, release);
    } catch (error) {
      // Half a blob that waits to be continued would keep the disk full.
      if (error instanceof DaemonError && error.code === 'disk-full') await rm(path, { force: true });
      throw error;
    } finally {
      release();
    }
    transfer.controller.signal.throwIfAborted();
    await content.commitIngest(blob.digest);
  }

  /** Fetches and verifies; when what an earlier try left in the file is rotten, once more from the start. */
  async #fetchVerified(
    session: Pick<RegistrySession, 'open'>,
    blob: Descriptor,
    path: string,
    transfer: Transfer,
    release: () => void,
  ): Promise<void> {
    const { writers, retries } = this.#deps;
    for (let resumed = true; resumed;) {
      const fetched = await fetchBlob({
        ...{ session, blob, path, writers, retries },
        signal: transfer.controller.signal,
        onProgress: (current) => transfer.listeners.forEach((listener) => listener.progress(current)),
        onRetry: (delay) => transfer.listeners.forEach((listener) => listener.retry(delay)),
      });
      resumed = fetched.resumed;
      if (!resumed) {
        transfer.downloaded.resolve();
        release();
      }
      if ((await fetched.digest()) === blob.digest) return;
      await rm(path, { force: true });
    }
    throw new BrokenAnswer(`filesystem layer verification failed for digest ${blob.digest}`);
  }
}
