/** The classic front: one request with a context, answered by lines. */
import type { Readable } from 'node:stream';
import { asDaemonError } from '../errors.ts';
import { shortId } from '../lib/ids.ts';
import { receiveRemote, receiveTar } from './context.ts';
import { ClassicPrinter } from './printer.ts';
import { Queue } from './queue.ts';
import type { Builds, RunningBuild } from './service.ts';
import type { BuildRequest } from './types.ts';

export interface ClassicBuild {
  body: Readable;
  /** A url, or ''. */
  remote: string;
  /** Path in the context; '' is Dockerfile. */
  dockerfile: string;
  quiet: boolean;
  /** The client's name for the build, to cancel it. */
  buildId: string;
  gone: AbortSignal;
  request: Pick<
    BuildRequest,
    | 'tags'
    | 'target'
    | 'buildArgs'
    | 'labels'
    | 'platform'
    | 'noCache'
    | 'pull'
    | 'cacheFrom'
    | 'keepContainers'
    | 'limits'
    | 'auth'
  >;
}

const exitCodeOf = (code: string | undefined): { code?: number } => {
  const match = /^exit-(\d+)$/.exec(code ?? '');
  return match ? { code: Number(match[1]) } : {};
};

/** Ends the lines with the result, or with dockerd's error line. */
async function conclude(
  build: RunningBuild,
  input: ClassicBuild,
  tags: string[],
  lines: Queue<object>,
  flush: (failed: boolean) => void,
): Promise<void> {
  try {
    const { image } = await build.result;
    flush(false);
    if (input.quiet) lines.push({ stream: `${image.id}\n` });
    else {
      lines.push({ stream: `Successfully built ${shortId(image.id)}\n` });
      for (const tag of tags) lines.push({ stream: `Successfully tagged ${tag}\n` });
    }
  } catch (thrown) {
    const error = asDaemonError(thrown);
    flush(true);
    lines.push({ errorDetail: { ...exitCodeOf(error.code), message: error.message }, error: error.message });
  }
  lines.end();
}

/**
 * Starts the build and answers its lines once there is one. Rejects, so that the answer is an HTTP error, when the build
 * fails before it has said anything.
 */
export async function classicBuild(builds: Builds, input: ClassicBuild): Promise<AsyncIterable<object[]>> {
  const { tags } = input.request;
  const lines = new Queue<object>();
  const held: object[] = [];
  const printer = new ClassicPrinter((line) => (input.quiet ? held.push(line) : lines.push(line)));
  const build = builds.start(
    {
      ...input.request,
      style: 'classic',
      noCacheStages: [],
      squash: false,
      contexts: new Map(),
      services: {},
      receive: (workspace, signal) =>
        input.remote
          ? receiveRemote(input.remote, workspace, input.dockerfile, signal)
          : receiveTar(input.body, workspace, input.dockerfile, signal),
      onEvent: (event) => printer.on(event),
    },
    input.buildId,
  );
  input.gone.addEventListener('abort', () => build.cancel(), { once: true });
  const failed = build.result.then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  const first = await Promise.race([lines.ready(), failed]);
  if (first && !lines.length && !held.length) throw first.error;
  void conclude(build, input, tags, lines, (hasFailed) => {
    printer.flush();
    // A quiet build that failed shows what it would have said.
    if (hasFailed) for (const line of held) lines.push(line);
  });
  return lines.batches();
}
