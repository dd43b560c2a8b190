/** COPY and ADD: takes files from a source and makes a layer of them. */
import { chmod, mkdtemp, writeFile } from 'node:fs/promises';
import { createReadStream } from 'node:fs';
import { join, posix } from 'node:path';
import { invalid } from '../errors.ts';
import { isArchive } from './archive.ts';
import { digestOf } from './cache.ts';
import { unpackInto } from './context.ts';
import type { InstructionOf } from './dockerfile/instructions.ts';
import { expandText } from './dockerfile/words.ts';
import { checkOut, download, isGit, isHttp } from './fetch.ts';
import type { Digested } from './files/digest.ts';
import { resolveIn } from './files/resolve.ts';
import { type Picked, select, type Selection, type Tree } from './files/select.ts';
import { changeRoot } from './layer.ts';
import { layerStep } from './layer-step.ts';
import { type Source, sourceOf } from './sources.ts';
import type { StageRun } from './stage.ts';
import { copyCreatedBy } from './state.ts';

type CopyStep = InstructionOf<'copy' | 'add'>;

/** The instruction with its variables expanded. */
interface Wanted {
  step: CopyStep;
  keyword: string;
  selection: Selection;
  remote: string[];
  dest: string;
  written: string;
  chown?: string;
  chmod?: string;
}

/** A part of what is copied. */
interface Part {
  tree: Tree;
  selection: Selection;
  /** Directory into which an archive's content goes as it is. */
  content?: boolean;
}

function destination(stage: StageRun, text: string): string {
  const { WorkingDir } = stage.state.config;
  const path = posix.resolve('/', WorkingDir || '/', text);
  const isDirectory = text.endsWith('/') || text === '.' || text.endsWith('/.') || text === '';
  return isDirectory && path !== '/' ? `${path}/` : path;
}

function wantedOf(stage: StageRun, step: CopyStep): Wanted {
  const keyword = step.kind.toUpperCase();
  const sources = step.sources.map((source) => stage.expand(source));
  const isRemote = (source: string): boolean => step.kind === 'add' && (isHttp(source) || isGit(source));
  if (step.kind === 'copy' && sources.some(isHttp)) throw invalid("source can't be a URL for COPY");
  const written = stage.expand(step.dest);
  const optional = (text: string | undefined): string | undefined =>
    text === undefined ? undefined : stage.expand(text);
  if (step.checksum && !sources.some(isRemote)) throw invalid("checksum can't be specified for non-HTTP(S) sources");
  return {
    step,
    keyword,
    selection: {
      sources: sources.filter((source) => !isRemote(source)),
      excludes: step.excludes.map((pattern) => stage.expand(pattern)),
      parents: step.parents,
      emptyGlobs: stage.build.request.style === 'buildkit',
    },
    remote: sources.filter(isRemote),
    dest: destination(stage, written),
    written,
    chown: optional(step.chown),
    chmod: optional(step.chmod),
  };
}

/** Heredocs as files of a directory of their own. */
async function inlineFiles(stage: StageRun, step: CopyStep): Promise<Part | undefined> {
  if (!step.heredocs.length) return undefined;
  const root = await mkdtemp(join(stage.build.directory, 'inline-'));
  for (const { name, content, expand } of step.heredocs) {
    if (name.includes('/')) throw invalid(`invalid heredoc name: ${name}`);
    const text = expand ? expandText(content, stage.escape, stage.words.lookup) : content;
    await writeFile(join(root, name), text);
    await chmod(join(root, name), 0o644);
  }
  return {
    tree: { root, ignore: [] },
    selection: { sources: step.heredocs.map(({ name }) => name), excludes: [], parents: false },
  };
}

async function remoteFiles(stage: StageRun, wanted: Wanted): Promise<{ parts: Part[]; keys: string[] }> {
  const { build, signal } = stage;
  const parts: Part[] = [];
  const keys: string[] = [];
  for (const source of wanted.remote) {
    const directory = await mkdtemp(join(build.directory, 'remote-'));
    const plain = { excludes: wanted.selection.excludes, parents: false };
    if (isGit(source)) {
      const { path, commit } = await checkOut(source, directory, signal, wanted.step.keepGitDir);
      parts.push({ tree: { root: path, ignore: [] }, selection: { sources: ['.'], ...plain } });
      keys.push(`git ${commit}`);
      continue;
    }
    const file = await download(source, directory, signal, wanted.step.checksum && stage.expand(wanted.step.checksum));
    if (!file.name && wanted.dest.endsWith('/')) throw invalid(`cannot determine filename from url: ${source}`);
    keys.push(`http ${file.digest} ${file.name}`);
    if (wanted.step.unpack) parts.push(await unpacked(stage, file.path));
    else
      parts.push({
        tree: { root: directory, ignore: [] },
        selection: { sources: [file.name || 'download'], ...plain },
      });
  }
  return { parts, keys };
}

async function unpacked(stage: StageRun, path: string): Promise<Part> {
  const root = await mkdtemp(join(stage.build.directory, 'archive-'));
  await unpackInto(createReadStream(path), root, stage.signal);
  return { tree: { root, ignore: [] }, selection: { sources: ['.'], excludes: [], parents: false }, content: true };
}

/** ADD: each source that is an archive becomes its content. */
async function withArchives(stage: StageRun, part: Part): Promise<Part[]> {
  const parts: Part[] = [];
  const left: string[] = [];
  for (const source of part.selection.sources) {
    const picked = select(part.tree, { ...part.selection, sources: [source] });
    const archives: Picked[] = [];
    for (const one of picked) {
      if (!one.directory && (await isArchive(join(part.tree.root, resolveIn(part.tree.root, one.path)))))
        archives.push(one);
    }
    if (!archives.length) left.push(source);
    else {
      left.push(...picked.filter((one) => !archives.includes(one)).map((one) => one.as.replace(/[*?[\]\\]/g, '\\$&')));
      for (const { path } of archives) parts.push(await unpacked(stage, join(part.tree.root, path)));
    }
  }
  if (left.length) parts.push({ ...part, selection: { ...part.selection, sources: left } });
  return parts;
}

