/** The files of a log as byte ranges, whether plain or compressed. */
import { closeSync, existsSync, fstatSync, openSync, read as readCallback, readFile } from 'node:fs';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';

const readAt = promisify(readCallback);
const readWhole = promisify(readFile);
const unzip = promisify(gunzip);

export interface Source {
  size(): Promise<number>;
  /** Up to `length` bytes from `offset`; fewer at the end. In the beginning of `into`, when that is given. */
  read(offset: number, length: number, into?: Buffer): Promise<Buffer>;
  close(): void;
}

function plain(path: string, pinned: boolean): Source {
  const fd = openSync(path, 'r');
  const end = pinned ? fstatSync(fd).size : Infinity;
  return {
    size: async () => (pinned ? end : fstatSync(fd).size),
    async read(offset, length, into) {
      const buffer = into ?? Buffer.allocUnsafe(length);
      const { bytesRead } = await readAt(fd, buffer, 0, Math.max(0, Math.min(length, end - offset)), offset);
      return buffer.subarray(0, bytesRead);
    },
    close: () => closeSync(fd),
  };
}

/** Unpacked when it is first looked into. */
function compressed(path: string): Source {
  const fd = openSync(path, 'r');
  let content: Promise<Buffer> | undefined;
  const load = (): Promise<Buffer> => (content ??= readWhole(fd).then((bytes) => unzip(bytes)));
  return {
    size: async () => (await load()).length,
    // A copy: decoding changes the bytes.
    read: async (offset, length) => Buffer.from((await load()).subarray(offset, offset + length)),
    close: () => closeSync(fd),
  };
}

/** The k-th old file (0 is the current one); undefined when there is none. `pinned`: it ends where it ends now. */
export function openSource(path: string, index: number, pinned = false): Source | undefined {
  const name = index ? `${path}.${index}` : path;
  if (existsSync(name)) return plain(name, pinned);
  if (index && existsSync(`${name}.gz`)) return compressed(`${name}.gz`);
  return undefined;
}

/** All files of a log, the oldest first. Synchronous, so that no rotation comes in between. */
export function openSources(path: string, pinned: boolean): Source[] {
  const sources: Source[] = [];
  const current = openSource(path, 0, pinned);
  if (current) sources.push(current);
  for (let index = 1; ; index++) {
    const source = openSource(path, index, pinned);
    if (!source) return sources.reverse();
    sources.push(source);
  }
}
