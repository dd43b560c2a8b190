/** Every path of an exec's chart with effects that end when told: it starts once, ends once, and tells each once. */
import { createActor, fromPromise } from 'xstate';
import { getShortestPaths } from 'xstate/graph';
import { expect, test } from 'vitest';
import { execMachine, type ExecRecord } from '../../src/exec/machine.ts';
import { definedTransitions, transitionName } from '../support/transitions.ts';

const record = (): ExecRecord => ({
  id: 'e'.repeat(64),
  containerId: 'c'.repeat(64),
  config: {
    tty: false,
    attachStdin: false,
    attachStdout: true,
    attachStderr: true,
    detachKeys: '',
    env: [],
    command: ['true'],
    privileged: false,
    user: '',
    workingDir: '',
  },
  running: false,
  exitCode: null,
  pid: 0,
});

type Step = { type: string; [key: string]: unknown };
const EXIT = { type: 'EXIT', exit: { exitCode: 3, exitedAtNano: 0n, synthesised: false } };
const START = { type: 'START', reply: { resolve: () => {}, reject: () => {} } };

/** What can come in a state: the command, news of the process, the end of the effect that runs. */
const eventsIn = (state: string): Step[] =>
  ({
    created: [START],
    starting: [
      START,
      EXIT,
      { type: 'xstate.done.actor.start', output: { pid: 42 } },
      { type: 'xstate.error.actor.start', error: new Error('exec: "x": executable file not found in $PATH') },
    ],
    running: [START, EXIT],
    settling: [
      EXIT,
      { type: 'xstate.done.actor.settle' },
      { type: 'xstate.error.actor.settle', error: new Error('late') },
    ],
  })[state] ?? [];

const taken = new Set<string>();

async function walk(steps: readonly Step[]): Promise<void> {
  const ends = new Map<string, PromiseWithResolvers<any>>();
  const effect = (name: string) =>
    fromPromise<any, any>(() => {
      ends.set(name, Promise.withResolvers());
      return ends.get(name)!.promise;
    });
  const told: string[] = [];
  const replies: string[] = [];
  let kept = record();
  const machine = execMachine.provide({
    actors: { start: effect('start'), settle: effect('settle') },
    actions: {
      persist: ({ context }) => void (kept = context.record),
      announce: (_, action) => void told.push(action),
      over: () => void told.push('over'),
    },
  });
  const actor = createActor(machine, {
    input: { record: kept },
    inspect: (step) => {
      if (step.type === '@xstate.microstep') for (const one of step._transitions) taken.add(transitionName(one));
    },
  });
  actor.start();
  for (const event of steps) {
    const [, kind, name = ''] = /^xstate\.(done|error)\.actor\.(.+)$/.exec(event.type) ?? [];
    if (kind === 'done') ends.get(name)!.resolve(event.output);
    else if (kind === 'error') ends.get(name)!.reject(event.error);
    else if (event.type === 'START') {
      // As `ask` does: what the chart does not accept is refused without an event.
      const reply = { resolve: () => void replies.push('resolved'), reject: () => void replies.push('rejected') };
      if (actor.getSnapshot().can({ ...START, reply } as never)) actor.send({ ...START, reply } as never);
    } else actor.send(event as never);
    await new Promise(setImmediate);
    const trail = steps.map(({ type }) => type).join(' → ');
    const state = actor.getSnapshot().value;
    expect(kept.running, trail).toBe(state === 'running');
    if (state === 'settling' || state === 'exited')
      expect(kept.exitCode, trail).toEqual(told[0] === 'exec_start' ? 3 : 127);
    expect(told, trail).toEqual(['exec_start', 'exec_die', 'over'].filter((one) => told.includes(one)));
    if (state !== 'created' && state !== 'starting')
      expect(replies, trail).toEqual([kept.pid ? 'resolved' : 'rejected']);
  }
  actor.stop();
}

test('every path keeps what was promised, and together they take every transition', async () => {
  const paths = getShortestPaths(execMachine, {
    input: { record: record() },
    events: (snapshot: { value: string }) => eventsIn(snapshot.value) as never,
    serializeEvent: ({ type }: Step) => type,
    serializeState: (snapshot: any) =>
      JSON.stringify([snapshot.value, snapshot.context.exit?.exitCode, snapshot.context.record.pid]),
  } as never) as unknown as { state: { value: string }; steps: { event: Step }[] }[];
  for (const { state, steps } of paths) {
    const events = steps.map(({ event }) => event).filter(({ type }) => type !== 'xstate.init');
    await walk(events);
    for (const event of eventsIn(state.value)) await walk([...events, event]);
  }
  expect(definedTransitions(execMachine.root).filter((name) => !taken.has(name))).toEqual([]);
});
