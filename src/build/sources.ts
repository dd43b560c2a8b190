/** The trees a step takes files from: the context, another stage, an image, a named context. */
import { invalid } from '../errors.ts';
import { digestOf } from './cache.ts';
import type { Tree } from './files/select.ts';
import { stageNamed } from './graph.ts';
import { withRoot } from './layer.ts';
import type { StageRun } from './stage.ts';
import { imageState, scratchState, type StageState } from './state.ts';

export interface Source {
  /** Names the whole content without reading it, where that can be had. */
  key?: string;
  /** Owners in it mean something (it is an image, not an upload). */
  owned: boolean;
  /** The tree, for as long as `work` runs. A private copy: writes to it do no harm. */
  with<T>(work: (tree: Tree) => Promise<T>): Promise<T>;
}

const ofState = (stage: StageRun, state: StageState): Source => ({
  key: digestOf(state.layers),
  owned: true,
  with: (work) => withRoot(stage.build.layers, state, (root) => work({ root, ignore: [] })),
});

const ofTree = (open: () => Promise<Tree>): Source => ({ owned: false, with: async (work) => work(await open()) });

/** Names the content of a path in a source. */
export async function contentKey(stage: StageRun, from: string | undefined, path: string): Promise<string> {
  const source = await sourceOf(stage, from);
  if (source.key) return source.key;
  const selection = { sources: [path || '.'], excludes: [], parents: false };
  const { files } = stage.build.deps;
  return source.with(async (tree) => (await files.digest(tree, selection, source.owned, stage.signal)).digest);
}

/** `from` undefined is the context. */
export async function sourceOf(stage: StageRun, from: string | undefined): Promise<Source> {
  const { build, signal } = stage;
  if (from === undefined) {
    return ofTree(() => build.context());
  }
  const named = build.request.contexts.get(from);
  if (named?.kind === 'tree') return ofTree(() => named.open(build.workspace, signal));
  const other = named ? undefined : stageNamed(build.file, from, stage.node.stage.index);
  if (other) {
    const state = build.states.get(other.index);
    // The file itself does not say that this stage needs the other one: a trigger of the base image does.
    if (!state) throw invalid(`a build trigger takes files from stage ${from}, which this stage does not wait for`);
    return ofState(stage, state);
  }
  const name = named?.reference ?? from;
  if (/^\d+$/.test(name)) throw invalid(`invalid from flag value ${name}: invalid stage index ${name}`);
  if (name === 'scratch') return ofState(stage, scratchState(build.platform, build.now(), build.request.style));
  const { vertex } = stage;
  const image = await build.resolveImage(
    name,
    build.targetPlatform,
    (line) => build.emit({ type: 'pull', vertex, line }),
    signal,
  );
  return ofState(stage, imageState(image, build.request.style));
}
