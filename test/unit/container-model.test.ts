/** Every transition of the container's chart, walked with a real actor, against the model, its invariants and what clients see. */
import { expect, test } from 'vitest';
import { endedTask } from '../../src/runtime/ended-task.ts';
import { stateText } from '../../src/reactor/state-text.ts';
import { statusOf } from '../../src/container/status.ts';
import type { ContainerInput } from '../../src/container/events.ts';
import type { Phase } from '../../src/container/record.ts';
import { inspectText, summaryText } from '../../src/container/view.ts';
import {
  essence,
  eventKey,
  inputFor,
  pathsFrom,
  recordFor,
  type Snapshot,
  Walker,
} from '../support/container-model.ts';
import { containerMachine } from '../../src/container/machine.ts';
import { definedTransitions } from '../support/transitions.ts';

const always = { RestartPolicy: { Name: 'always', MaximumRetryCount: 0 } };
const ran = { hasBeenStartedBefore: true, startedAt: '2023-11-14T22:13:10.000000000Z' };
const exit = { exitCode: 4, exitedAtNano: 1_700_000_004_000_000_000n, synthesised: false };
const probed = { Healthcheck: { Test: ['CMD', 'true'], Retries: 2 }, Labels: {} };
const health = (Status: 'healthy' | 'unhealthy') => ({ Status, FailingStreak: 0, Log: [] });
const task = endedTask({ id: 'c'.repeat(64), terminal: false, exit, forget: async () => {} });

const beginnings: Record<string, ContainerInput> = {
  'a new container': inputFor(recordFor({})),
  'one with a policy': inputFor(recordFor({ hostConfig: always })),
  'one that removes itself': inputFor(recordFor({ hostConfig: { AutoRemove: true } })),
  'one with health checks': inputFor(recordFor({ config: probed })),
  'one whose failed start is tried again': inputFor(
    recordFor({ config: { Labels: { 'io.reactord.start.retries': '1' } } }),
  ),
  'one found running': inputFor(recordFor({ phase: 'running', state: ran }), { found: true, status: 'running', task }),
  'one found paused': inputFor(recordFor({ phase: 'paused', state: ran }), { found: true, status: 'paused', task }),
  'one that ended meanwhile': inputFor(recordFor({ phase: 'running', state: ran, hostConfig: always }), {
    found: true,
    status: 'stopped',
    exit,
    task,
  }),
  'one that is gone without a trace': inputFor(recordFor({ phase: 'stopping', state: ran })),
  'one cut off in its stop': inputFor(
    recordFor({ phase: 'stopping', state: { ...ran, manuallyStopped: true }, hostConfig: always }),
    { found: true, status: 'running', task },
  ),
  'one cut off in its start': inputFor(recordFor({ phase: 'starting' }), { found: true, status: 'created', task }),
  'one cut off in its backoff': inputFor(recordFor({ phase: 'restarting', state: ran, hostConfig: always })),
  'one started by its policy and cut off': inputFor(recordFor({ phase: 'starting', state: ran, hostConfig: always })),
  'one that has exited': inputFor(recordFor({ phase: 'exited', state: ran })),
  'one whose removal failed': inputFor(recordFor({ phase: 'dead', state: ran })),
  'one that lives in the runtime only': inputFor(recordFor({ state: ran }), { found: true, status: 'created', task }),
  'one found healthy': inputFor(
    recordFor({ phase: 'running', state: { ...ran, health: health('healthy') }, config: probed }),
    { found: true, status: 'running', task },
  ),
  'one found unhealthy that is to be restarted then': inputFor(
    recordFor({
      phase: 'running',
      state: { ...ran, health: health('unhealthy') },
      config: { ...probed, Labels: { 'io.reactord.restart.on-unhealthy': 'true' } },
    }),
    { found: true, status: 'running', task },
  ),
  'one cut off in its removal': inputFor(recordFor({ phase: 'removing', state: ran })),
};

/** Which phases a state may show. */
const PHASES: Record<string, readonly Phase[]> = {
  created: ['created'],
  starting: ['starting', 'restarting'],
  stopping: ['stopping'],
  exited: ['exited'],
  restarting: ['restarting'],
  removing: ['removing'],
  dead: ['dead'],
};

const covered = new Set<string>();
const taken = new Set<string>();

