/** `--change` of commit and import: Dockerfile instructions applied to a run configuration. Pure. */
import { invalid } from '../errors.ts';
import type { ImageRunConfig } from '../image/port.ts';
import { applyInstruction, lookupIn } from './config.ts';
import { type Kind, parseInstruction } from './dockerfile/instructions.ts';
import { readLines } from './dockerfile/lines.ts';

const ALLOWED = new Set<Kind>([
  'cmd', 'entrypoint', 'healthcheck', 'env', 'expose', 'label', 'onbuild', 'stopsignal', 'user', 'volume', 'workdir',
]); // prettier-ignore

/** Errors: `invalid` for what is no instruction or not allowed here. The given configuration is not changed. */
export function applyChanges(config: ImageRunConfig, changes: readonly string[]): ImageRunConfig {
  const { directives, lines } = readLines(changes.join('\n'));
  const steps = lines.map((line) => parseInstruction(line, directives.escape));
  for (const step of steps) if (!ALLOWED.has(step.kind)) throw invalid(`${step.kind} is not a valid change command`);
  const state = { config, cmdSet: false };
  for (const step of steps) {
    const words = { escape: directives.escape, lookup: lookupIn(state.config.Env ?? []) };
    state.config = applyInstruction(state.config, step, words, state)?.config ?? state.config;
    if (step.kind === 'cmd') state.cmdSet = true;
  }
  return state.config;
}
