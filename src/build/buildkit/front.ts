/**
 * BuildKit's front of the build engine: gRPC over /grpc, /session and h2c on the socket itself, for buildx, Compose and the
 * docker CLI. The frontend is always our own engine.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { BuilderConfig } from '../../config/builder.ts';
import { asDaemonError, forbidden } from '../../errors.ts';
import type { Image } from '../../image/port.ts';
import { newId } from '../../lib/ids.ts';
import { VERSION } from '../../version.ts';
import { platformArgs } from '../args.ts';
import { GrpcServer } from '../grpc/server.ts';
import { DetailedError } from '../grpc/status.ts';
import type { LayerDeps } from '../layer.ts';
import type { Builds } from '../service.ts';
import type { BuildInput, BuildRequest, BuildResult } from '../types.ts';
import { Workspace } from '../workspace.ts';
import { registerBridge } from './bridge.ts';
import { credentials } from './client-services.ts';
import { registerControl } from './control.ts';
import { type Export, exportResult } from './exports.ts';
import { buildArgsOf, frontendRequest } from './frontend.ts';
import { BuildHistory } from './history.ts';
import { type Job, Jobs } from './jobs.ts';
import { type Answer, answer } from './questions.ts';
import { receiveDockerfile } from './receive.ts';
import { type Session, Sessions } from './sessions.ts';

/** The version of BuildKit whose protocol this is; clients choose features by it. */
const PROTOCOL_VERSION = 'v0.25.0';

/** Where buildx reads what `--add-host name:host-gateway` means. */
const HOST_GATEWAY_LABEL = 'org.mobyproject.buildkit.worker.moby.host-gateway-ip';

export const BUILDKIT_VERSION = { package: 'reactord', version: PROTOCOL_VERSION, revision: VERSION };

/** Where in a Dockerfile something went wrong, as far as it is known. */
interface Place {
  input?: Pick<BuildInput, 'dockerfile' | 'dockerfileName'>;
  line?: number;
}

/** An error with the lines of the Dockerfile, which clients print around the one in question. */
function withSource(thrown: unknown, { input, line }: Place): unknown {
  const error = asDaemonError(thrown);
  const at = line || Number(/ on line (\d+): /.exec(error.message)?.[1] ?? 0);
  if (!input || !at || error.kind === 'cancelled') return thrown;
  const info = {
    filename: input.dockerfileName,
    language: 'Dockerfile',
    data: Buffer.from(input.dockerfile).toString('base64'),
  };
  const source = { info, ranges: [{ start: { line: at }, end: { line: at } }] };
  const typeUrl = 'github.com/moby/buildkit/errdefs.Source+json';
  return new DetailedError(error, [{ typeUrl, value: Buffer.from(JSON.stringify(source)) }]);
}

export interface BuildKitOptions {
  directory: string;
  /** Where builds that ended are kept for `docker buildx history`. */
  historyDirectory: string;
  keepHistory: BuilderConfig['history'];
  /** Of the host as containers reach it. */
  hostGateway: () => Promise<string | undefined>;
  /** What clients may allow their builds. */
  allowed: Pick<BuilderConfig, 'networkHost' | 'securityInsecure'>;
}

export class BuildKit {
  readonly builds: Builds;
  readonly jobs: Jobs;
  readonly sessions: Sessions;
  readonly history: BuildHistory;
  #server: GrpcServer;
  #directory: string;
  #hostGateway: () => Promise<string | undefined>;
  #allowed: BuildKitOptions['allowed'];

