/** The Dockerfile frontend's attributes, as buildx sends them, to a build request of ours. */
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { invalid, notImplemented } from '../../errors.ts';
import type { Ulimit } from '../../config/config.ts';
import { readContext, readTextIn, receiveRemote, unpackInto } from '../context.ts';
import { isGit, isHttp } from '../fetch.ts';
import type { Tree } from '../files/select.ts';
import { readIgnoreFile } from '../patterns.ts';
import type { BuildInput, BuildRequest, NamedContext, RunLimits } from '../types.ts';
import { clientServices, credentials, uploaded } from './client-services.ts';
import { receiveDirectory } from './file-sync.ts';
import type { Session } from './sessions.ts';

type Attributes = Readonly<Record<string, string>>;

/** Attributes `prefix:name`. */
function withPrefix(attributes: Attributes, prefix: string): Record<string, string> {
  const entries = Object.entries(attributes).filter(([key]) => key.startsWith(`${prefix}:`));
  return Object.fromEntries(entries.map(([key, value]) => [key.slice(prefix.length + 1), value]));
}

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

/** A session directory received into the build's own directory, with its own ignore file obeyed. */
async function receiveTree(session: Session, name: string, directory: string, signal: AbortSignal): Promise<Tree> {
  const rules = await mkdtemp(join(directory, 'ignore-'));
  await receiveDirectory(session, { name, follow: ['.dockerignore'] }, rules, signal);
  const ignore = readIgnoreFile((await readTextIn(rules, '.dockerignore')) ?? '');
  const root = await mkdtemp(join(directory, 'local-'));
  await receiveDirectory(session, { name, excludes: ignore }, root, signal);
  return { root, ignore };
}

function namedContexts(
  attributes: Attributes,
  session: () => Promise<Session>,
  workspace: () => string,
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
      contexts.set(name, {
        kind: 'tree',
        open: (signal) => (tree ??= session().then((open) => receiveTree(open, local, workspace(), signal))),
      });
    } else if (isHttp(value) || isGit(value)) {
      let tree: Promise<Tree> | undefined;
      contexts.set(name, { kind: 'tree', open: (signal) => (tree ??= remoteTree(value, workspace(), signal)) });
    } else
      throw notImplemented(`named context ${name}: ${value.split(':')[0]} sources are not supported by this daemon`);
  }
  return contexts;
}

async function remoteTree(url: string, directory: string, signal: AbortSignal): Promise<Tree> {
  const input = await receiveRemote(url, await mkdtemp(join(directory, 'named-')), '', signal, {
    dockerfileOptional: true,
  });
  if (!input.context) throw invalid(`named context ${url} is not a directory or an archive`);
  return input.context;
}

/** The Dockerfile comes from a directory of its own; the context may be elsewhere. */
async function receiveInput(
  attributes: Attributes,
  session: Session,
  directory: string,
  signal: AbortSignal,
): Promise<BuildInput> {
  const filename = attributes.filename ?? 'Dockerfile';
  const context = attributes.context ?? '';
  const upload = /^https?:\/\/buildkit-session\/(.+)$/.exec(context);
  if (upload) {
    const root = join(directory, 'context');
    await unpackInto(uploaded(session, `/${upload[1]}`, signal), root, signal);
    return readContext(root, filename);
  }
  const isLocal = !context || context.startsWith('local:');
  if (!isLocal && !(isHttp(context) || isGit(context)))
    throw notImplemented(`${context} is no context that this daemon can use`);
  if (!isLocal && !attributes.dockerfilekey)
    return receiveRemote(context, directory, attributes.filename ?? '', signal);

  const definition = join(directory, 'definition');
  const follow = [filename, `${filename}.dockerignore`, filename.toLowerCase()];
  await receiveDirectory(session, { name: attributes.dockerfilekey ?? 'dockerfile', follow }, definition, signal);
  const dockerfile = (await readTextIn(definition, filename)) ?? (await readTextIn(definition, filename.toLowerCase()));
  if (dockerfile === undefined) throw invalid(`failed to read dockerfile: open ${filename}: no such file or directory`);
  if (!isLocal)
    return {
      ...(await receiveRemote(context, directory, '', signal, { dockerfileOptional: true })),
      dockerfile,
      dockerfileName: filename,
    };

  const name = context.startsWith('local:') ? context.slice(6) : (attributes.contextkey ?? 'context');
  const own = await readTextIn(definition, `${filename}.dockerignore`);
  let ignore = own === undefined ? undefined : readIgnoreFile(own);
  if (!ignore) {
    const rules = join(directory, 'ignore');
    await receiveDirectory(session, { name, follow: ['.dockerignore'] }, rules, signal);
    ignore = readIgnoreFile((await readTextIn(rules, '.dockerignore')) ?? '');
  }
  const root = join(directory, 'context');
  await receiveDirectory(session, { name, excludes: ignore }, root, signal);
  return { dockerfile, dockerfileName: filename, context: { root, ignore } };
}

export interface FrontendBuild {
  attributes: Attributes;
  session: () => Promise<Session>;
  /** Fires when the build is cancelled. */
  signal: AbortSignal;
  onEvent: BuildRequest['onEvent'];
  /** Around the receiving of the input, to show it as a step of its own. */
  receiving: <T>(work: () => Promise<T>) => Promise<T>;
}

/** Errors: notImplemented for what the frontend is asked for beside building, and for several platforms. */
export function frontendRequest({ attributes, session, signal, onEvent, receiving }: FrontendBuild): BuildRequest {
  if (attributes.requestid)
    throw notImplemented(`the Dockerfile frontend here only builds; ${attributes.requestid} is not supported`);
  const platforms = wordsOf(attributes.platform);
  if (platforms.length > 1)
    throw notImplemented('multi-platform builds are not supported by this daemon; build one platform at a time');
  const noCache = attributes['no-cache'];
  const workspace = { directory: '' };
  return {
    style: 'buildkit',
    receive: async (directory, within) => {
      workspace.directory = directory;
      return receiving(async () => receiveInput(attributes, await session(), directory, within));
    },
    tags: [],
    target: attributes.target ?? '',
    buildArgs: withPrefix(attributes, 'build-arg'),
    labels: withPrefix(attributes, 'label'),
    platform: platforms[0],
    noCache: noCache === '',
    noCacheStages: wordsOf(noCache),
    pull: attributes['image-resolve-mode'] === 'pull',
    cacheFrom: cacheFrom(attributes),
    squash: false,
    keepContainers: false,
    limits: limitsOf(attributes),
    contexts: namedContexts(attributes, session, () => workspace.directory),
    services: clientServices(session, signal),
    auth: async (host) => credentials(await session(), host, signal),
    onEvent,
  };
}
