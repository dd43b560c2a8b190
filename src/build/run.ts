/** One build while it runs: what its stages share, and the effects its statechart calls. */
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { cancelled, invalid, notFound, notImplemented } from '../errors.ts';
import type { Bus } from '../bus/bus.ts';
import type { StepRunner } from '../container/port.ts';
import type { Image, ImageStore, RootfsStore } from '../image/port.ts';
import type { UserRemap } from '../host/user-remap.ts';
import type { Clock } from '../lib/clock.ts';
import type { Collection } from '../store/port.ts';
import {
  type ArgScope,
  globalScope,
  parsePlatform,
  type Platform,
  platformArgs,
  platformText,
  unusedArgs,
} from './args.ts';
import type { BuildCache } from './cache.ts';
import { CacheImages } from './cache-from.ts';
import { type Checks, checksOf, lint, refuseViolations, type Warning } from './dockerfile/lint.ts';
import { type Dockerfile, parseDockerfile } from './dockerfile/parse.ts';
import type { Instruction } from './dockerfile/instructions.ts';
import { expandWord } from './dockerfile/words.ts';
import type { BuildFiles } from './files/pool.ts';
import type { Tree } from './files/select.ts';
import { type StageGraph, stageGraph, type StageNode, takesContext } from './graph.ts';
import { type LayerDeps, storeImage } from './layer.ts';
import type { BuildWork, PlannedStage } from './machine.ts';
import { StageRun } from './stage.ts';
import type { StageState } from './state.ts';
import type { BuildEvent, BuildInput, BuildRequest, BuildResult, Style } from './types.ts';
import { Workspace } from './workspace.ts';

export interface BuildDeps {
  images: ImageStore;
  rootfs: RootfsStore;
  steps: StepRunner;
  cache: BuildCache;
  files: BuildFiles;
  clock: Clock;
  log: Logger;
  remap?: UserRemap;
  bus: Bus;
  hostPlatform: Platform;
  listImages(): Image[];
  /** Containers of steps that run now, by id: what a killed daemon leaves of them is removed at the next boot. */
  containers: Collection<{ build: string }>;
}