  constructor(builds: Builds, options: BuildKitOptions) {
    this.#hostGateway = options.hostGateway;
    this.#allowed = options.allowed;
    const { clock, log } = builds.deps;
    this.builds = builds;
    this.jobs = new Jobs(clock);
    this.sessions = new Sessions(clock);
    this.history = new BuildHistory({ directory: options.historyDirectory, keep: options.keepHistory, clock, log });
    this.#directory = options.directory;
    this.#server = new GrpcServer(log);
    registerControl(this.#server, this);
    registerBridge(this.#server, this);
  }

  /** No snapshotter label: clients then ask for nothing that needs an image index or a cache exporter. */
  async worker() {
    const { os, architecture, variant } = this.builds.deps.hostPlatform;
    const gateway = await this.#hostGateway();
    const labels: Record<string, string> = gateway ? { [HOST_GATEWAY_LABEL]: gateway } : {};
    return {
      id: 'reactord',
      labels,
      platforms: [{ os, architecture, variant: variant ?? '' }],
      buildkitVersion: BUILDKIT_VERSION,
    };
  }

  /** Refuses what daemon.json lets no client allow. */
  checkEntitlements(asked: readonly string[]): void {
    const { networkHost, securityInsecure } = this.#allowed;
    const allowed = [...(networkHost ? ['network.host'] : []), ...(securityInsecure ? ['security.insecure'] : [])];
    const refused = asked.find((each) => !allowed.includes(each));
    if (refused) throw forbidden(`granting entitlement ${refused} is not allowed by build daemon configuration`);
  }

  /** A connection that speaks gRPC to us. */
  serve(connection: Duplex): Promise<void> {
    return this.#server.serve(connection);
  }

  serveSession(connection: Duplex, headers: IncomingHttpHeaders): Promise<void> {
    return this.sessions.serve(connection, headers);
  }

  #sessionOf(job: Job): () => Promise<Session> {
    return () => this.sessions.get(job.session, job.controller.signal);
  }

  /** For work on a result. */
  async withLayers<T>(work: (layers: LayerDeps) => Promise<T>): Promise<T> {
    const { images, rootfs } = this.builds.deps;
    const workspace = new Workspace(join(this.#directory, `result-${newId()}`));
    try {
      return await work({ images, rootfs, workspace });
    } finally {
      await workspace.remove();
    }
  }

  /** `overrides` are parts of the request that do not come as attributes. */
  async build(
    job: Job,
    attributes: Record<string, string>,
    overrides: Partial<BuildRequest> = {},
  ): Promise<BuildResult> {
    const { signal } = job.controller;
    const { progress } = job;
    job.attributes = attributes;
    const place: Place = {};
    const request = frontendRequest({
      attributes,
      session: this.#sessionOf(job),
      signal,
      onEvent: (event) => {
        if (event.type === 'fail') place.line ??= event.vertex.line;
        progress.on(event);
      },
      within: (name, work) => progress.within(name, work),
      kept: this.builds.deps.cache,
    });
    const allowed = {
      allowHostNetwork: job.entitlements.includes('network.host'),
      allowInsecure: job.entitlements.includes('security.insecure'),
    };
    const build = this.builds.start({
      ...request,
      receive: async (...to) => (place.input = await request.receive(...to)),
      inlineCache: request.inlineCache || job.inlineCache,
      limits: { ...request.limits, ...allowed },
      ...overrides,
    });
    const cancel = (): void => build.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      return await build.result;
    } catch (error) {
      throw withSource(error, place);
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  /** Answers what a client asks of a Dockerfile instead of building it. */
  async ask(job: Job, attributes: Record<string, string>): Promise<Answer> {
    const { cache, images, hostPlatform } = this.builds.deps;
    const { signal } = job.controller;
    const { progress } = job;
    const session = await this.#sessionOf(job)();
    const { dockerfile, dockerfileName } = await this.withLayers(({ workspace }) =>
      receiveDockerfile({ attributes, session, workspace, signal, within: progress.within, kept: cache, atEnd: [] }),
    );
    const { target = '' } = attributes;
    const given = buildArgsOf(attributes);
    const environment = (name: string): string[] | undefined =>
      images.find(name)?.config.config?.Env?.map((entry) => entry.split('=', 1)[0]!);
    return answer(attributes.requestid!, {
      text: dockerfile,
      name: dockerfileName,
      target,
      args: { given, builtin: platformArgs(hostPlatform, hostPlatform, target) },
      check: given.BUILDKIT_DOCKERFILE_CHECK,
      environment,
    });
  }

  /** Waits for the job's result and exports it. `attributes` are given when the client leaves the build itself to us. */
  async finish(
    job: Job,
    attributes: Record<string, string> | undefined,
    exporters: Export[],
  ): Promise<Record<string, string>> {
    const result = attributes ? await this.build(job, attributes) : await this.#returned(job);
    if (!result) return {};
    const answer: Record<string, string> = {};
    await this.withLayers(async (layers) => {
      const deps = { ...layers, session: this.#sessionOf(job), signal: job.controller.signal };
      for (const [index, exporter] of exporters.entries()) {
        const isImage = exporter.type === 'moby' || exporter.type === 'image';
        const name = isImage ? 'exporting to image' : `exporting to client ${exporter.type}`;
        Object.assign(answer, await job.progress.within(name, () => exportResult(deps, exporter, index, result)));
      }
    });
    return answer;
  }

  async #returned(job: Job): Promise<BuildResult | undefined> {
    const id = await job.returned;
    return id ? job.result(id) : undefined;
  }

  async resolveImage(job: Job, reference: string, platform: string | undefined, pull: boolean): Promise<Image> {
    const { images } = this.builds.deps;
    const local = pull ? undefined : images.find(reference, platform);
    if (local) return local;
    const { signal } = job.controller;
    const first = reference.split('/')[0]!;
    const host = reference.includes('/') && /[.:]|^localhost$/.test(first) ? first : 'docker.io';
    return images.pull(reference, {
      platform,
      signal,
      auth: await credentials(await this.#sessionOf(job)(), host, signal),
    });
  }

  async stop(): Promise<void> {
    this.jobs.cancelAll();
    this.sessions.close();
    await this.#server.close();
    await this.history.stop();
  }
}