function classicHash(digest: Digested | undefined, keys: readonly string[]): string {
  if (keys.length > 1 || !digest) return `multi:${digestOf(keys)}`;
  return `${digest.sources > 1 ? 'multi' : digest.directory ? 'dir' : 'file'}:${digest.digest}`;
}

const flagsOf = (wanted: Wanted): string => {
  const { step, chown, chmod } = wanted;
  return [step.parents && '--parents ', chown && `--chown=${chown} `, chmod && `--chmod=${chmod} `]
    .filter(Boolean)
    .join('');
};

/** All that one COPY or ADD takes, beside what lies in its source tree. */
interface Gathered {
  wanted: Wanted;
  source: Source;
  inline?: Part;
  remote: Part[];
  /** Digests of the remote parts. */
  remoteKeys: string[];
}

const optionsOf = ({ wanted: { step, dest, chown, chmod, selection } }: Gathered): unknown[] => [
  dest, chown ?? '', chmod ?? '', selection, step.unpack ?? '', step.keepGitDir,
]; // prettier-ignore

function createdByOf(stage: StageRun, { wanted }: Gathered, hash: string): string {
  const { style } = stage.build.request;
  const { step, selection, remote, chown, written, keyword } = wanted;
  const classic = style === 'classic';
  return copyCreatedBy(style, stage.state.config, {
    keyword,
    flags: classic ? (chown ? `--chown=${chown} ` : '') : flagsOf(wanted),
    sources: [...selection.sources, ...remote, ...step.heredocs.map(({ name }) => `<<${name}`)],
    dest: written,
    hash,
  });
}

export async function copyStep(stage: StageRun, step: CopyStep): Promise<void> {
  const { cache } = stage.build.deps;
  const wanted = wantedOf(stage, step);
  const source = await sourceOf(stage, step.from && stage.expand(step.from));
  const { parts: remote, keys: remoteKeys } = await remoteFiles(stage, wanted);
  const gathered: Gathered = { wanted, source, inline: await inlineFiles(stage, step), remote, remoteKeys };
  // A stage or an image is known by its layers: then nothing needs to be read to find the step in the cache.
  const isWhole = source.key && !gathered.inline && !remote.length;
  const quick = isWhole ? stage.keyOf(step, digestOf([source.key, optionsOf(gathered)])) : undefined;
  const known = quick && stage.useCache ? cache.resolve(quick) : undefined;
  if (known) {
    const createdBy = createdByOf(stage, gathered, known.hash);
    return layerStep(stage, step, { config: stage.state.config, key: known.key, createdBy, make: async () => {} });
  }
  if (!wanted.selection.sources.length) return copyFrom(stage, gathered, undefined, quick);
  await source.with((tree) => copyFrom(stage, gathered, { tree, selection: wanted.selection }, quick));
}

async function copyFrom(
  stage: StageRun,
  gathered: Gathered,
  local: Part | undefined,
  quick: string | undefined,
): Promise<void> {
  const { files, cache } = stage.build.deps;
  const { wanted, source, inline, remoteKeys } = gathered;
  const digests: Digested[] = [];
  if (local) digests.push(await files.digest(local.tree, local.selection, source.owned, stage.signal));
  if (inline) digests.push(await files.digest(inline.tree, inline.selection, false, stage.signal));
  const content = [...digests.map(({ digest }) => digest), ...remoteKeys];
  const hash = classicHash(digests[0], content);
  const key = digestOf(['content', content, optionsOf(gathered)]);
  if (quick) cache.alias(quick, { to: stage.keyOf(wanted.step, key), key, hash });
  await layerStep(stage, wanted.step, {
    config: stage.state.config,
    key,
    createdBy: createdByOf(stage, gathered, hash),
    files: digests.length === 1 ? digests[0]!.files : undefined,
    make: (store) => makeLayer(stage, gathered, local, Math.max(0, ...digests.map(({ sources }) => sources)), store),
  });
}

async function makeLayer(
  stage: StageRun,
  { wanted, source, inline, remote }: Gathered,
  local: Part | undefined,
  sources: number,
  store: (tar: AsyncIterable<Uint8Array> | undefined) => Promise<void>,
): Promise<void> {
  const { build, signal } = stage;
  const { dest, keyword, chown, chmod, step } = wanted;
  const unpacks = step.kind === 'add' && step.unpack !== false;
  const open = local && { ...local, tree: await build.deps.files.unpacked(local.tree, signal) };
  const own = open ? (unpacks ? await withArchives(stage, open) : [open]) : [];
  const parts = [...own, ...(inline ? [inline] : []), ...remote];
  if (Math.max(sources, parts.length) > 1 && !dest.endsWith('/'))
    throw invalid(
      `When using ${keyword} with more than one source file, the destination must be a directory and end with a /`,
    );
  const time = build.epoch === undefined ? undefined : build.epoch * 1000;
  const change = async (root: string): Promise<boolean> => {
    for (const { tree, selection, content } of parts) {
      const into = content && !dest.endsWith('/') ? `${dest}/` : dest;
      const copy = { tree, selection, root, dest: into, keyword, time };
      await build.deps.files.copy({ copies: [copy], chown, chmod, keepOwner: content || source.owned }, signal);
    }
    return true;
  };
  await changeRoot(build.layers, stage.state, change, store, signal);
}