/** A label given beside the Dockerfile, as the last instruction of the target stage. */
function labelStep(key: string, value: string, escape: string): Instruction {
  const quote = (text: string): string =>
    text.replace(/["'$\\`\s]/g, (char) => (char === '`' && escape !== '`' ? char : escape + char));
  return {
    kind: 'label',
    pairs: [{ key: quote(key), value: quote(value) }],
    line: 0,
    endLine: 0,
    original: `LABEL ${key}=${value}`,
  };
}

const OWN_SYNTAX = /^(?:docker\.io\/)?docker\/dockerfile(?:-upstream)?(?:[:@].*)?$/;

/** The official Dockerfile frontends mean our own engine. The classic builder never looked at the line. */
function refuseForeignSyntax(syntax: string | undefined, style: Style): void {
  const [image = ''] = (syntax ?? '').trim().split(/\s/);
  if (style === 'buildkit' && image && !OWN_SYNTAX.test(image))
    throw notImplemented(
      `frontend ${JSON.stringify(image)} is not supported: this daemon builds Dockerfiles with its own frontend`,
    );
}

export class BuildRun implements BuildWork<BuildResult> {
  readonly id: string;
  readonly request: BuildRequest;
  readonly deps: BuildDeps;
  /** Removed at the build's end. */
  readonly workspace: Workspace;
  readonly layers: LayerDeps;
  input!: BuildInput;
  file!: Dockerfile;
  graph!: StageGraph;
  globals!: ArgScope;
  platform!: Platform;
  cacheImages!: CacheImages;
  /** The classic builder has none. */
  checks: Checks | undefined;
  /** Of stages that are done: what came of them, and their arguments. */
  readonly states = new Map<number, StageState>();
  readonly stageArgs = new Map<number, ArgScope>();
  readonly #declared = new Set<string>();
  /** Stage work that has not settled yet; disposal waits for it. */
  readonly #running = new Set<Promise<unknown>>();
  #context: Promise<Tree> | undefined;
  /** Ends a context that no stage waits for any more. */
  #giveUp: () => void = () => {};
  readonly #resolved = new Map<string, Promise<Image>>();

  constructor(id: string, request: BuildRequest, deps: BuildDeps, place: string) {
    this.id = id;
    this.request = request;
    this.deps = deps;
    this.workspace = new Workspace(place);
    this.layers = { images: deps.images, rootfs: deps.rootfs, workspace: this.workspace };
  }

  get directory(): string {
    return this.workspace.directory;
  }

  emit(event: BuildEvent): void {
    this.request.onEvent(event);
  }

  /** Seconds; undefined without SOURCE_DATE_EPOCH. */
  get epoch(): number | undefined {
    const text = this.request.buildArgs.SOURCE_DATE_EPOCH;
    return text && /^\d+$/.test(text) ? Number(text) : undefined;
  }

  /** RFC 3339, for what is made now. */
  now(): string {
    return new Date(this.epoch === undefined ? this.deps.clock.now() : this.epoch * 1000)
      .toISOString()
      .replace(/Z$/, '000000Z');
  }

  async receive(signal: AbortSignal): Promise<void> {
    this.input = await this.#track(this.request.receive(this.workspace, signal));
  }

  parse(): PlannedStage[] {
    const { request } = this;
    this.platform = request.platform ? parsePlatform(request.platform) : this.deps.hostPlatform;
    this.file = parseDockerfile(this.input.dockerfile, this.input.dockerfileName);
    refuseForeignSyntax(request.buildArgs.BUILDKIT_SYNTAX ?? this.file.directives.syntax, request.style);
    this.globals = this.#globalArgs();
    this.graph = stageGraph(this.file, {
      target: request.target,
      resolveFrom: (image) => expandWord(image, this.file.directives.escape, this.globals.global),
      outside: new Set(request.contexts.keys()),
    });
    const labels = Object.entries(request.labels).sort(([a], [b]) => (a < b ? -1 : 1));
    this.file.stages[this.graph.target]!.steps.push(
      ...labels.map(([key, value]) => labelStep(key, value, this.file.directives.escape)),
    );
    this.cacheImages = new CacheImages(request.style);
    if (request.style === 'buildkit') {
      this.checks = checksOf(request.buildArgs.BUILDKIT_DOCKERFILE_CHECK ?? this.file.directives.check);
      this.warn(lint(this.file, Object.keys(platformArgs(this.platform, this.platform, ''))), this.checks);
    }
    this.#plan();
    // On its way while base images are pulled and the first commands run.
    if (this.graph.nodes.some(({ stage }) => takesContext(stage))) this.context().catch(() => {});
    return this.graph.nodes.map(({ stage, needs }) => ({ index: stage.index, needs }));
  }

  /** Tells what is likely a mistake, or fails of it where the file wants that. */
  warn(all: readonly Warning[], checks: Checks): void {
    const warnings = all.filter(({ rule }) => !checks.skips(rule));
    for (const warning of warnings) this.emit({ type: 'lint', warning, input: this.input });
    if (warnings.length && checks.areErrors) refuseViolations(warnings);
  }

  #globalArgs(): ArgScope {
    const { request, file } = this;
    for (const { key } of file.globals.flatMap(({ args }) => args)) this.#declared.add(key);
    const builtin = platformArgs(this.deps.hostPlatform, this.platform, request.target);
    return globalScope(file, { given: request.buildArgs, builtin });
  }

  /** Step numbers run over the global ARGs and all stages that are built. */
  readonly #offsets = new Map<number, number>();
  total = 0;

  #plan(): void {
    let number = this.file.globals.length;
    for (const { stage } of this.graph.nodes) {
      this.#offsets.set(stage.index, number + 1);
      number += 1 + stage.steps.length;
    }
    this.total = number;
    this.emit({ type: 'plan', steps: number, stages: this.graph.nodes.map(({ stage }) => stage.index) });
    for (const [index, { original, line }] of this.file.globals.entries()) {
      const vertex = {
        id: `global-${index}`,
        title: original,
        label: original,
        stage: -1,
        number: index + 1,
        line,
        inputs: [],
      };
      this.emit({ type: 'begin', vertex });
      this.emit({ type: 'end', vertex, imageId: '' });
    }
  }

  offset(stage: number): number {
    return this.#offsets.get(stage)!;
  }

  declared(name: string): void {
    this.#declared.add(name);
  }

  async stage(index: number, signal: AbortSignal): Promise<void> {
    const node = this.graph.nodes.find(({ stage }) => stage.index === index)!;
    this.states.set(index, await this.#track(this.#runStage(node, signal)));
  }

  async #runStage(node: StageNode, signal: AbortSignal): Promise<StageState> {
    const state = await new StageRun(this, node, signal).run();
    this.emit({ type: 'stage-end', stage: node.stage.index, imageId: state.imageId ?? '' });
    return state;
  }

  /** The files that came with the Dockerfile; asked for when a step takes some of them. */
  context(): Promise<Tree> {
    return (this.#context ??= this.#track(this.#receiveContext()));
  }

  async #receiveContext(): Promise<Tree> {
    const controller = new AbortController();
    this.#giveUp = () => controller.abort(cancelled('the build is over'));
    const tree = await this.input.context?.(controller.signal);
    return tree ?? { root: await mkdtemp(join(this.directory, 'empty-')), ignore: [] };
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    const forget = (): void => void this.#running.delete(work);
    work.then(forget, forget);
    return work;
  }

  /** An image by reference: the local one, or pulled when it is not there or a fresh one is wanted. Once per build. */
  resolveImage(
    reference: string,
    platform: string | undefined,
    onProgress: (line: object) => void,
    signal: AbortSignal,
  ): Promise<Image> {
    const key = `${platform ?? ''} ${reference}`;
    const known = this.#resolved.get(key) ?? this.#resolve(reference, platform, onProgress, signal);
    this.#resolved.set(key, known);
    known.catch(() => this.#resolved.delete(key));
    return known;
  }

  async #resolve(
    reference: string,
    platform: string | undefined,
    onProgress: (line: object) => void,
    signal: AbortSignal,
  ): Promise<Image> {
    const { images } = this.deps;
    const isId = /^(sha256:)?[0-9a-f]{64}$/.test(reference);
    const local = images.find(reference, platform);
    if (local && (isId || !this.request.pull)) return local;
    if (isId) throw notFound(`No such image: ${reference}`);
    const first = reference.split('/')[0]!;
    const host = reference.includes('/') && /[.:]|^localhost$/.test(first) ? first : 'docker.io';
    const auth = await this.request.auth(host);
    return images.pull(reference, { platform, auth, signal, onProgress });
  }

  get targetPlatform(): string | undefined {
    return this.request.platform ? platformText(this.platform) : undefined;
  }

  async export(): Promise<BuildResult> {
    const state = this.states.get(this.graph.target)!;
    const unused = unusedArgs(this.request.buildArgs, this.#declared);
    if (unused.length)
      this.emit({ type: 'warning', text: `[Warning] One or more build-args [${unused.join(' ')}] were not consumed` });
    if (this.request.squash) throw invalid('squash is only supported with experimental mode');
    const image = await this.#finalImage(state);
    for (const tag of this.request.tags) await this.deps.images.tag(image.id, tag);
    return { image, config: state.config, platform: state.platform };
  }

  /** The classic builder's last step is the image. BuildKit's result becomes one when it is exported as such. */
  async #finalImage(state: StageState): Promise<Image> {
    if (this.request.style === 'classic' && state.imageId) return this.deps.images.get(state.imageId);
    if (this.request.style === 'classic' && !state.history.length)
      throw invalid('No image was generated. Is your Dockerfile empty?');
    return storeImage(this.layers, state, { cache: true, inlineCache: this.request.inlineCache });
  }

  /** Resolves when nothing of the build's work is under way any more. */
  async settled(): Promise<void> {
    if (this.#running.size) this.#giveUp();
    while (this.#running.size) await Promise.allSettled([...this.#running]);
  }
}
