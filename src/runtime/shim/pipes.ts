/** The three pipes of one process, at known paths in the bundle, so that a new daemon finds them again. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Stream } from 'node:stream';
import type { ProcessIo } from '../port.ts';
import { makeFifo, openReader, openWriter, removeFifo, wakeReader } from './fifo.ts';

export interface PipeOptions {
  bundle: string;
  /** Name of the process in the bundle: `init` or the exec id. */
  name: string;
  terminal: boolean;
  stdin: boolean;
}

export interface Pipes {
  readonly io: ProcessIo;
  /** Paths for the shim; '' where there is no such pipe. */
  readonly paths: { stdin: string; stdout: string; stderr: string };
  /** Says that the shim holds no end any more: readers come to their end. */
  writersGone(): void;
  /** The process is over: lets go of its input and removes the names. Output can still be read to its end. */
  release(): void;
  /** Nobody will read: lets go of everything. */
  destroy(): void;
}

/** An output that nobody came to read would keep its descriptor for ever. */
const UNREAD_MS = 5_000;

function dropUnread(output: Readable | undefined): void {
  if (output && !output.listenerCount('data') && !output.listenerCount('readable')) output.destroy();
}

/** Makes what is missing and opens our ends; before Create, which waits for the readers. */
export function openPipes(options: PipeOptions): Pipes {
  const path = (stream: string): string => join(options.bundle, `${options.name}-${stream}`);
  const paths = {
    stdin: options.stdin ? path('stdin') : '',
    stdout: path('stdout'),
    stderr: options.terminal ? '' : path('stderr'),
  };
  const names = Object.values(paths).filter(Boolean);
  const opened: (Stream & { destroy(): unknown })[] = [];
  const open = <T extends (typeof opened)[number]>(name: string, opener: (path: string) => T): T => {
    makeFifo(name);
    const end = opener(name);
    opened.push(end);
    return end;
  };
  const destroy = (): void => {
    for (const end of opened) end.destroy();
    for (const name of names) removeFifo(name);
  };
  try {
    const io = {
      stdin: paths.stdin ? open(paths.stdin, openWriter) : undefined,
      stdout: open(paths.stdout, openReader),
      stderr: paths.stderr ? open(paths.stderr, openReader) : undefined,
    };
    const writersGone = (): void => {
      for (const name of [paths.stdout, paths.stderr]) if (name) wakeReader(name);
    };
    const release = (): void => {
      io.stdin?.destroy();
      writersGone();
      for (const name of names) removeFifo(name);
      setTimeout(() => [io.stdout, io.stderr].forEach(dropUnread), UNREAD_MS).unref();
    };
    return { io, paths, writersGone, release, destroy };
  } catch (error) {
    destroy();
    throw error;
  }
}

/** Removes the names of all pipes in a bundle, of init and of execs. */
export function removePipes(bundle: string): void {
  if (!existsSync(bundle)) return;
  for (const name of readdirSync(bundle)) if (/-std(in|out|err)$/.test(name)) removeFifo(join(bundle, name));
}
