/** Sources from elsewhere: files over http(s) and git repositories. Each with a deadline, into a directory of the build. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm, utimes } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { invalid, unavailable } from '../errors.ts';
import { withDeadline } from '../lib/deadline.ts';
import { runTool } from '../lib/spawn.ts';
import { lstatOf, resolveIn } from './files/resolve.ts';

const HTTP_DEADLINE_MS = 1_800_000;
const GIT_DEADLINE_MS = 1_800_000;

export const isHttp = (source: string): boolean => /^https?:\/\//.test(source);

/** `git@host:repo`, `git://…`, `…​.git`, each with an optional `#ref:subdirectory`. */
export const isGit = (source: string): boolean =>
  /^(git:\/\/|github\.com\/|git@|ssh:\/\/)/.test(source) || /^https?:\/\/[^#?]*\.git(#|$)/.test(source);

export interface Download {
  path: string;
  /** sha256:… */
  digest: string;
  name: string;
}

/** The file's name is the url's last part. Errors: invalid for another digest than `checksum`. */
export async function download(
  url: string,
  directory: string,
  signal: AbortSignal,
  checksum?: string,
): Promise<Download> {
  const name = posix.basename(new URL(url).pathname);
  return withDeadline(`downloading ${url}`, HTTP_DEADLINE_MS, signal, async (within) => {
    const answer = await fetch(url, { signal: within }).catch((error: unknown) => {
      throw unavailable(
        `failed to fetch ${url}: ${error instanceof Error ? ((error.cause as Error)?.message ?? error.message) : String(error)}`,
        { cause: error },
      );
    });
    if (!answer.ok || !answer.body) {
      await answer.body?.cancel();
      throw invalid(`failed to fetch ${url}: invalid response status ${answer.status}`);
    }
    await mkdir(directory, { recursive: true });
    const path = join(directory, name || 'download');
    const hash = createHash('sha256');
    const digesting = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        hash.update(chunk);
        done(null, chunk);
      },
    });
    await pipeline(Readable.fromWeb(answer.body as never), digesting, createWriteStream(path, { mode: 0o600 }), {
      signal: within,
    });
    const digest = `sha256:${hash.digest('hex')}`;
    if (checksum && checksum !== digest) throw invalid(`digest mismatch: ${url} has ${digest}, expected ${checksum}`);
    const modified = Date.parse(answer.headers.get('last-modified') ?? '');
    const time = new Date(Number.isNaN(modified) ? 0 : modified);
    await utimes(path, time, time);
    return { path, digest, name };
  });
}

export interface GitSource {
  remote: string;
  ref: string;
  subdirectory: string;
}

export function parseGit(source: string): GitSource {
  const [address = '', fragment = ''] = source.split('#', 2);
  const [ref = '', subdirectory = ''] = fragment.split(':', 2);
  const remote = address.startsWith('github.com/') ? `https://${address}` : address;
  // A word that git would take for an option, or a transport that runs commands, is no address.
  if (remote.startsWith('-') || /^(ext|fd)::/.test(remote) || ref.startsWith('-'))
    throw invalid(`invalid git reference: ${source}`);
  return { remote, ref, subdirectory };
}

/** Whatever the address and the repository's own links say, nothing outside of the checkout (CVE-2026-33748). */
function directoryIn(root: string, path: string): string {
  const place = join(root, resolveIn(root, path));
  if (!lstatOf(place)?.isDirectory()) throw invalid(`${path} is no directory of the git repository`);
  return place;
}

/** Checks a repository out, with its submodules. Answers the commit and the directory. */
export async function checkOut(
  source: string,
  directory: string,
  signal: AbortSignal,
  keepGitDirectory = false,
): Promise<{ path: string; commit: string }> {
  const { remote, ref, subdirectory } = parseGit(source);
  const git = (...args: string[]) =>
    // The daemon's umask must not show in the modes of what is checked out.
    runTool(
      'sh',
      [
        '-c',
        'umask 022 && exec git "$@"',
        'git',
        '-c',
        'protocol.ext.allow=never',
        '-c',
        'core.symlinks=true',
        ...args,
      ],
      {
        deadline: GIT_DEADLINE_MS,
        signal,
        env: { PATH: process.env.PATH ?? '', GIT_TERMINAL_PROMPT: '0', GIT_CONFIG_NOSYSTEM: '1', HOME: directory },
      },
    );
  const path = join(directory, 'repository');
  await mkdir(path, { recursive: true });
  await git('init', '--quiet', path);
  const inside = (...args: string[]) => git('-C', path, ...args);
  const wanted = ref || 'HEAD';
  const fetched = await inside('fetch', '--quiet', '--depth=1', '--', remote, wanted)
    // Some servers know no shallow histories.
    .catch(() => inside('fetch', '--quiet', '--', remote, wanted))
    .then(() => 'FETCH_HEAD')
    .catch(async () => {
      // And some give no single commits: everything, then the commit.
      await inside('fetch', '--quiet', '--tags', '--', remote, '+refs/heads/*:refs/remotes/origin/*');
      return (await inside('rev-parse', '--verify', '--end-of-options', `${wanted}^{commit}`)).stdout.trim();
    });
  await inside('checkout', '--quiet', '--force', '--detach', fetched);
  await inside('submodule', '--quiet', 'update', '--init', '--recursive', '--depth=1');
  const commit = (await inside('rev-parse', 'HEAD')).stdout.trim();
  if (!keepGitDirectory) await rm(join(path, '.git'), { recursive: true, force: true });
  return { path: subdirectory ? directoryIn(path, subdirectory) : path, commit };
}
