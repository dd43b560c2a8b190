/** The worker threads for files of builds; started with the first build, gone when idle. */
import { existsSync } from 'node:fs';
import { Piscina } from 'piscina';
import { asDaemonError, cancelled, DaemonError } from '../../errors.ts';
import { workerFile } from '../../lib/worker-file.ts';
import type { Digested } from './digest.ts';
import type { Selection, Tree } from './select.ts';
import run, { type FilesResult, type FilesTask } from './worker.ts';

const IDLE_MS = 10_000;

export type CopyJob = Omit<Extract<FilesTask, { kind: 'copy' }>, 'kind'>;

function isSmall(task: FilesTask): boolean {
  if (task.kind === 'unpack') return !!task.small;
  return task.kind === 'digest' ? !!task.tree.small : task.copies.every(({ tree }) => tree.small);
}

export class BuildFiles {
  #pool: Piscina<FilesTask, FilesResult> | undefined;
  /** By root. */
  #unpacking = new Map<string, Promise<unknown>>();

  async #run(task: FilesTask, signal: AbortSignal): Promise<Digested | undefined> {
    const result = isSmall(task) ? run(task) : await this.#inThread(task, signal);
    if (result.ok) return result.digest;
    throw new DaemonError(result.kind, result.message, { code: result.code });
  }

  async #inThread(task: FilesTask, signal: AbortSignal): Promise<FilesResult> {
    this.#pool ??= new Piscina<FilesTask, FilesResult>({
      filename: workerFile('build/files/worker.ts'),
      minThreads: 0,
      maxThreads: 2,
      idleTimeout: IDLE_MS,
    });
    try {
      return await this.#pool.run(task, { signal });
    } catch (error) {
      if (signal.aborted) throw cancelled('the build was cancelled');
      throw asDaemonError(error);
    }
  }

  /** `owners`: owners count, as they do when a copy keeps them. */
  async digest(tree: Tree, selection: Selection, owners: boolean, signal: AbortSignal): Promise<Digested> {
    const digested = await this.#run({ kind: 'digest', tree, selection, owners }, signal);
    return digested ?? (await this.digest(await this.unpacked(tree, signal), selection, owners, signal));
  }

  /** The tree as a directory. */
  async unpacked({ archive, ...tree }: Tree, signal: AbortSignal): Promise<Tree> {
    const { root, small } = tree;
    if (archive === undefined || existsSync(root)) return tree;
    const unpacking =
      this.#unpacking.get(root) ??
      this.#run({ kind: 'unpack', archive, root, small }, signal).finally(() => this.#unpacking.delete(root));
    this.#unpacking.set(root, unpacking);
    await unpacking;
    return tree;
  }

  async copy(job: CopyJob, signal: AbortSignal): Promise<void> {
    await this.#run({ kind: 'copy', ...job }, signal);
  }

  async close(): Promise<void> {
    await this.#pool?.destroy();
  }
}
