/** What a build tells, as BuildKit's status messages. A reader that comes late gets all from the beginning. */
import { createHash } from 'node:crypto';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { StatusResponseSchema, type StatusResponse, VertexSchema } from '../../generated/proto/buildkit/control_pb.ts';
import type { Clock } from '../../lib/clock.ts';
import { shortOf, urlOf, type Warning } from '../dockerfile/lint.ts';
import { Queue } from '../queue.ts';
import type { BuildEvent, BuildInput, Vertex } from '../types.ts';

type VertexInit = MessageInitShape<typeof VertexSchema>;
type StatusInit = MessageInitShape<typeof StatusResponseSchema>;

/** What the step is called that brings the Dockerfile; its name follows. */
export const LOAD_DEFINITION = '[internal] load build definition from ';

/** Steps that people want to see: those that run, copy, fetch or make something. */
const SHOWN = /^(FROM|RUN|COPY|ADD|WORKDIR)\b/i;

interface PullLine {
  id?: string;
  status?: string;
  progressDetail?: { current?: number; total?: number };
}

/** Output kept for a reader that comes late. */
const REPLAY_BYTES = 4 << 20;

const TOLD_EVERY_BYTES = 1 << 20;

/** Shows work as a step of the build; `transferred` counts bytes that came. */
export type Within = <T>(name: string, work: (transferred: (bytes: number) => void) => Promise<T>) => Promise<T>;

export class Progress {
  #ref: string;
  #clock: Clock;
  #told: StatusResponse[] = [];
  #readers = new Set<Queue<StatusResponse>>();
  #toldBytes = 0;
  #ended = false;
  #vertexes = new Map<string, VertexInit>();
  #pulls = new Map<string, number>();
  #ends = 0;
  #warnings = 0;

  constructor(ref: string, clock: Clock) {
    this.#ref = ref;
    this.#clock = clock;
  }

