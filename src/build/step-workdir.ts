/** WORKDIR: sets the directory, and makes it when the image does not have it. */
import fs from 'node:fs';
import { join } from 'node:path';
import { invalid } from '../errors.ts';
import { digestOf } from './cache.ts';
import { applyInstruction } from './config.ts';
import type { Instruction } from './dockerfile/instructions.ts';
import type { Owner } from './files/copy.ts';
import { resolveOwner } from './files/owner.ts';
import { components, lstatOf, resolveIn } from './files/resolve.ts';
import { changeRoot } from './layer.ts';
import type { LayerStep } from './layer-step.ts';
import type { StageRun } from './stage.ts';
import { configCreatedBy } from './state.ts';

/** The step's user as the image knows it: without the group when it does not have that, and root when not even the user. */
function ownerOf(root: string, user: string): Owner {
  for (const text of [user, user.split(':')[0]!]) {
    try {
      return resolveOwner(root, text);
    } catch {
      continue;
    }
  }
  return { uid: 0, gid: 0 };
}

/** Answers whether anything had to be made. */
function makeDirectories(root: string, path: string, user: string, time: number | undefined): boolean {
  const place = resolveIn(root, path);
  const { uid, gid } = user ? ownerOf(root, user) : { uid: 0, gid: 0 };
  let made = false;
  let here = root;
  for (const part of components(place)) {
    here = join(here, part);
    const stat = lstatOf(here);
    if (stat?.isDirectory()) continue;
    if (stat) throw invalid(`cannot mkdir ${path}: ${part} is not a directory`);
    fs.mkdirSync(here, 0o755);
    fs.chmodSync(here, 0o755);
    fs.lchownSync(here, uid, gid);
    if (time !== undefined) fs.utimesSync(here, time, time);
    made = true;
  }
  return made;
}

export function workdirStep(stage: StageRun, step: Extract<Instruction, { text: string }>): LayerStep {
  const { state, build, signal } = stage;
  const change = applyInstruction(state.config, step, stage.words)!;
  const { config, text } = change;
  const { style } = build.request;
  // BuildKit gives what it makes to the step's user, the classic builder to root.
  const user = style === 'buildkit' ? (config.User ?? '') : '';
  return {
    key: digestOf(user ? [text, user] : text),
    config,
    createdBy: configCreatedBy(style, state.config, change),
    make: (store) =>
      changeRoot(
        build.layers,
        state,
        async (root) => makeDirectories(root, config.WorkingDir!, user, build.epoch),
        store,
        signal,
      ),
  };
}
