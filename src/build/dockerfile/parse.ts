/** A whole Dockerfile: global ARGs and stages. */
import { invalid } from '../../errors.ts';
import { parseError } from './errors.ts';
import { type Instruction, type InstructionOf, parseInstruction } from './instructions.ts';
import { type Directives, readLines } from './lines.ts';

export interface Stage {
  index: number;
  /** Lower case; undefined when it has none. */
  name: string | undefined;
  from: InstructionOf<'from'>;
  steps: Instruction[];
}

export interface Dockerfile {
  directives: Directives;
  /** ARGs before the first FROM. */
  globals: InstructionOf<'arg'>[];
  stages: Stage[];
}

export function parseDockerfile(text: string, name = 'Dockerfile'): Dockerfile {
  if (!text.trim()) throw invalid(`the Dockerfile (${name}) cannot be empty`);
  const { directives, lines } = readLines(text);
  if (!lines.length) throw invalid('file with no instructions');
  const globals: InstructionOf<'arg'>[] = [];
  const stages: Stage[] = [];
  for (const line of lines) {
    const instruction = parseInstruction(line, directives.escape);
    if (instruction.kind === 'from')
      stages.push({ index: stages.length, name: instruction.name, from: instruction, steps: [] });
    else if (stages.length) stages.at(-1)!.steps.push(instruction);
    else if (instruction.kind === 'arg') globals.push(instruction);
    else throw parseError(line.start, `no build stage in current context`);
  }
  if (!stages.length) throw invalid('no build stage in current context');
  return { directives, globals, stages };
}
