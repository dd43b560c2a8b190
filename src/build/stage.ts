/** One stage of a build: its base, then its steps one after another, each from the cache where it can be. */
import { asDaemonError, cancelled, invalid } from '../errors.ts';
import { ArgScope, parsePlatform, platformArgs } from './args.ts';
import { digestOf } from './cache.ts';
import { applyInstruction, type Change, lookupIn, type Words } from './config.ts';
import { type Instruction, parseExpression } from './dockerfile/instructions.ts';
import { expandedTexts, undefinedVariables } from './dockerfile/lint.ts';
import { expandWord } from './dockerfile/words.ts';
import { stageNamed, type StageNode } from './graph.ts';
import { storeImage } from './layer.ts';
import { layerStep } from './layer-step.ts';
import type { BuildRun } from './run.ts';
import { advance, configCreatedBy, imageState, scratchState, type StageState } from './state.ts';
import { copyStep } from './step-copy.ts';
import { runStep } from './step-run.ts';
import { workdirStep } from './step-workdir.ts';
import type { Vertex } from './types.ts';

/** Kinds of steps that make layers. */
const MAKING = new Set<Instruction['kind']>(['run', 'copy', 'add', 'workdir']);

export class StageRun {
  readonly build: BuildRun;
  readonly node: StageNode;
  readonly signal: AbortSignal;
  state!: StageState;
  args!: ArgScope;
  vertex!: Vertex;
  readonly useCache: boolean;
  #last = '';

  constructor(build: BuildRun, node: StageNode, signal: AbortSignal) {
    this.build = build;
    this.node = node;
    this.signal = signal;
    const { noCache, noCacheStages } = build.request;
    const { name, index } = node.stage;
    this.useCache = !noCache && !noCacheStages.some((stage) => stage.toLowerCase() === name || stage === String(index));
  }

  get escape(): string {
    return this.build.file.directives.escape;
  }

  /** Environment and arguments as the next instruction sees them. */
  get words(): Words {
    return { escape: this.escape, lookup: this.args.lookup(lookupIn(this.state.config.Env ?? [])) };
  }

  expand(text: string): string {
    return expandWord(text, this.escape, this.words.lookup);
  }

  async run(): Promise<StageState> {
    const { stage } = this.node;
    await this.#step(stage.from, 0, () => this.#start());
    for (const [index, step] of stage.steps.entries()) await this.#step(step, index + 1, () => this.#perform(step));
    this.build.stageArgs.set(stage.index, this.args);
    return this.state;
  }

