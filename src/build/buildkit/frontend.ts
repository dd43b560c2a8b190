/** The Dockerfile frontend's attributes, as buildx sends them, to a build request of ours. */
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { invalid, notImplemented } from '../../errors.ts';
import type { Ulimit } from '../../config/config.ts';
import { receiveRemote } from '../context.ts';
import { isGit, isHttp } from '../fetch.ts';
import type { Tree } from '../files/select.ts';
import type { BuildRequest, NamedContext, RunLimits } from '../types.ts';
import { clientServices, credentials } from './client-services.ts';
import type { Within } from './progress.ts';
import { receiveInput, type Receiving, receiveTree } from './receive.ts';
import { Workspace } from '../workspace.ts';
import type { Session } from './sessions.ts';

type Attributes = Readonly<Record<string, string>>;

/** Attributes `prefix:name`. */
function withPrefix(attributes: Attributes, prefix: string): Record<string, string> {
  const entries = Object.entries(attributes).filter(([key]) => key.startsWith(`${prefix}:`));
  return Object.fromEntries(entries.map(([key, value]) => [key.slice(prefix.length + 1), value]));
}

export const buildArgsOf = (attributes: Attributes): Record<string, string> => withPrefix(attributes, 'build-arg');

const wordsOf = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter(Boolean);

function limitsOf(attributes: Attributes): RunLimits {
  const shm = attributes['shm-size'];
  const ulimits = wordsOf(attributes.ulimit).map((text): Ulimit => {
    const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
    if (!match) throw invalid(`invalid ulimit: ${text}`);
    return { Name: match[1]!, Soft: Number(match[2]), Hard: Number(match[3] ?? match[2]) };
  });
  const hosts = wordsOf(attributes['add-hosts']).map((text) => text.replace('=', ':'));
  return {
    network: attributes['force-network-mode'] ?? '',
    hostConfig: {
      ...(shm ? { ShmSize: Number(shm) } : {}),
      ...(ulimits.length ? { Ulimits: ulimits } : {}),
      ...(hosts.length ? { ExtraHosts: hosts } : {}),
      ...(attributes['cgroup-parent'] ? { CgroupParent: attributes['cgroup-parent'] } : {}),
    },
  };
}

/** Registry entries of `--cache-from`; other kinds of caches are left alone. */
function cacheFrom(attributes: Attributes): string[] {
  const imports = attributes['cache-imports'];
  if (!imports) return wordsOf(attributes['cache-from']);
  const entries = JSON.parse(imports) as { Type?: string; Attrs?: Record<string, string> }[];
  return entries.flatMap(({ Type, Attrs }) => (Type === 'registry' && Attrs?.ref ? [Attrs.ref] : []));
}

function namedContexts(
  attributes: Attributes,
  receive: (name: string, workspace: Workspace, signal: AbortSignal) => Promise<Tree>,
): Map<string, NamedContext> {
  const contexts = new Map<string, NamedContext>();
  for (const [key, value] of Object.entries(withPrefix(attributes, 'context'))) {
    const name = key.split('::')[0]!;
    const image = /^docker-image:\/\/(.+)$/.exec(value)?.[1];
    const local = /^local:(.+)$/.exec(value)?.[1];
    if (image) contexts.set(name, { kind: 'image', reference: image });
    else if (local) {
      // Received once, however many steps use it.
      let tree: Promise<Tree> | undefined;
      contexts.set(name, { kind: 'tree', open: (...to) => (tree ??= receive(local, ...to)) });
    } else if (isHttp(value) || isGit(value)) {
      let tree: Promise<Tree> | undefined;
      contexts.set(name, { kind: 'tree', open: (...to) => (tree ??= remoteTree(value, ...to)) });
    } else
      throw notImplemented(`named context ${name}: ${value.split(':')[0]} sources are not supported by this daemon`);
  }
  return contexts;
}

async function remoteTree(url: string, workspace: Workspace, signal: AbortSignal): Promise<Tree> {
  const own = new Workspace(await mkdtemp(join(workspace.directory, 'named-')));
  const input = await receiveRemote(url, own, '', signal, { dockerfileOptional: true });
  if (!input.context) throw invalid(`named context ${url} is not a directory or an archive`);
  return input.context(signal);
}

export interface FrontendBuild {
  attributes: Attributes;
  session: () => Promise<Session>;
  /** Fires when the build is cancelled. */
  signal: AbortSignal;
  onEvent: BuildRequest['onEvent'];
  within: Within;
  kept: Receiving['kept'];
}

/** Errors: notImplemented for several platforms. */
export function frontendRequest({ attributes, session, signal, onEvent, within, kept }: FrontendBuild): BuildRequest {
  const platforms = wordsOf(attributes.platform);
  if (platforms.length > 1)
    throw notImplemented('multi-platform builds are not supported by this daemon; build one platform at a time');
  const noCache = attributes['no-cache'];
  const atEnd: (() => void)[] = [];
  const receiving = async (workspace: Workspace, receiveSignal: AbortSignal): Promise<Receiving> => ({
    attributes, session: await session(), workspace, signal: receiveSignal, within, kept, atEnd,
  }); // prettier-ignore
  return {
    style: 'buildkit',
    receive: async (workspace, receiveSignal) => receiveInput(await receiving(workspace, receiveSignal)),
    release: () => {
      for (const end of atEnd.splice(0)) end();
    },
    tags: [],
    target: attributes.target ?? '',
    buildArgs: buildArgsOf(attributes),
    labels: withPrefix(attributes, 'label'),
    platform: platforms[0],
    noCache: noCache === '',
    noCacheStages: wordsOf(noCache),
    pull: attributes['image-resolve-mode'] === 'pull',
    cacheFrom: cacheFrom(attributes),
    inlineCache: attributes['build-arg:BUILDKIT_INLINE_CACHE'] === '1',
    squash: false,
    keepContainers: false,
    limits: limitsOf(attributes),
    contexts: namedContexts(attributes, async (name, ...to) => receiveTree(await receiving(...to), name)),
    services: clientServices(session, signal),
    auth: async (host) => credentials(await session(), host, signal),
    onEvent,
  };
}
