/** Wires the chart: its named actors to effects over the ports, its outward actions to the room's store and bus. */
import { fromCallback } from 'xstate';
import type { Sandbox } from '../network/port.ts';
import { effect, OPEN_ENDED, within } from '../reactor/effect.ts';
import type { Task } from '../runtime/port.ts';
import { adopt } from './adopt.ts';
import type { EffectDeps } from './deps.ts';
import { remove, settle, undo } from './end.ts';
import type { Announcement, ContainerEvent, RemoveOrder, Started, Work } from './events.ts';
import { internal } from '../errors.ts';
import { containerMachine } from './machine.ts';
import { runProbes } from './probes.ts';
import type { ContainerRecord } from './record.ts';
import { create, launch, openNetwork, prepare } from './start.ts';

/** What the effects may take: each is the sum of its calls' own deadlines, so one that takes longer hangs. */
const ADOPT_MS = 60_000;
/** A new volume may be filled from the image. */
const PREPARE_MS = 20 * 60_000;
const NETWORK_MS = 60_000;
const CREATE_MS = 75_000;
const LAUNCH_MS = 30_000;
const SIGNAL_MS = 20_000;
const FREEZE_MS = 10_000;
const SETTLE_MS = 80_000;
const REMOVE_MS = 5 * 60_000;

/** What the chart tells the room. Called in the turn of the transition; must not throw. */
export interface Outlet {
  persist(record: ContainerRecord): void;
  /** To readers only. */
  show(record: ContainerRecord): void;
  announce(record: ContainerRecord, announcement: Announcement): void;
  removed(record: ContainerRecord): void;
}

function taskOf(deps: EffectDeps, { record }: Work): Task {
  const task = deps.sessions.find(record.id)?.task;
  if (!task) throw internal(`container ${record.id} has no task`);
  return task;
}

/** Whatever it answers about a process that has just ended, the exit says the rest. */
async function signalTask(deps: EffectDeps, work: Work, signal: number): Promise<void> {
  const task = taskOf(deps, work);
  await task.kill(signal);
  // A frozen process takes no signal; dockerd thaws it, too.
  if (deps.sessions.find(work.record.id)?.frozen) await resume(deps, work);
}

async function pause(deps: EffectDeps, work: Work): Promise<void> {
  await taskOf(deps, work).pause();
  deps.sessions.of(work.record.id).frozen = true;
}

async function resume(deps: EffectDeps, work: Work): Promise<void> {
  await taskOf(deps, work).resume();
  deps.sessions.of(work.record.id).frozen = false;
}

async function deliver(
  deps: EffectDeps,
  outlet: Outlet,
  record: ContainerRecord,
  event: ContainerEvent,
): Promise<void> {
  if (event.type !== 'KILL') return;
  try {
    await signalTask(deps, { record, attempt: 0, send: () => {} }, event.signal);
    outlet.announce(record, { action: 'kill', attributes: { signal: String(event.signal) } });
    event.reply.resolve();
  } catch (error) {
    event.reply.reject(error);
  }
}

export function wireMachine(deps: EffectDeps, outlet: Outlet): typeof containerMachine {
  return containerMachine.provide({
    actors: {
      adopt: effect<Sandbox | undefined, Work>(ADOPT_MS, ({ input }) => adopt(deps, input)),
      prepare: effect<void, Work>(PREPARE_MS, ({ input }) => prepare(deps, input)),
      network: effect<Sandbox | undefined, Work>(NETWORK_MS, ({ input }) => openNetwork(deps, input)),
      create: effect<void, Work>(CREATE_MS, ({ input }) => create(deps, input)),
      launch: effect<Started, Work>(LAUNCH_MS, ({ input }) => launch(deps, input)),
      undo: effect<void, Work>(SETTLE_MS, ({ input }) => undo(deps, input)),
      signal: effect<void, Work & { signal: number }>(SIGNAL_MS, ({ input }) => signalTask(deps, input, input.signal)),
      pause: effect<void, Work>(FREEZE_MS, ({ input }) => pause(deps, input)),
      resume: effect<void, Work>(FREEZE_MS, ({ input }) => resume(deps, input)),
      settle: effect<void, Work>(SETTLE_MS, ({ input }) => settle(deps, input)),
      remove: effect<void, Work & { order: RemoveOrder }>(REMOVE_MS, ({ input }) => remove(deps, input, input.order)),
      probes: within(
        OPEN_ENDED,
        fromCallback<ContainerEvent, Work>(({ input }) => runProbes(deps, input)),
      ),
    },
    actions: {
      persist: ({ context }) => outlet.persist(context.record),
      show: ({ context }) => outlet.show(context.record),
      announce: ({ context }, announcement) => {
        if (announcement) outlet.announce(context.record, announcement);
      },
      deliver: ({ context, event }) => void deliver(deps, outlet, context.record, event),
      reportEffect: ({ context, event }) =>
        deps.log.warn(
          { err: (event as { error?: unknown }).error, container: context.record.id, event: event.type },
          'an effect of a container failed',
        ),
      forget: ({ context }) => outlet.removed(context.record),
    },
  });
}
