/** Where a worker thread's code lies: beside its caller in the sources, flat in dist/ when bundled. */
import { fileURLToPath } from 'node:url';

declare const REACTORD_BUNDLED: boolean | undefined;

export const bundled = typeof REACTORD_BUNDLED !== 'undefined';

/** `path` is relative to src/, such as `image/layers/worker.ts`. Worker files are named worker.ts or …-worker.ts. */
export function workerFile(path: string): string {
  const file = bundled ? `./${path.replaceAll('/', '-').replace(/\.ts$/, '.mjs')}` : `../${path}`;
  return fileURLToPath(new URL(file, import.meta.url));
}

/** Niceness of threads that move bytes (Linux has it by thread): the event loop answers first. */
export const BEHIND_THE_LOOP = 5;