const top = (snapshot: Snapshot): string => stateText(snapshot.value).replace(/[.{].*$/, '');

function checkState(walker: Walker, trail: string): void {
  const { snapshot } = walker;
  const { record } = snapshot.context;
  const allowed = PHASES[top(snapshot)];
  if (allowed) expect(allowed, trail).toContain(record.phase);
  if (snapshot.matches('running')) expect(statusOf(record), trail).toMatch(/running|paused/);
  // What is on disk is what is shown.
  if (snapshot.status === 'active' && walker.persisted.length && !snapshot.matches('starting'))
    expect(walker.persisted.at(-1)!.phase, trail).toBe(record.phase);
}

const around = { pathOf: () => ({ path: '', driver: '' }), logPath: '', graphDriver: { Name: 'overlay2', Data: {} } };

/** What inspect and the list say of a container in a state. */
const SHOWN: Record<string, readonly string[]> = {
  created: ['created'],
  running: ['running', 'paused'],
  stopping: ['running'],
  exited: ['exited'],
  restarting: ['restarting'],
  removing: ['removing'],
  dead: ['dead'],
};

/** Clients read the record: what they see follows from the state, and from nothing else. */
function checkView({ snapshot }: Walker, trail: string): void {
  const { record } = snapshot.context;
  const { State, Name, RestartCount } = JSON.parse(inspectText(record, () => around, { execIds: [] }));
  const listed = JSON.parse(
    summaryText(record, { image: 'busybox', pathOf: around.pathOf }, Date.parse(record.created)),
  );
  const shown = SHOWN[top(snapshot)];
  if (shown) expect(shown, trail).toContain(State.Status);
  expect([listed.State, Name, RestartCount], trail).toEqual([
    State.Status,
    `/${record.name}`,
    record.state.restartCount,
  ]);
  expect([State.Running, State.Paused, State.Restarting, State.Dead], trail).toEqual([
    ['running', 'paused', 'restarting'].includes(State.Status),
    State.Status === 'paused',
    State.Status === 'restarting',
    State.Status === 'dead',
  ]);
  if (snapshot.matches('exited')) expect([State.Pid, State.ExitCode], trail).toEqual([0, record.state.exitCode]);
  if (snapshot.matches({ running: { process: 'paused' } })) expect(State.Status, trail).toBe('paused');
  expect(State.OOMKilled, trail).toBe(record.state.oomKilled);
  expect(State.Health?.Status, trail).toBe(record.state.health?.Status);
}

/** `start` and `die` take turns, nothing comes after `destroy`. */
function checkEvents(walker: Walker, wasUp: boolean, trail: string): void {
  let up = wasUp;
  walker.announced.forEach((action, index) => {
    if (action === 'start') expect(up, `${trail}: started twice`).toBe(false);
    if (action === 'die') expect(up, `${trail}: died twice`).toBe(true);
    if (action === 'start' || action === 'die') up = action === 'start';
    if (action === 'destroy') expect([index, up], trail).toEqual([walker.announced.length - 1, false]);
  });
}

/** What a start made is let go before the next one, and before the container is removed. */
function checkEffects(walker: Walker, trail: string): void {
  let held = false;
  for (const name of walker.began) {
    if (name === 'prepare') {
      expect(held, `${trail}: prepared over something`).toBe(false);
      held = true;
    }
    if (name === 'undo' || name === 'settle') held = false;
    if (name === 'remove') expect(held, `${trail}: removed while in use`).toBe(false);
  }
}

const AT_REST = new Set(['created', 'exited.settled', 'dead']);

function checkReplies(walker: Walker, trail: string): void {
  const { snapshot } = walker;
  if (snapshot.status === 'active' && !AT_REST.has(stateText(snapshot.value))) return;
  const open = walker.replies.filter(({ settled }) => !settled).map(({ command }) => command);
  expect(open, `${trail}: never answered`).toEqual([]);
}

for (const [name, input] of Object.entries(beginnings)) {
  test(`${name}: every path keeps the invariants`, { timeout: 60_000 }, async () => {
    const paths = pathsFrom(input);
    const wasUp = ['running', 'paused', 'stopping'].includes(input.record.phase);
    const reached = new Set<string>();
    const seen = new Set<string>();
    for (const path of paths) {
      const walker = new Walker(input);
      const events: string[] = [];
      let key = '';
      for (const { state, event } of path) {
        if (event.type !== 'xstate.init') await walker.take(event);
        events.push(event.type.replace('xstate.', ''));
        const trail = events.join(' → ');
        // Common beginnings of the paths are looked at once.
        key += eventKey(event);
        if (seen.has(key)) continue;
        seen.add(key);
        expect(essence(walker.snapshot), trail).toBe(essence(state));
        reached.add(top(walker.snapshot));
        checkState(walker, trail);
        if (walker.snapshot.status === 'active') checkView(walker, trail);
        checkReplies(walker, trail);
      }
      const trail = events.join(' → ');
      checkEvents(walker, wasUp, trail);
      checkEffects(walker, trail);
      expect(walker.removed, trail).toBe(walker.snapshot.status === 'done');
      for (const transition of walker.transitions) taken.add(transition);
      walker.stop();
    }
    expect(reached).toContain('removed');
    for (const state of reached) covered.add(state);
  });
}

test('together they take every transition that the chart defines', () => {
  expect(definedTransitions(containerMachine.root).filter((transition) => !taken.has(transition))).toEqual([]);
});

test('together they enter every state of the chart', () => {
  const all = [...Object.keys(PHASES), 'restoring', 'running', 'removed'];
  expect([...covered].sort()).toEqual(all.sort());
});
