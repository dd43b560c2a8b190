/** RUN: an ordinary container of ours over what was built so far, with the step's mounts; its writable layer is the result. */
import { chmod, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { asDaemonError, cancelled, invalid } from '../errors.ts';
import { shortId } from '../lib/ids.ts';
import { digestOf } from './cache.ts';
import { commandLine, DEFAULT_SHELL } from './config.ts';
import type { Command, InstructionOf } from './dockerfile/instructions.ts';
import { openMounts, type OpenMounts } from './mount-open.ts';
import { parseMount, type RunMount } from './mounts.ts';
import type { BuildDeps } from './run.ts';
import { contentKey } from './sources.ts';
import type { LayerStep } from './layer-step.ts';
import type { StageRun } from './stage.ts';
import { runCreatedBy, type StageState } from './state.ts';
import { storeImage } from './layer.ts';

type RunStep = InstructionOf<'run'>;

/** An endless step must not fill anybody's memory or disk. */
const OUTPUT_LIMIT = 16 << 20;
const LAST_WORDS = 4096;

interface RunCommand {
  args: string[];
  /** A heredoc with its own interpreter, to be mounted and executed. */
  script?: { path: string; content: string };
}

export function runCommand(command: Command, state: StageState): RunCommand {
  if ('exec' in command || !command.heredocs.length) return { args: commandLine(command, state.config) };
  const shell = state.config.Shell ?? DEFAULT_SHELL;
  const [first] = command.heredocs;
  const isOnlyHeredoc = command.heredocs.length === 1 && /^\d*<<-?(["']?)[^\s"'<]+\1$/.test(command.shell);
  if (!isOnlyHeredoc) {
    const bodies = command.heredocs.map(({ name, content }) => `${content}${name}`).join('\n');
    return { args: [...shell, `${command.shell}\n${bodies}`] };
  }
  if (first!.content.startsWith('#!')) {
    const path = `/dev/pipes/${first!.name}`;
    return { args: [...shell, path], script: { path, content: first!.content } };
  }
  return { args: [...shell, first!.content] };
}

/** The digest of what bind mounts show and caches begin with; secrets and what is in caches never count. */
async function mountKeys(stage: StageRun, mounts: readonly RunMount[]): Promise<unknown[]> {
  const keys: unknown[] = [];
  for (const { type, source, from, target, readOnly, id } of mounts) {
    if (type === 'bind') keys.push([type, target, source, readOnly, await contentKey(stage, from, source)]);
    else if (type === 'cache' && from) keys.push([type, target, id, source, await contentKey(stage, from, source)]);
    else keys.push([type, target, type === 'cache' ? id : '']);
  }
  return keys;
}

export async function runStep(stage: StageRun, step: RunStep): Promise<LayerStep> {
  const insecure = isInsecure(stage, step);
  if (step.devices.length) throw invalid('devices are not allowed in builds');
  const network = networkOf(stage, step);
  const mounts = step.mounts.map((text) => parseMount(text, (value) => stage.expand(value)));
  const command = runCommand(step.command, stage.state);
  if (!command.args.length) throw invalid('RUN requires at least one argument');
  const { recorded, hidden } = stage.args.forRun(stage.state.config, stage.build.request.style);
  const { Env, User = '', WorkingDir = '' } = stage.state.config;
  const key = digestOf([
    command,
    recorded,
    network,
    Env,
    User,
    WorkingDir,
    await mountKeys(stage, mounts),
    ...(insecure ? ['insecure'] : []),
  ]);
  return {
    key,
    config: stage.state.config,
    createdBy: runCreatedBy(stage.build.request.style, recorded, command.args),
    make: (store) => perform(stage, { step, command, mounts, network, insecure, env: recorded, hidden }, store),
  };
}

function isInsecure(stage: StageRun, step: RunStep): boolean {
  const asked = (step.security && stage.expand(step.security)) || 'sandbox';
  if (asked !== 'sandbox' && asked !== 'insecure') throw invalid(`security ${JSON.stringify(asked)} is not valid`);
  if (asked === 'insecure' && !stage.build.request.limits.allowInsecure)
    throw invalid('security.insecure is not allowed: build with --allow security.insecure');
  return asked === 'insecure';
}

function networkOf(stage: StageRun, step: RunStep): string {
  const asked = step.network && stage.expand(step.network);
  if (asked === undefined || asked === 'default') return stage.build.request.limits.network || 'default';
  const { limits } = stage.build.request;
  // A Dockerfile gets out of its sandbox only where the client says so, too (CVE-2024-23653).
  if (asked === 'host' && limits.network !== 'host' && !limits.allowHostNetwork)
    throw invalid('network.host is not allowed: build with --network=host or --allow network.host');
  if (asked === 'none' || asked === 'host') return asked;
  throw invalid(`unsupported network mode ${JSON.stringify(asked)}`);
}

interface Run {
  step: RunStep;
  command: RunCommand;
  mounts: RunMount[];
  network: string;
  insecure: boolean;
  env: string[];
  /** Proxies, which may hold a password. */
  hidden: string[];
}

/** Passes output on up to a limit, and keeps the end of it for the message of a failure. */
class Output {
  #stage: StageRun;
  #size = 0;
  #last = '';

  constructor(stage: StageRun) {
    this.#stage = stage;
  }

  write(stream: 'stdout' | 'stderr', chunk: Uint8Array): void {
    this.#last = (this.#last + Buffer.from(chunk).toString('utf8')).slice(-LAST_WORDS);
    if (this.#size > OUTPUT_LIMIT) return;
    const { build, vertex } = this.#stage;
    this.#size += chunk.byteLength;
    build.emit({ type: 'output', vertex, stream, chunk });
    if (this.#size > OUTPUT_LIMIT)
      build.emit({
        type: 'output',
        vertex,
        stream: 'stderr',
        chunk: Buffer.from('\n[output clipped, log limit 16MiB reached]\n'),
      });
  }

  get lastLines(): string[] {
    return this.#last.trimEnd().split('\n').slice(-10);
  }
}

async function perform(
  stage: StageRun,
  run: Run,
  store: (tar: AsyncIterable<Uint8Array> | undefined) => Promise<void>,
): Promise<void> {
  const { build } = stage;
  const image = stage.state.imageId ?? (await storeImage(build.layers, stage.state, { cache: true })).id;
  const opened = await openMounts(stage, run.mounts);
  const { steps } = build.deps;
  let container: string | undefined;
  try {
    const output = new Output(stage);
    const result = await steps.run({
      imageId: image,
      process: {
        args: run.command.args,
        env: [...(stage.state.config.Env ?? []), ...run.env],
        cwd: stage.state.config.WorkingDir || '/',
        user: stage.state.config.User ?? '',
      },
      secretEnv: [...run.hidden, ...opened.env],
      labels: {},
      hostConfig: await hostConfigOf(stage, run, opened),
      onOutput: (stream, chunk) => output.write(stream, chunk),
      onCreated: (id) => {
        container = id;
        build.deps.containers.put(id, { build: build.id });
        build.emit({ type: 'container', vertex: stage.vertex, id });
      },
      signal: stage.signal,
    });
    container = result.containerId;
    if (stage.signal.aborted) throw cancelled('Build cancelled');
    if (result.exitCode !== 0) throw failure(stage, run, result.exitCode, output);
    await opened.tidy(container);
    await store(build.deps.rootfs.diff(container));
  } finally {
    await opened.close();
    if (container && !build.request.keepContainers) {
      await removeStep(build.deps, container);
      build.emit({ type: 'container-removed', vertex: stage.vertex, id: container });
    } else if (container) build.deps.containers.delete(container);
  }
}

/** A step that was cancelled may be on its way out already; one that stays is told, and tried again at the next boot. */
export async function removeStep({ steps, containers, log }: BuildDeps, id: string): Promise<void> {
  try {
    await steps.remove(id);
  } catch (error) {
    const { kind } = asDaemonError(error);
    if (kind !== 'notFound' && kind !== 'conflict')
      return log.warn({ err: error, container: id }, 'a build step stays');
  }
  containers.delete(id);
}

async function hostConfigOf(
  stage: StageRun,
  { command, network, insecure }: Run,
  opened: OpenMounts,
): Promise<Record<string, unknown>> {
  const { limits } = stage.build.request;
  const mounts = [...opened.mounts];
  if (command.script) {
    const directory = await mkdtemp(join(stage.build.directory, 'script-'));
    const path = join(directory, 'script');
    await writeFile(path, command.script.content);
    await chmod(path, 0o755);
    mounts.push({ Type: 'bind', Source: path, Target: command.script.path, ReadOnly: true });
  }
  const privileged = insecure ? { Privileged: true } : {};
  return { ...limits.hostConfig, ...privileged, NetworkMode: network, LogConfig: { Type: 'none' }, Mounts: mounts };
}

/** Says what failed and how to look around in what was built so far. */
function failure(stage: StageRun, { step, command }: Run, exitCode: number, output: Output): Error {
  const { request } = stage.build;
  const words = command.args.join(' ');
  const message =
    request.style === 'classic'
      ? `The command '${words}' returned a non-zero code: ${exitCode}`
      : `process ${JSON.stringify(words)} did not complete successfully: exit code: ${exitCode}`;
  const lines = [`Step failed on line ${step.line}: ${step.original} (exit code ${exitCode})`];
  const last = output.lastLines.filter(Boolean);
  // BuildKit's clients show the last lines of a failed step themselves.
  if (last.length && request.style === 'classic') lines.push('Its last lines:', ...last.map((line) => `  ${line}`));
  if (stage.state.imageId)
    lines.push(`To look around in what was built before it: docker run -it ${shortId(stage.state.imageId)}`);
  stage.build.emit({ type: 'note', vertex: stage.vertex, text: lines.join('\n') });
  return invalid(message, { code: `exit-${exitCode}` });
}
