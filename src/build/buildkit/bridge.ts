/** The gateway of a job (LLBBridge): buildx asks here for the build itself, and reads from its results. */
import fs from 'node:fs';
import { join } from 'node:path';
import { invalid, notFound, notImplemented } from '../../errors.ts';
import { LLBBridge } from '../../generated/proto/buildkit/gateway_pb.ts';
import { newId } from '../../lib/ids.ts';
import { compileGlob } from '../patterns.ts';
import { resolveIn, lstatOf } from '../files/resolve.ts';
import { namesIn } from '../files/names.ts';
import type { Call, GrpcServer } from '../grpc/server.ts';
import { errorOf } from '../grpc/status.ts';
import { withRoot } from '../layer.ts';
import { imageState } from '../state.ts';
import { statOf } from './file-send.ts';
import type { BuildKit } from './front.ts';
import type { Job } from './jobs.ts';

/** What the gateway offers, by the names clients ask for. */
const CAPABILITIES = [
  'solve.base', 'solve.inlinereturn', 'resolveimage', 'resolveimage.resolvemode', 'readfile', 'return', 'returnmap', 'readdir', 'statfile',
  'importcaches', 'proto.refarray', 'reference.output', 'frontend.inputs', 'gateway.solve.metadata', 'frontend.caps', 'gateway.solve.evaluate', 'gateway.evaluate',
  'gateway.warnings',
]; // prettier-ignore
const LARGEST_FILE = 16 << 20;

const buildIdOf = ({ headers }: Call): string => {
  const id = headers['buildkit-controlapi-buildid'];
  const text = Array.isArray(id) ? id[0] : id;
  if (!text) throw invalid('no build id was given');
  return text;
};

export function registerBridge(server: GrpcServer, front: BuildKit): void {
  const { method } = LLBBridge;
  const jobOf = (call: Call): Promise<Job> => front.jobs.get(buildIdOf(call), call.signal);

  /** Works on the files of a result. */
  const inResult = async <T>(call: Call, ref: string, work: (root: string) => Promise<T>): Promise<T> => {
    const job = await jobOf(call);
    const state = imageState(job.result(ref).image, 'buildkit');
    return front.withLayers((layers) => withRoot(layers, state, work));
  };

  const placeOf = (root: string, path: string): { place: string; stat: fs.Stats } => {
    const place = join(root, resolveIn(root, path));
    const stat = lstatOf(place);
    if (!stat) throw notFound(`open ${path}: no such file or directory`);
    return { place, stat };
  };

  server
    .unary(method.ping, async (_, call) => {
      await jobOf(call);
      const enabled = (id: string) => ({ id, enabled: true });
      return {
        frontendCaps: CAPABILITIES.map(enabled),
        llbCaps: ['source.image', 'source.local', 'exporter.multiple'].map(enabled),
        workers: [await front.worker()],
      };
    })
    .unary(method.solve, async (request, call) => {
      const job = await jobOf(call);
      if (request.frontend !== 'dockerfile.v0')
        throw notImplemented(
          request.frontend
            ? `frontend ${JSON.stringify(request.frontend)} is not supported: this daemon builds Dockerfiles with its own frontend`
            : request.definition.length
              ? 'LLB definitions are not supported: this daemon builds Dockerfiles with its own frontend'
              : 'an empty solve request',
        );
      if (request.frontendOpt.requestid) {
        const answers = Object.entries(await front.ask(job, request.frontendOpt));
        return { result: { metadata: Object.fromEntries(answers.map(([key, text]) => [key, Buffer.from(text)])) } };
      }
      const result = await front.build(job, request.frontendOpt);
      const id = newId();
      job.results.set(id, result);
      const document = Buffer.from(JSON.stringify(result.image.config));
      return {
        ref: id,
        result: { result: { case: 'ref' as const, value: { id } }, metadata: { 'containerimage.config': document } },
      };
    })
    .unary(method.return, async ({ result, error }, call) => {
      const job = await jobOf(call);
      if (error) job.fail(errorOf(error.code, error.message, error.details));
      else {
        const one = result?.result;
        if (one?.case === 'refs') job.return(Object.values(one.value.refs)[0]?.id);
        else job.return(one?.case === 'ref' ? one.value.id : one?.value);
      }
      return {};
    })
    .unary(method.evaluate, async ({ ref }, call) => {
      (await jobOf(call)).result(ref);
      return {};
    })
    .unary(method.inputs, async () => ({}))
    .unary(method.warn, async ({ digest, level, short, detail, url }, call) => {
      (await jobOf(call)).progress.warn({ digest, level, short, detail, url });
      return {};
    })
    .unary(method.resolveImageConfig, async ({ ref, platform, resolveMode }, call) => {
      const job = await jobOf(call);
      const image = await front.resolveImage(
        job,
        ref,
        platform && [platform.os, platform.architecture, platform.variant].filter(Boolean).join('/'),
        resolveMode === 'pull',
      );
      return { digest: image.manifestDigest ?? image.id, config: Buffer.from(JSON.stringify(image.config)), ref };
    })
    .unary(method.readFile, async ({ ref, filePath, range }, call) =>
      inResult(call, ref, async (root) => {
        const { place, stat } = placeOf(root, filePath);
        if (!stat.isFile() || stat.size > LARGEST_FILE)
          throw invalid(`${filePath} is not a file that can be read this way`);
        const bytes = fs.readFileSync(place);
        const start = Number(range?.offset ?? 0n);
        return { data: range?.length ? bytes.subarray(start, start + Number(range.length)) : bytes.subarray(start) };
      }),
    )
    .unary(method.readDir, async ({ ref, dirPath, includePattern }, call) =>
      inResult(call, ref, async (root) => {
        const { place } = placeOf(root, dirPath);
        const wanted = includePattern ? compileGlob(includePattern) : undefined;
        const names = namesIn(place).filter((name) => !wanted || wanted.test(name));
        return { entries: names.map((name) => statOf(place, name, fs.lstatSync(join(place, name)))) };
      }),
    )
    .unary(method.statFile, async ({ ref, path }, call) =>
      inResult(call, ref, async (root) => {
        const { place, stat } = placeOf(root, path);
        return { stat: { ...statOf(place, '', stat), path } };
      }),
    );
}
