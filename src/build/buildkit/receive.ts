/** How the Dockerfile and the context of a BuildKit client come here: from its session, from its input, or from a url. */
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { invalid, notImplemented } from '../../errors.ts';
import { readDirectory, receiveRemote, unpackInto } from '../context.ts';
import { isGit, isHttp } from '../fetch.ts';
import type { Tree } from '../files/select.ts';
import type { BuildCache } from '../cache.ts';
import { readIgnoreFile } from '../patterns.ts';
import type { BuildInput } from '../types.ts';
import { uploaded } from './client-services.ts';
import { type DirectoryRequest, receiveDirectory, takeDirectory } from './file-sync.ts';
import { LOAD_DEFINITION, type Within } from './progress.ts';
import type { Session } from './sessions.ts';
import { Texts } from './texts.ts';
import type { Workspace } from '../workspace.ts';

export interface Receiving {
  attributes: Readonly<Record<string, string>>;
  session: Session;
  workspace: Workspace;
  /** Ends the receiving. */
  signal: AbortSignal;
  /** Shows a part of the receiving as a step. */
  within: Within;
  /** Directories of clients as they last came. */
  kept: Pick<BuildCache, 'local' | 'keepLocal'>;
  /** Run at the build's end, while its directory is still there. */
  atEnd: (() => void)[];
}

/**
 * A directory of the client, shown as a step with the bytes that came. Only what changed since the last build comes, and it is kept for
 * the next.
 */
async function shownAndKept(to: Receiving, title: string, request: DirectoryRequest, target: string): Promise<void> {
  const id = `${to.session.sharedKey}/${request.name}`;
  const kept = to.kept.local(id);
  const { bytes: size } = await to.within(title, (transferred) =>
    receiveDirectory(to.session, request, target, to.signal, { transferred, kept }),
  );
  to.atEnd.push(() => to.kept.keepLocal(id, target, { description: `local source for ${request.name}`, size }));
}

/** Some small files of a directory of the client. */
async function shownTexts(to: Receiving, title: string, request: DirectoryRequest): Promise<Texts> {
  const texts = new Texts();
  await to.within(title, (transferred) => takeDirectory(to.session, request, texts, to.signal, transferred));
  return texts;
}

async function ignoreRules(to: Receiving, name: string, title: string): Promise<string[]> {
  const texts = await shownTexts(to, title, { name, follow: ['.dockerignore'] });
  return readIgnoreFile(texts.get('.dockerignore') ?? '');
}

/** A named context, with its own ignore file obeyed. */
export async function receiveTree(to: Receiving, name: string): Promise<Tree> {
  const ignore = await ignoreRules(to, name, `[context ${name}] load .dockerignore`);
  const root = await mkdtemp(join(to.workspace.directory, 'local-'));
  await shownAndKept(to, `[context ${name}] load from client`, { name, excludes: ignore }, root);
  return { root, ignore };
}

/** The Dockerfile comes from a directory of its own; the context may be elsewhere. */
export async function receiveInput(to: Receiving): Promise<BuildInput> {
  const { attributes, workspace, signal, within } = to;
  const { context = '', filename = 'Dockerfile' } = attributes;
  const upload = /^https?:\/\/buildkit-session\/(.+)$/.exec(context);
  if (upload) {
    const root = join(workspace.directory, 'context');
    await within('[internal] load remote build context', () =>
      unpackInto(uploaded(to.session, `/${upload[1]}`, signal), root, signal),
    );
    return readDirectory(root, filename);
  }
  if (!context || context.startsWith('local:')) return receiveLocal(to, filename, context.slice('local:'.length));
  if (!isHttp(context) && !isGit(context)) throw notImplemented(`${context} is no context that this daemon can use`);
  const withDockerfile = !attributes.dockerfilekey;
  const input = await within('[internal] load remote build context', () =>
    receiveRemote(context, workspace, withDockerfile ? (attributes.filename ?? '') : '', signal, {
      dockerfileOptional: !withDockerfile,
    }),
  );
  if (withDockerfile) return input;
  const { dockerfile } = await receiveDefinition(to, filename);
  return { ...input, dockerfile, dockerfileName: filename };
}

/** The Dockerfile alone, for whoever does not build. */
export async function receiveDockerfile(to: Receiving): Promise<Pick<BuildInput, 'dockerfile' | 'dockerfileName'>> {
  const { context = '', filename = 'Dockerfile' } = to.attributes;
  if (context && !context.startsWith('local:')) return receiveInput(to);
  const { dockerfile } = await receiveDefinition(to, filename);
  return { dockerfile, dockerfileName: filename };
}

/** The Dockerfile, and the ignore file that belongs to it alone. */
async function receiveDefinition(to: Receiving, filename: string): Promise<{ dockerfile: string; ignore?: string }> {
  const follow = [filename, `${filename}.dockerignore`, filename.toLowerCase()];
  const name = to.attributes.dockerfilekey ?? 'dockerfile';
  const texts = await shownTexts(to, LOAD_DEFINITION + filename, { name, follow });
  const dockerfile = texts.get(filename) ?? texts.get(filename.toLowerCase());
  if (dockerfile === undefined) throw invalid(`failed to read dockerfile: open ${filename}: no such file or directory`);
  return { dockerfile, ignore: texts.get(`${filename}.dockerignore`) };
}

async function receiveLocal(to: Receiving, filename: string, local: string): Promise<BuildInput> {
  const { dockerfile, ignore: own } = await receiveDefinition(to, filename);
  const name = local || (to.attributes.contextkey ?? 'context');
  return { dockerfile, dockerfileName: filename, context: (signal) => receiveContext({ ...to, signal }, name, own) };
}

/** `own` is the text of the ignore file that belongs to the Dockerfile alone. */
async function receiveContext(to: Receiving, name: string, own: string | undefined): Promise<Tree> {
  const ignore = own === undefined ? await ignoreRules(to, name, '[internal] load .dockerignore') : readIgnoreFile(own);
  const root = join(to.workspace.directory, 'context');
  await shownAndKept(to, '[internal] load build context', { name, excludes: ignore }, root);
  return { root, ignore };
}
