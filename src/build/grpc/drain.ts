/** Waiting for a stream that has enough, without leaving listeners behind. */
import { once } from 'node:events';
import type { Writable } from 'node:stream';

/** Resolves when the stream takes more, or is gone. */
export async function drained(stream: Writable): Promise<void> {
  if (stream.destroyed || !stream.writableNeedDrain) return;
  const controller = new AbortController();
  const { signal } = controller;
  await Promise.race([once(stream, 'drain', { signal }), once(stream, 'close', { signal })]).catch(() => {});
  controller.abort();
}
