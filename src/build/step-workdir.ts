/** WORKDIR: sets the directory, and makes it when the image does not have it. */
import fs from 'node:fs';
import { join } from 'node:path';
import { invalid } from '../errors.ts';
import { digestOf } from './cache.ts';
import { applyInstruction } from './config.ts';
import type { Instruction } from './dockerfile/instructions.ts';
import { components, lstatOf, resolveIn } from './files/resolve.ts';
import { changeRoot } from './layer.ts';
import type { LayerStep } from './layer-step.ts';
import type { StageRun } from './stage.ts';
import { configCreatedBy } from './state.ts';

/** Answers whether anything had to be made. */
function makeDirectories(root: string, path: string, time: number | undefined): boolean {
  const place = resolveIn(root, path);
  let made = false;
  let here = root;
  for (const part of components(place)) {
    here = join(here, part);
    const stat = lstatOf(here);
    if (stat?.isDirectory()) continue;
    if (stat) throw invalid(`cannot mkdir ${path}: ${part} is not a directory`);
    fs.mkdirSync(here, 0o755);
    fs.chmodSync(here, 0o755);
    if (time !== undefined) fs.utimesSync(here, time, time);
    made = true;
  }
  return made;
}

export function workdirStep(stage: StageRun, step: Extract<Instruction, { text: string }>): LayerStep {
  const { state, build, signal } = stage;
  const { config, text } = applyInstruction(state.config, step, stage.words)!;
  return {
    key: digestOf(text),
    config,
    createdBy: configCreatedBy(build.request.style, state.config, text),
    make: (store) =>
      changeRoot(
        build.layers,
        state,
        async (root) => makeDirectories(root, config.WorkingDir!, build.epoch),
        store,
        signal,
      ),
  };
}