  /** The base, then what it wants done in every image that is made of it. */
  async #start(): Promise<void> {
    const triggers = await this.#base();
    const { length: count } = triggers;
    if (!count) return;
    const text = `# Executing ${count} build trigger${count > 1 ? 's' : ''}`;
    this.build.emit({ type: 'note', vertex: this.vertex, text });
    for (const trigger of triggers)
      await this.#perform({ ...parseExpression(trigger), line: this.node.stage.from.line });
  }

  /** Surrounds a step with what clients are told of it. */
  async #step<T>(step: Instruction, index: number, work: () => Promise<T>): Promise<T> {
    if (this.signal.aborted) throw cancelled('Build cancelled');
    const vertex = this.#vertexOf(step, index);
    this.vertex = vertex;
    this.build.emit({ type: 'begin', vertex });
    try {
      const result = await work();
      this.#last = vertex.id;
      this.build.emit({ type: 'end', vertex, imageId: this.state.imageId ?? '' });
      return result;
    } catch (error) {
      const failure = this.signal.aborted ? cancelled('Build cancelled') : asDaemonError(error);
      this.build.emit({ type: 'fail', vertex, error: failure });
      throw failure;
    }
  }

  #vertexOf(step: Instruction, index: number): Vertex {
    const { stage } = this.node;
    const { file, graph } = this.build;
    const name = stage.name ?? (file.stages.length > 1 ? `stage-${stage.index}` : '');
    const { kind } = step;
    const from = 'from' in step && step.from ? stageNamed(file, step.from, stage.index) : undefined;
    const base = kind === 'from' ? stageNamed(file, this.#baseName(), stage.index) : undefined;
    const other = from ?? base;
    const inputs = [
      this.#last,
      other && graph.nodes.some((node) => node.stage === other) ? lastVertex(other.index, other.steps.length) : '',
    ];
    const title = step.original.replace(/\s+/g, ' ').trim();
    // As BuildKit counts: the base, and the steps that make something.
    const count = (steps: readonly Instruction[]): number => 1 + steps.filter(({ kind }) => MAKING.has(kind)).length;
    const position =
      index === 0 || MAKING.has(kind) ? `${count(stage.steps.slice(0, index))}/${count(stage.steps)}` : '';
    return {
      id: lastVertex(stage.index, index),
      title: step.original,
      label: `${name || position ? `[${[name, position].filter(Boolean).join(' ')}] ` : ''}${title}`,
      stage: stage.index,
      number: this.build.offset(stage.index) + index,
      line: step.line,
      inputs: inputs.filter(Boolean),
    };
  }

  #baseName(): string {
    return expandWord(this.node.stage.from.image, this.escape, this.build.globals.global);
  }

  /** FROM. Answers the triggers of the base image. */
  async #base(): Promise<string[]> {
    const { build, node } = this;
    const { from, name: stageName } = node.stage;
    const name = this.#baseName();
    if (!name) throw invalid(`base name (${from.image}) should not be blank`);
    const platform = from.platform
      ? expandWord(from.platform, this.escape, build.globals.global)
      : build.targetPlatform;
    const named = build.request.contexts.get(name);
    const stage = named ? undefined : stageNamed(build.file, name, node.stage.index);
    const builtin = platformArgs(build.deps.hostPlatform, build.platform, stageName ?? '');
    // Arguments of a stage are those of the stages made of it, too; the classic builder forgets them.
    const inherited = stage && build.request.style === 'buildkit' ? build.stageArgs.get(stage.index) : undefined;
    this.args = new ArgScope({ given: build.request.buildArgs, builtin }, build.globals, inherited?.values);
    await this.#importCache();
    if (stage) {
      const base = build.states.get(stage.index)!;
      this.state = { ...base, cmdSet: false, config: { ...base.config, OnBuild: undefined } };
      return base.config.OnBuild ?? [];
    }
    if (named?.kind === 'tree') throw invalid(`named context ${name} holds files and cannot be the base of a stage`);
    if (name === 'scratch' && !named) {
      this.state = scratchState(platform ? parsePlatform(platform) : build.platform, build.now(), build.request.style);
    } else {
      const image = await build.resolveImage(
        named?.reference ?? name,
        platform,
        (line) => build.emit({ type: 'pull', vertex: this.vertex, line }),
        this.signal,
      );
      this.state = imageState(image, build.request.style);
      if (this.#epochKey) this.state.key = digestOf([this.state.key, this.#epochKey]);
      return image.config.config?.OnBuild ?? [];
    }
    return [];
  }

  get #epochKey(): string {
    return this.build.epoch === undefined ? '' : `epoch ${this.build.epoch}`;
  }

  async #importCache(): Promise<void> {
    const { request, cacheImages, deps } = this.build;
    for (const reference of request.cacheFrom) {
      try {
        const known = deps.images.find(reference);
        cacheImages.add(
          known ?? (await this.build.resolveImage(reference, this.build.targetPlatform, () => {}, this.signal)),
        );
      } catch (error) {
        this.build.emit({
          type: 'note',
          text: `cache source ${reference} is not usable: ${asDaemonError(error).message}`,
        });
      }
    }
  }

  /** A label given beside the file is on no line. */
  #warnOfUnset(step: Instruction): void {
    const { checks } = this.build;
    if (!checks || !step.line) return;
    const texts = expandedTexts(step).filter((text) => text.includes('$'));
    if (!texts.length) return;
    const set = (this.state.config.Env ?? []).map((entry) => entry.slice(0, entry.indexOf('=')));
    const known = new Set([...set, ...this.args.values.keys()]);
    const warnings = texts.flatMap((text) => undefinedVariables(text, this.escape, known, step.line));
    this.build.warn(warnings, checks);
  }

  async #perform(step: Instruction): Promise<void> {
    this.#warnOfUnset(step);
    switch (step.kind) {
      case 'arg':
        return this.#arg(step);
      case 'run':
        return layerStep(this, step, await runStep(this, step));
      case 'copy':
      case 'add':
        return copyStep(this, step);
      case 'workdir':
        return layerStep(this, step, workdirStep(this, step));
      case 'maintainer':
        this.state = { ...this.state, author: this.expand(step.text) };
        return this.#configure(step, { config: this.state.config, text: `MAINTAINER ${step.text}` });
      default: {
        const change = applyInstruction(this.state.config, step, this.words, this.state);
        if (!change) throw invalid(`${step.kind.toUpperCase()} is not allowed here`);
        await this.#configure(step, change);
        if (step.kind === 'cmd') this.state = { ...this.state, cmdSet: true };
      }
    }
  }

  async #arg(step: Extract<Instruction, { kind: 'arg' }>): Promise<void> {
    const texts: string[] = [];
    const written: string[] = [];
    for (const { key, value } of step.args) {
      const name = this.expand(key);
      const fallback = value === undefined ? undefined : this.expand(value);
      this.build.declared(name);
      this.args = this.args.declare(name, fallback);
      const result = this.args.values.get(name);
      texts.push(result === undefined ? name : `${name}=${result}`);
      written.push(fallback === undefined ? name : `${name}=${fallback}`);
    }
    // The classic builder tells what is written, BuildKit what it comes to.
    await this.#configure(step, {
      config: this.state.config, text: `ARG ${written.join(' ')}`, kit: `ARG ${texts.join(' ')}`,
    }); // prettier-ignore
  }

  /** A step without a layer. The classic builder makes an image of each, so that its id can be printed and found again. */
  async #configure(step: Instruction, change: Change): Promise<void> {
    const { style } = this.build.request;
    const { config, text } = change;
    // BuildKit's steps depend on files and on what they themselves use of the configuration; ours of that style do too.
    const key = style === 'classic' ? digestOf([this.state.key, text, config]) : this.state.key;
    const createdBy = configCreatedBy(style, step.kind === 'shell' ? config : this.state.config, change);
    // BuildKit's history has neither triggers nor labels given beside the file.
    const untold = style === 'buildkit' && (step.kind === 'onbuild' || (step.kind === 'label' && !step.line));
    const next = (created: string, cached: boolean): StageState =>
      advance(this.state, { key, config, created, createdBy, cached, style, untold });
    if (style === 'buildkit') {
      this.state = next(this.state.created, true);
      return;
    }
    const { cache } = this.build.deps;
    const found = this.useCache ? cache.find(key) : undefined;
    if (found) {
      cache.touch(key, found.record);
      this.build.emit({ type: 'cache', vertex: this.vertex, hit: true });
      this.state = { ...next(found.record.created!, true), imageId: found.image.id };
      return;
    }
    const made = next(this.build.now(), false);
    const image = await storeImage(this.build.layers, made, { parent: this.state.imageId });
    cache.add(key, {
      description: step.original,
      size: 0,
      parent: this.state.key,
      images: { classic: image.id },
      diffId: '',
      created: made.created,
    });
    this.state = { ...made, imageId: image.id };
  }

  /** The key of a step here; what was before it is in it by content. */
  keyOf(step: Instruction, key: string): string {
    return digestOf([this.state.key, step.kind, key]);
  }
}

const lastVertex = (stage: number, step: number): string => `stage-${stage}-step-${step}`;
