/** RUN steps of a build as ordinary containers: created, attached, started, waited for; removed when the build says so. */
import { Duplex } from 'node:stream';
import { cancelled } from '../errors.ts';
import type { ContainerCreate } from '../generated/types/container-create.ts';
import type { EffectDeps } from './deps.ts';
import type { StepRequest, StepResult, StepRunner } from './port.ts';
import type { Containers } from './service.ts';

const FRAME_HEADER = 8;

/** Takes frames of the multiplexed stream apart again; output of any size comes through in its own chunks. */
function sinkOf(request: StepRequest): Duplex {
  let rest: Buffer = Buffer.alloc(0);
  const stdin = request.stdin === undefined ? undefined : Buffer.from(request.stdin);
  return new Duplex({
    read() {
      if (stdin?.length) this.push(stdin);
      this.push(null);
    },
    write(chunk: Buffer, _, done) {
      rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
      while (rest.length >= FRAME_HEADER) {
        const end = FRAME_HEADER + rest.readUInt32BE(4);
        if (rest.length < end) break;
        request.onOutput(rest[0] === 2 ? 'stderr' : 'stdout', rest.subarray(FRAME_HEADER, end));
        rest = rest.subarray(end);
      }
      done();
    },
  });
}

const bodyOf = (request: StepRequest): ContainerCreate => ({
  Image: request.imageId,
  Entrypoint: [''],
  Cmd: request.process.args,
  Env: request.process.env,
  WorkingDir: request.process.cwd,
  User: request.process.user,
  Labels: request.labels,
  Healthcheck: { Test: ['NONE'] },
  OpenStdin: request.stdin !== undefined,
  StdinOnce: true,
  AttachStdout: true,
  AttachStderr: true,
  HostConfig: request.hostConfig,
});

export function stepRunner(effects: EffectDeps, containers: Containers): StepRunner {
  const remove = (id: string): Promise<void> => containers.remove(id, { force: true, volumes: true });
  return {
    remove,
    async run(request): Promise<StepResult> {
      const { signal } = request;
      if (signal?.aborted) throw cancelled('the build was cancelled');
      const { Id } = await containers.create(bodyOf(request), request.name ? { name: request.name } : {});
      if (request.secretEnv?.length) effects.sessions.of(Id).secretEnv = request.secretEnv;
      request.onCreated?.(Id);
      const gone = new AbortController();
      const leave = (): void => {
        gone.abort();
        void remove(Id).catch((error: unknown) =>
          effects.log.warn({ err: error, container: Id }, 'a build step stays'),
        );
      };
      signal?.addEventListener('abort', leave, { once: true });
      try {
        const connection = sinkOf(request);
        const options = { stdin: request.stdin !== undefined, stdout: true, stderr: true };
        const attached = effects.streamsOf(containers.resolve(Id)).attach(options).serve(connection);
        const ended = containers.wait(Id, 'next-exit', gone.signal);
        ended.catch(() => {});
        await containers.start(Id);
        const { StatusCode } = await ended;
        await attached;
        connection.destroy();
        return { containerId: Id, exitCode: StatusCode };
      } catch (error) {
        if (signal?.aborted) throw cancelled('the build was cancelled', { cause: error });
        await remove(Id).catch((failure: unknown) =>
          effects.log.warn({ err: failure, container: Id }, 'a build step stays'),
        );
        throw error;
      } finally {
        signal?.removeEventListener('abort', leave);
      }
    },
  };
}
