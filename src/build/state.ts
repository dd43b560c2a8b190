/** What a stage has come to after a step, and the image documents made of it. Pure. */
import type { HistoryEntry, Image, ImageConfigDocument, ImageRunConfig } from '../image/port.ts';
import { type Platform, platformText } from './args.ts';
import { DEFAULT_SHELL } from './config.ts';
import { digestOf } from './cache.ts';
import { INLINE_CACHE, type WithInlineCache } from './cache-from.ts';
import type { Style } from './types.ts';

export const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface StageState {
  config: ImageRunConfig;
  history: HistoryEntry[];
  /** Diff ids. */
  layers: string[];
  /** Cache keys of the layers; '' for those of the base image. */
  layerKeys: string[];
  platform: Platform;
  author?: string;
  /** Of the last layer. */
  created: string;
  /** Digest of all that led here: the start of the next step's cache key. */
  key: string;
  /** Every step so far came from the cache. */
  cached: boolean;
  /** An image with exactly these layers; undefined when there are none. */
  imageId: string | undefined;
  /** CMD was given in this stage, so that ENTRYPOINT leaves it. */
  cmdSet: boolean;
}

const withPath = (env: readonly string[] = []): string[] =>
  env.some((entry) => entry.startsWith('PATH=')) ? [...env] : [...env, DEFAULT_PATH];

export function scratchState(platform: Platform, created: string, style: Style): StageState {
  return {
    config: { Env: withPath(), ...(style === 'buildkit' ? { WorkingDir: '/' } : {}) },
    history: [],
    layers: [],
    layerKeys: [],
    platform,
    created,
    key: digestOf(['scratch', platformText(platform)]),
    cached: true,
    imageId: undefined,
    cmdSet: false,
  };
}

export function imageState(image: Image, style: Style): StageState {
  const { config, history = [], rootfs, architecture, os, variant, author, created } = image.config;
  const { OnBuild: _triggers, ...rest } = config ?? {};
  return {
    config: { ...rest, Env: withPath(rest.Env) },
    history,
    layers: rootfs.diff_ids,
    layerKeys: rootfs.diff_ids.map(() => ''),
    platform: { os, architecture, ...(variant ? { variant } : {}) },
    ...(author ? { author } : {}),
    created: created ?? new Date(0).toISOString(),
    key: digestOf(style === 'classic' ? ['image', image.id] : ['layers', rootfs.diff_ids, os, architecture]),
    cached: true,
    imageId: rootfs.diff_ids.length ? image.id : undefined,
    cmdSet: false,
  };
}

/** The next state: a new layer, or only another configuration. */
export function advance(
  state: StageState,
  step: {
    key: string;
    config?: ImageRunConfig;
    layer?: string;
    layerKey?: string;
    created: string;
    createdBy: string;
    cached: boolean;
    style: Style;
    imageId?: string;
    /** History does not tell it. */
    untold?: boolean;
  },
): StageState {
  const entry: HistoryEntry = {
    created: step.created,
    created_by: step.createdBy,
    ...(state.author ? { author: state.author } : {}),
    ...(step.style === 'buildkit' ? { comment: 'buildkit.dockerfile.v0' } : {}),
    ...(step.layer ? {} : { empty_layer: true }),
  };
  return {
    ...state,
    config: step.config ?? state.config,
    history: step.untold ? state.history : [...state.history, entry],
    layers: step.layer ? [...state.layers, step.layer] : state.layers,
    layerKeys: step.layer ? [...state.layerKeys, step.layerKey ?? ''] : state.layerKeys,
    created: step.layer || step.style === 'classic' ? step.created : state.created,
    key: step.key,
    cached: state.cached && step.cached,
    imageId: step.imageId ?? state.imageId,
  };
}

export function documentOf(
  state: StageState,
  options: { inlineCache?: boolean } = {},
): WithInlineCache<Omit<ImageConfigDocument, 'rootfs'>> {
  const { os, architecture, variant } = state.platform;
  return {
    architecture,
    os,
    ...(variant ? { variant } : {}),
    ...(state.author ? { author: state.author } : {}),
    created: state.created,
    config: state.config,
    history: state.history,
    ...(options.inlineCache ? { [INLINE_CACHE]: state.layerKeys } : {}),
  };
}

/** `created_by` of a step that changes the configuration only. */
export function configCreatedBy(
  style: Style,
  config: ImageRunConfig,
  { text, kit }: { text: string; kit?: string },
): string {
  if (style === 'buildkit') return kit ?? text;
  // Two blanks: the classic builder joins its marker and the text as separate words.
  const glue = text.startsWith('WORKDIR ') ? '#(nop)' : '#(nop) ';
  return [...(config.Shell ?? DEFAULT_SHELL), glue, text].join(' ');
}

export function runCreatedBy(style: Style, args: readonly string[], command: readonly string[]): string {
  const words = [...(args.length ? [`|${args.length}`, ...args] : []), ...command].join(' ');
  return style === 'buildkit' ? `RUN ${words} # buildkit` : words;
}

export function copyCreatedBy(
  style: Style,
  config: ImageRunConfig,
  copy: { keyword: string; flags: string; sources: string[]; dest: string; hash: string },
): string {
  if (style === 'buildkit') return `${copy.keyword} ${copy.flags}${[...copy.sources, copy.dest].join(' ')} # buildkit`;
  return [...(config.Shell ?? DEFAULT_SHELL), `#(nop) ${copy.keyword} ${copy.flags}${copy.hash} in ${copy.dest} `].join(
    ' ',
  );
}
