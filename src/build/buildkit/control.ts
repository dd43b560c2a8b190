/** BuildKit's Control service: opens jobs, tells their progress, carries sessions, and knows the cache. */
import { Duplex } from 'node:stream';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { notImplemented } from '../../errors.ts';
import { type BytesMessage, Control, type SolveRequest } from '../../generated/proto/buildkit/control_pb.ts';
import { Health } from '../../generated/proto/buildkit/health_pb.ts';
import type { Call, GrpcServer } from '../grpc/server.ts';
import { Queue } from '../queue.ts';
import type { CacheItem } from '../service.ts';
import type { Export } from './exports.ts';
import { type BuildKit, BUILDKIT_VERSION } from './front.ts';

const recordOf = (item: CacheItem) => ({
  id: item.ID,
  inUse: item.InUse,
  size: BigInt(item.Size),
  createdAt: timestampFromDate(new Date(item.CreatedAt)),
  lastUsedAt: timestampFromDate(new Date(item.LastUsedAt)),
  usageCount: BigInt(item.UsageCount),
  description: item.Description,
  recordType: item.Type,
  shared: item.Shared,
  parents: item.Parents,
});

/** `key==value`, `key=value` or a bare key, as buildx writes its filters. */
function filtersOf(filters: readonly string[], keepDuration: bigint): Map<string, string[]> {
  const map = new Map<string, string[]>();
  for (const filter of filters.flatMap((text) => text.split(','))) {
    const [, key, value = ''] = /^([a-z]+)(?:[=~]=?(.*))?$/.exec(filter) ?? [];
    if (key) map.set(key, [...(map.get(key) ?? []), value]);
  }
  if (keepDuration > 0n) map.set('until', [`${keepDuration / 1_000_000_000n}s`]);
  return map;
}

function exportersOf(request: SolveRequest): Export[] {
  if (request.exporters.length) return request.exporters;
  return request.exporterDeprecated
    ? [{ type: request.exporterDeprecated, attrs: request.exporterAttrsDeprecated }]
    : [];
}

/** A connection whose bytes are the messages of a stream. */
function tunnel(inputs: AsyncIterable<BytesMessage>, outputs: Queue<{ data: Uint8Array }>): Duplex {
  const iterator = inputs[Symbol.asyncIterator]();
  const connection = new Duplex({
    read() {
      iterator.next().then(
        ({ done, value }) => void connection.push(done ? null : Buffer.from(value.data)),
        (error: Error) => void connection.destroy(error),
      );
    },
    write(chunk: Buffer, _encoding, done) {
      outputs.push({ data: chunk });
      done();
    },
    final(done) {
      outputs.end();
      done();
    },
    destroy(error, done) {
      outputs.end();
      done(error);
    },
  });
  connection.on('error', () => {});
  return connection;
}

async function* session(
  front: BuildKit,
  inputs: AsyncIterable<BytesMessage>,
  call: Call,
): AsyncGenerator<{ data: Uint8Array }> {
  const outputs = new Queue<{ data: Uint8Array }>();
  const connection = tunnel(inputs, outputs);
  const leave = (): void => void connection.destroy();
  call.signal.addEventListener('abort', leave, { once: true });
  const served = front.sessions.serve(connection, call.headers);
  served.then(leave, leave);
  try {
    yield* outputs;
  } finally {
    connection.destroy();
    await served;
  }
}

function checkSolve(front: BuildKit, request: SolveRequest): void {
  if (request.definition.length && !request.frontend)
    throw notImplemented('LLB definitions are not supported: this daemon builds Dockerfiles with its own frontend');
  if (request.frontend && request.frontend !== 'dockerfile.v0')
    throw notImplemented(
      `frontend ${JSON.stringify(request.frontend)} is not supported: this daemon builds Dockerfiles with its own frontend`,
    );
  const exports = request.cache?.exports.find(({ type }) => type !== 'inline');
  if (exports) throw notImplemented(`cache exporter ${JSON.stringify(exports.type)} is not supported by this daemon`);
  front.checkEntitlements(request.entitlements);
}

async function solve(front: BuildKit, request: SolveRequest, call: Call): Promise<Record<string, string>> {
  try {
    checkSolve(front, request);
  } catch (error) {
    front.jobs.refuse(request.ref, error);
    throw error;
  }
  const inlineCache = !!request.cache?.exports.some(({ type }) => type === 'inline');
  const job = front.jobs.open(request.ref, request.session, { entitlements: request.entitlements, inlineCache });
  const cancel = (): void => job.cancel();
  call.signal.addEventListener('abort', cancel, { once: true });
  const exporters = exportersOf(request);
  // What clients ask for their own use, as questions about a Dockerfile, is no build.
  if (!request.internal) front.history.begin(job, exporters);
  try {
    const response = await front.finish(job, request.frontend ? request.frontendAttrs : undefined, exporters);
    front.history.end(job, { response });
    return response;
  } catch (error) {
    front.history.end(job, { error });
    throw error;
  } finally {
    call.signal.removeEventListener('abort', cancel);
    front.jobs.close(job);
  }
}

export function registerControl(server: GrpcServer, front: BuildKit): void {
  const { method } = Control;
  server
    .unary(method.solve, async (request, call) => ({ exporterResponse: await solve(front, request, call) }))
    .serverStream(method.status, async function* ({ ref }, call) {
      yield* front.history.status(ref) ?? (await front.jobs.progress(ref, call.signal)).read();
    })
    .duplex(method.session, (inputs, call) => session(front, inputs, call))
    .unary(method.listWorkers, async () => ({ record: [await front.worker()] }))
    .unary(method.info, async () => ({ buildkitVersion: BUILDKIT_VERSION }))
    .unary(method.diskUsage, async () => ({ record: front.builds.usage().map(recordOf) }))
    .serverStream(method.prune, async function* (request) {
      const before = new Map(front.builds.usage().map((item) => [item.ID, item]));
      const keepBytes = Number(request.maxUsedSpace || request.reservedSpace);
      const { deleted } = await front.builds.prune({
        all: request.all,
        keepBytes,
        filters: filtersOf(request.filter, request.keepDuration),
      });
      for (const id of deleted) yield recordOf(before.get(id)!);
    })
    .serverStream(method.listenBuildHistory, (request, call) => front.history.listen(request, call.signal))
    .unary(method.updateBuildHistory, async (request) => {
      if (!request.finalize) front.history.update(request);
      return {};
    })
    .unary(Health.method.check, async () => ({ status: 1 }));
}