  read(): AsyncIterable<StatusResponse> {
    const queue: Queue<StatusResponse> = new Queue(() => this.#readers.delete(queue));
    for (const status of this.#told) queue.push(status);
    if (this.#ended) queue.end();
    else this.#readers.add(queue);
    return queue;
  }

  /** All so far, but for output beyond what is kept. */
  told(): readonly StatusResponse[] {
    return this.#told;
  }

  counts() {
    const vertexes = [...this.#vertexes.values()];
    return {
      numTotalSteps: vertexes.length,
      numCompletedSteps: this.#ends,
      numCachedSteps: vertexes.filter(({ cached }) => cached).length,
      numWarnings: this.#warnings,
    };
  }

  end(): void {
    this.#ended = true;
    for (const queue of this.#readers) queue.end();
    this.#readers.clear();
  }

  #tell(init: StatusInit): void {
    const status = create(StatusResponseSchema, init);
    this.#warnings += status.warnings.length;
    this.#toldBytes += status.logs.reduce((sum, { msg }) => sum + msg.length, 0);
    if (!status.logs.length || this.#toldBytes <= REPLAY_BYTES) this.#told.push(status);
    for (const queue of this.#readers) queue.push(status);
  }

  #digest(id: string): string {
    return `sha256:${createHash('sha256').update(`${this.#ref}/${id}`).digest('hex')}`;
  }

  #now() {
    return timestampFromMs(this.#clock.now());
  }

  /** A step of our own beside those of the Dockerfile, such as receiving the context. */
  readonly within: Within = async (name, work) => {
    this.#begin(name, name, []);
    const started = this.#now();
    let current = 0;
    let told = 0;
    const tellBytes = (completed?: ReturnType<typeof timestampFromMs>): void => {
      told = current;
      const id = 'transferring context:';
      const status = { id, vertex: this.#digest(name), name: id, current: BigInt(current) };
      this.#tell({ statuses: [{ ...status, timestamp: this.#now(), started, completed }] });
    };
    try {
      const result = await work((bytes) => {
        current += bytes;
        if (current - told > TOLD_EVERY_BYTES) tellBytes();
      });
      if (current) tellBytes(this.#now());
      this.#end(name, {});
      return result;
    } catch (error) {
      this.#end(name, { error: error instanceof Error ? error.message : String(error) });
      throw error;
    }
  };

  warn(warning: { digest: string; level: bigint; short: Uint8Array; detail: Uint8Array[]; url: string }): void {
    const { digest, ...rest } = warning;
    this.#tell({ warnings: [{ vertex: digest, ...rest }] });
  }

  #begin(id: string, name: string, inputs: string[]): void {
    const vertex: VertexInit = {
      digest: this.#digest(id),
      name,
      inputs: inputs.map((input) => this.#digest(input)),
      started: this.#now(),
    };
    this.#vertexes.set(id, vertex);
    this.#tell({ vertexes: [vertex] });
  }

  #end(id: string, more: Partial<{ cached: boolean; error: string }>): void {
    const vertex = this.#vertexes.get(id);
    if (!vertex) return;
    this.#ends++;
    this.#vertexes.set(id, { ...vertex, ...more });
    this.#tell({ vertexes: [{ ...vertex, ...more, completed: this.#now() }] });
  }

  on(event: BuildEvent): void {
    switch (event.type) {
      case 'begin':
        if (SHOWN.test(event.vertex.title))
          this.#begin(
            event.vertex.id,
            event.vertex.label,
            event.vertex.inputs.filter((id) => this.#vertexes.has(id)),
          );
        return;
      case 'cache':
        if (event.hit) this.#vertexes.set(event.vertex.id, { ...this.#vertexes.get(event.vertex.id), cached: true });
        return;
      case 'end':
        return this.#end(event.vertex.id, {});
      case 'fail':
        return this.#failed(event.vertex, event.error);
      case 'output':
        return this.#log(event.vertex.id, event.stream === 'stdout' ? 1n : 2n, event.chunk);
      case 'pull':
        return this.#pull(event.vertex, event.line as PullLine);
      case 'note':
        if (event.vertex) this.#log(event.vertex.id, 2n, Buffer.from(`${event.text}\n`));
        return;
      case 'warning':
        this.#tell({ warnings: [{ level: 1n, short: Buffer.from(event.text) }] });
        return;
      case 'lint':
        return this.#lint(event.warning, event.input);
      default:
        return;
    }
  }

  /** With the lines in question, which clients print on demand, beside the step that the file came with. */
  #lint(warning: Warning, { dockerfile, dockerfileName }: BuildInput): void {
    const definition = [...this.#vertexes.keys()].find((id) => id.startsWith(LOAD_DEFINITION));
    const at = { line: warning.line };
    this.#tell({
      warnings: [
        {
          vertex: definition ? this.#digest(definition) : '',
          level: 1n,
          short: Buffer.from(shortOf(warning)),
          url: urlOf(warning),
          info: { filename: dockerfileName, language: 'Dockerfile', data: Buffer.from(dockerfile) },
          ranges: [{ start: at, end: at }],
        },
      ],
    });
  }

  /** A step that is not shown must be when it fails. */
  #failed(vertex: Vertex, error: Error): void {
    if (!this.#vertexes.has(vertex.id)) this.#begin(vertex.id, vertex.label, []);
    this.#end(vertex.id, { error: error.message });
  }

  #log(id: string, stream: bigint, msg: Uint8Array): void {
    if (!this.#vertexes.has(id)) return;
    this.#tell({ logs: [{ vertex: this.#digest(id), timestamp: this.#now(), stream, msg }] });
  }

  #pull(vertex: Vertex, { id, status = '', progressDetail }: PullLine): void {
    if (!id) return;
    const started = this.#pulls.get(id) ?? this.#clock.now();
    this.#pulls.set(id, started);
    const isDone = /^(Pull complete|Already exists)$/.test(status);
    this.#tell({
      statuses: [
        {
          id: `${status.toLowerCase()} ${id}`, vertex: this.#digest(vertex.id), name: status, current: BigInt(progressDetail?.current ?? 0),
          total: BigInt(progressDetail?.total ?? 0), timestamp: this.#now(), started: timestampFromMs(started), ...(isDone ? { completed: this.#now() } : {}),
        },
      ],
    }); // prettier-ignore
  }
}
