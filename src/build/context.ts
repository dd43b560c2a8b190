/** Receiving what a build works on: a tar stream, a Dockerfile alone, or something at a url. */
import { createReadStream, mkdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { invalid } from '../errors.ts';
import { decompress } from '../tar/decompress.ts';
import { LayerExtractor } from '../tar/extract.ts';
import { TarParser } from '../tar/parser.ts';
import { isArchive } from './archive.ts';
import { checkOut, download, isGit, isHttp } from './fetch.ts';
import { lstatOf, resolveIn } from './files/resolve.ts';
import { hold, isTooLarge, tooLarge } from './held.ts';
import { readIgnoreFile } from './patterns.ts';
import type { BuildInput } from './types.ts';
import type { Workspace } from './workspace.ts';

const DEFAULT_NAME = 'Dockerfile';

/** Unpacks a tar (compressed or not) into an empty directory, while it comes in. */
export async function unpackInto(source: Readable, directory: string, signal: AbortSignal): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const extractor = new LayerExtractor(directory);
  const parser = new TarParser(extractor, { encoding: 'latin1' });
  try {
    for await (const chunk of await decompress(source)) {
      if (signal.aborted) throw signal.reason;
      parser.write(chunk as Buffer);
    }
    parser.end();
    extractor.finish();
  } finally {
    extractor.close();
  }
}

/** A text file of a tree, read inside its root. */
export function readTextIn(root: string, path: string): string | undefined {
  const place = join(root, resolveIn(root, path));
  const stat = lstatOf(place);
  if (!stat?.isFile()) return undefined;
  if (isTooLarge(stat.size)) throw tooLarge(path);
  return readFileSync(place, 'utf8');
}

const ignoreFilesOf = (name: string): string[] => [`${name}.dockerignore`, '.dockerignore'];

/** What is read of a context before its first step. */
const textsOf = (dockerfile: string): string[] => {
  const names = dockerfile ? [dockerfile] : [DEFAULT_NAME, 'dockerfile'];
  return [...names, ...ignoreFilesOf(names[0]!)];
};

/** The Dockerfile and the ignore rules of a context. `read` answers the text of a file in it. */
function readContext(
  read: (path: string) => string | undefined,
  dockerfile: string,
  given?: string,
): Omit<BuildInput, 'context'> & { ignore: string[] } {
  const name = dockerfile || DEFAULT_NAME;
  const text = given ?? read(name) ?? (dockerfile ? undefined : read('dockerfile'));
  if (text === undefined) throw invalid(`Cannot locate specified Dockerfile: ${name}`);
  const [ignore = ''] = ignoreFilesOf(name).flatMap((path) => read(path) ?? []);
  return { dockerfile: text, dockerfileName: name, ignore: readIgnoreFile(ignore) };
}

/** The same of a directory. */
export function readDirectory(root: string, dockerfile: string, given?: string): BuildInput {
  const { ignore, ...input } = readContext((path) => readTextIn(root, path), dockerfile, given);
  return { ...input, context: async () => ({ root, ignore }) };
}

/**
 * A client's bytes until `signal` fires, which also ends the wait for one that stalls. The stream stays open: a request that is destroyed
 * takes its connection along, and nobody could tell the client why.
 */
async function* untilAborted(source: Readable, signal: AbortSignal): AsyncGenerator<Buffer> {
  const iterator = source.iterator({ destroyOnReturn: false });
  let giveUp = (): void => {};
  const onAbort = (): void => giveUp();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      const { done, value } = await new Promise<IteratorResult<Buffer>>((resolve, reject) => {
        giveUp = () => reject(signal.reason as Error);
        if (signal.aborted) giveUp();
        else iterator.next().then(resolve, reject);
      });
      if (done) return;
      yield value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** An uploaded context, not unpacked before a step takes files of it. */
export async function receiveTar(
  body: Readable,
  { place }: Workspace,
  dockerfile: string,
  signal: AbortSignal,
): Promise<BuildInput> {
  const root = join(place, 'context');
  const bytes = Readable.from(untilAborted(body, signal), { objectMode: false });
  const held = await hold(bytes, textsOf(dockerfile), join(place, 'context.tar'), signal);
  if (held.archive === undefined) {
    await unpackInto(held.stream, root, signal);
    return readDirectory(root, dockerfile);
  }
  const { archive, small } = held;
  const { ignore, ...input } = readContext((path) => held.text(path), dockerfile);
  return { ...input, context: async () => ({ root, ignore, archive, ...(small ? { small } : {}) }) };
}

/** A context named by url: git, a tar, or a Dockerfile as text. `dockerfileOptional`: only the files are wanted. */
export async function receiveRemote(
  url: string,
  workspace: Workspace,
  dockerfile: string,
  signal: AbortSignal,
  options: { dockerfileOptional?: boolean } = {},
): Promise<BuildInput> {
  const given = options.dockerfileOptional ? '' : undefined;
  const { directory } = workspace;
  if (isGit(url)) {
    const { path } = await checkOut(url, directory, signal);
    return readDirectory(path, dockerfile, given);
  }
  if (!isHttp(url)) throw invalid(`unable to prepare context: ${url} is neither a git repository nor a url`);
  const file = await download(url, join(directory, 'download'), signal);
  const root = join(directory, 'context');
  if (!(await isArchive(file.path)))
    return { dockerfile: await readFile(file.path, 'utf8'), dockerfileName: file.name || DEFAULT_NAME };
  await unpackInto(createReadStream(file.path), root, signal);
  return readDirectory(root, dockerfile, given);
}
