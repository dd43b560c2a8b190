/**
 * POST /build with version=2: BuildKit's build by the classic address, as clients with a session of their own ask for it
 * (the context comes in the body or from the session). Progress comes as `moby.buildkit.trace`, the result as `moby.image.id`.
 */
import type { Readable } from 'node:stream';
import { toBinary } from '@bufbuild/protobuf';
import { asDaemonError } from '../errors.ts';
import { StatusResponseSchema } from '../generated/proto/buildkit/control_pb.ts';
import { newId } from '../lib/ids.ts';
import type { BuildKit } from './buildkit/front.ts';
import { publishImage } from './layer.ts';
import { Queue } from './queue.ts';
import { receiveTar } from './context.ts';
import type { BuildRequest } from './types.ts';

export interface TracedBuild {
  body: Readable;
  session: string;
  buildId: string;
  /** '' or `client-session`, or a url. */
  remote: string;
  dockerfile: string;
  gone: AbortSignal;
  request: Pick<
    BuildRequest,
    'tags' | 'target' | 'buildArgs' | 'labels' | 'platform' | 'noCache' | 'pull' | 'cacheFrom' | 'limits' | 'auth'
  >;
}

export function tracedBuild(buildkit: BuildKit, input: TracedBuild): AsyncIterable<object[]> {
  const lines = new Queue<object>();
  const job = buildkit.jobs.open(input.buildId || newId(), input.session);
  input.gone.addEventListener('abort', () => job.cancel(), { once: true });
  const attributes = {
    ...(input.dockerfile ? { filename: input.dockerfile } : {}),
    ...(input.remote && input.remote !== 'client-session' ? { context: input.remote } : {}),
  };
  const fromBody = !input.remote;
  const overrides: Partial<BuildRequest> = {
    ...input.request,
    inlineCache: input.request.buildArgs.BUILDKIT_INLINE_CACHE === '1',
    ...(fromBody
      ? { receive: (workspace, signal) => receiveTar(input.body, workspace, input.dockerfile, signal) }
      : {}),
  };
  const tracing = (async () => {
    for await (const status of job.progress.read())
      lines.push({
        id: 'moby.buildkit.trace',
        aux: Buffer.from(toBinary(StatusResponseSchema, status)).toString('base64'),
      });
  })();
  const building = (async () => {
    try {
      // Names come when the image is one: a step of the cache has none.
      const { image } = await buildkit.build(job, attributes, { ...overrides, tags: [] });
      const { images } = buildkit.builds.deps;
      await publishImage(images, image);
      for (const tag of input.request.tags) await images.tag(image.id, tag);
      return { id: 'moby.image.id', aux: { ID: image.id } };
    } catch (thrown) {
      const { message } = asDaemonError(thrown);
      return { errorDetail: { message }, error: message };
    } finally {
      buildkit.jobs.close(job);
    }
  })();
  void Promise.all([building, tracing]).then(([last]) => {
    lines.push(last);
    lines.end();
  });
  return lines.batches();
}
