/**
 * The classic builder's output lines. Stages run beside each other, but their lines come out in the file's order: the
 * first unfinished stage speaks at once, the others wait until it is their turn.
 */
import { shortId } from '../lib/ids.ts';
import type { BuildEvent } from './types.ts';

type Line = object;

export class ClassicPrinter {
  #write: (line: Line) => void;
  #order: number[] = [];
  #waiting = new Map<number, Line[]>();
  #ended = new Set<number>();
  #total = 0;
  #decoders = new Map<string, TextDecoder>();

  constructor(write: (line: Line) => void) {
    this.#write = write;
  }

  on(event: BuildEvent): void {
    switch (event.type) {
      case 'plan':
        this.#total = event.steps;
        this.#order = [...event.stages];
        return;
      case 'begin':
        return this.#say(event.vertex.stage, `Step ${event.vertex.number}/${this.#total} : ${event.vertex.title}\n`);
      case 'container':
        return this.#say(event.vertex.stage, ` ---> Running in ${shortId(event.id)}\n`);
      case 'output':
        return this.#output(event.vertex.stage, event.stream, event.chunk);
      case 'pull':
        return this.#line(event.vertex.stage, event.line);
      case 'cache':
        return event.hit ? this.#say(event.vertex.stage, ' ---> Using cache\n') : undefined;
      case 'container-removed':
        return this.#say(event.vertex.stage, ` ---> Removed intermediate container ${shortId(event.id)}\n`);
      case 'end':
        if (event.vertex.stage >= 0) this.#say(event.vertex.stage, ` ---> ${shortId(event.imageId)}\n`);
        return;
      case 'stage-end':
        if (event.imageId) this.#line(event.stage, { aux: { ID: event.imageId } });
        return this.#stageEnd(event.stage);
      case 'note':
        return this.#say(event.vertex?.stage ?? -1, `${event.text}\n`);
      case 'warning':
        return this.#say(-1, `${event.text}\n`);
      // The classic builder has no such checks.
      case 'lint':
      case 'fail':
        return;
    }
  }

  /** Everything that still waits; the build ended. */
  flush(): void {
    for (const stage of this.#order) for (const line of this.#waiting.get(stage) ?? []) this.#write(line);
    this.#order = [];
    this.#waiting.clear();
  }

  #output(stage: number, stream: string, chunk: Uint8Array): void {
    const key = `${stage}/${stream}`;
    let decoder = this.#decoders.get(key);
    if (!decoder) this.#decoders.set(key, (decoder = new TextDecoder()));
    const text = decoder.decode(chunk, { stream: true });
    // What a step writes to stderr is shown in red, as the classic builder does.
    if (text) this.#say(stage, stream === 'stderr' ? `\x1b[91m${text}\x1b[0m` : text);
  }

  #say(stage: number, text: string): void {
    this.#line(stage, { stream: text });
  }

  #line(stage: number, line: Line): void {
    if (stage < 0 || stage === this.#order[0] || !this.#order.includes(stage)) return this.#write(line);
    const waiting = this.#waiting.get(stage);
    if (waiting) waiting.push(line);
    else this.#waiting.set(stage, [line]);
  }

  #stageEnd(stage: number): void {
    this.#ended.add(stage);
    while (this.#order.length && this.#ended.has(this.#order[0]!)) {
      this.#order.shift();
      const next = this.#order[0];
      if (next === undefined) return;
      for (const line of this.#waiting.get(next) ?? []) this.#write(line);
      this.#waiting.delete(next);
    }
  }
}
