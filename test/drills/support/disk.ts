/**
 * What a disk holds for certain when the power is cut: the daemon's own calls are watched, and bytes count as kept only once a sync that
 * began after they were written has ended. Each sync is held up for a while, so that an answer which does not wait for it comes before it.
 */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import type { chance } from './seeded.ts';
import { traced } from './strace.ts';

const SYNC_TAKES_MS = 15;

interface Write {
  from: number;
  to: number;
  /** The call has returned. */
  done: boolean;
}

/** A file as its disk knows it. */
export interface Platter {
  unsynced: Write[];
  /** No cut makes it shorter. */
  size: number;
}

interface Call {
  file: Platter;
  write?: Write;
  covers?: readonly Write[];
}

/** Reads what strace wrote with -y: calls of several threads, some in two lines. */
export function replay(record: string, files: ReadonlyMap<string, Platter>): void {
  const open = new Map<string, Call>();
  const end = ({ file, write, covers }: Call, result: string): void => {
    if (write) write.done = true;
    if (!covers || result !== '0') return;
    file.unsynced = file.unsynced.filter((each) => !covers.includes(each));
    file.size = Math.max(file.size, ...covers.map(({ to }) => to));
  };
  for (const line of record.split('\n')) {
    const [, thread = '', name, path, rest] = /^(\d+) +(\w+)\(\d+<([^>]+)>(.*)$/.exec(line) ?? [];
    const file = path && files.get(path);
    if (file) {
      const [, length, at] = /, (\d+), (\d+)(?:\)| <unfinished)/.exec(rest!) ?? [];
      const call: Call = { file };
      if (name === 'pwrite64') {
        call.write = { from: Number(at), to: Number(at) + Number(length), done: false };
        file.unsynced.push(call.write);
      } else call.covers = file.unsynced.filter(({ done }) => done);
      if (rest!.includes('<unfinished')) open.set(thread, call);
      else end(call, / = (-?\d+)/.exec(rest!)?.[1] ?? '');
      continue;
    }
    const [, again = '', result = ''] = /^(\d+) +<\.\.\. \w+ resumed>.* = (-?\d+)/.exec(line) ?? [];
    const call = open.get(again);
    open.delete(again);
    if (call) end(call, result);
  }
}

export interface Disk {
  /** The daemon is dead: what was not synced becomes anything. Returns how many bytes that were. */
  cut(by: ReturnType<typeof chance>): Promise<number>;
}

/** Watches these files from now on; what they hold already is taken for synced. */
export async function watchDisk(pid: number, paths: readonly string[], record: string): Promise<Disk> {
  const files = new Map(paths.map((path) => [path, { unsynced: [], size: statSync(path).size } as Platter]));
  const { detach } = await traced(pid, record, [
    ...['-y', '-s', '0', '-e', 'trace=pwrite64,fdatasync,fsync'],
    ...['-e', `inject=fdatasync,fsync:delay_enter=${SYNC_TAKES_MS * 1000}`],
    ...paths.flatMap((path) => ['-P', path]),
  ]);
  return {
    async cut(by) {
      await detach();
      replay(existsSync(record) ? readFileSync(record, 'utf8') : '', files);
      return [...files].reduce((sum, [path, file]) => sum + spoil(path, file, by), 0);
    },
  };
}

/** Lost as a whole, or piece by piece: there, filled with rubbish or with nothing, and the end missing. */
function spoil(path: string, { unsynced, size }: Platter, { below, pick }: ReturnType<typeof chance>): number {
  const file = openSync(path, 'r+');
  const whole = below(2) === 0;
  for (const { from, to } of unsynced) {
    const filler = whole ? 0 : pick([undefined, 0, 0xa5]);
    if (filler !== undefined) writeSync(file, Buffer.alloc(to - from, filler), 0, to - from, from);
  }
  const end = statSync(path).size;
  if (end > size) ftruncateSync(file, whole ? size : size + below(end - size + 1));
  closeSync(file);
  return unsynced.reduce((sum, { from, to }) => sum + to - from, 0);
}
