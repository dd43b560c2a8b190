/** Runs in a worker thread: digests, copies and unpacking, whose many small calls would hold up the event loop. */
import { DaemonError, type ErrorKind } from '../../errors.ts';
import { copySelection, type CopyTask } from './copy.ts';
import { type Digested, digestSelection } from './digest.ts';
import { parseMode } from './mode.ts';
import { resolveOwner } from './owner.ts';
import { type Archive, inArchive, unpack } from './packed.ts';
import type { Selection, Tree } from './select.ts';

export type FilesTask =
  | { kind: 'digest'; tree: Tree; selection: Selection; owners: boolean }
  | { kind: 'unpack'; archive: Archive; root: string; small?: true }
  | { kind: 'copy'; copies: Omit<CopyTask, 'owner' | 'mode'>[]; chown?: string; chmod?: string; keepOwner: boolean };

export type FilesResult =
  /** Without a digest: the archive that was to be looked at has to be unpacked for it. */
  { ok: true; digest?: Digested } | { ok: false; kind: ErrorKind; code?: string; message: string };

function work(task: FilesTask): Digested | undefined {
  if (task.kind === 'unpack') return void unpack(task.archive, task.root);
  if (task.kind === 'digest') {
    const { tree, selection, owners } = task;
    if (tree.archive === undefined) return digestSelection(tree, selection, owners);
    return inArchive(tree.archive, (listing) => digestSelection(tree, selection, owners, listing));
  }
  const mode = task.chmod ? parseMode(task.chmod) : undefined;
  for (const copy of task.copies) {
    const owner = task.chown ? resolveOwner(copy.root, task.chown) : task.keepOwner ? undefined : { uid: 0, gid: 0 };
    copySelection({ ...copy, owner, mode });
  }
  return undefined;
}

export default function run(task: FilesTask): FilesResult {
  try {
    return { ok: true, digest: work(task) };
  } catch (error) {
    const { kind, code } = error instanceof DaemonError ? error : { kind: 'internal' as const, code: undefined };
    return { ok: false, kind, code, message: error instanceof Error ? error.message : String(error) };
  }
}
