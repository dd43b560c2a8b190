/**
 * The container's chart as a model: which events can come in a state (commands, news of the process, the end of each effect
 * that runs, timers that are due), the paths to every state and over every edge, and an executor that takes one path with a real
 * actor over effects that end when told.
 */
import { createActor, fromPromise, getNextSnapshot } from 'xstate';
import { getShortestPaths } from 'xstate/graph';
import type { Announcement, ContainerContext, ContainerEvent, ContainerInput } from '../../src/container/events.ts';
import { containerMachine } from '../../src/container/machine.ts';
import type { ContainerRecord } from '../../src/container/record.ts';
import { stateText } from '../../src/reactor/state-text.ts';
import { xstateClock } from '../../src/lib/clock.ts';
import type { TaskProbe } from '../../src/runtime/port.ts';
import { ManualClock } from './manual-clock.ts';
import { transitionName } from './transitions.ts';

export type Snapshot = ReturnType<ReturnType<typeof createActor<typeof containerMachine>>['getSnapshot']>;
/** What the executor has to do; the graph knows only its type. */
export type ModelEvent = { type: string; [key: string]: unknown };

const quiet = { resolve: () => {}, reject: () => {} };
const EXITED_AT = 1_700_000_005_000_000_000n;

export function recordFor(change: {
  hostConfig?: object;
  config?: object;
  phase?: ContainerRecord['phase'];
  state?: object;
}): ContainerRecord {
  return {
    id: 'c'.repeat(64),
    name: 'model',
    created: '2023-11-14T22:13:00.000000000Z',
    image: '',
    path: 'sh',
    args: [],
    config: { Labels: {}, ...change.config } as ContainerRecord['config'],
    hostConfig: {
      RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
      AutoRemove: false,
      NetworkMode: 'none',
      ...change.hostConfig,
    } as ContainerRecord['hostConfig'],
    networking: { EndpointsConfig: {} },
    mounts: [],
    directory: '/nowhere',
    phase: change.phase ?? 'created',
    state: {
      exitCode: 0,
      error: '',
      oomKilled: false,
      startedAt: '0001-01-01T00:00:00Z',
      finishedAt: '0001-01-01T00:00:00Z',
      restartCount: 0,
      pid: 0,
      hasBeenStartedBefore: false,
      manuallyStopped: false,
      ...change.state,
    },
  };
}

export const inputFor = (record: ContainerRecord, probe: TaskProbe = { found: false }): ContainerInput => ({
  record,
  probe,
  lost: { exitCode: 255, exitedAtNano: EXITED_AT, synthesised: true },
});

const TIMERS: Record<string, string> = {
  'stopping.waiting': 'xstate.after.grace.container.stopping.waiting',
  'stopping.dying': 'xstate.after.lastWords.container.stopping.dying',
  'restarting.waiting': 'xstate.after.backoff.container.restarting.waiting',
};

const order = { signal: 15, grace: 1000, announced: true };
const exit = { exitCode: 1, exitedAtNano: EXITED_AT, synthesised: false };

const outputs: Record<string, unknown> = { launch: { pid: 42, startedAt: '2023-11-14T22:13:20.000000000Z' } };

/** Everything that could come now and leads somewhere. */
export function eventsIn(snapshot: Snapshot): ModelEvent[] {
  const { attempt, record } = snapshot.context;
  const up = snapshot.matches('starting') || snapshot.matches('running') || snapshot.matches('stopping');
  // The graph never takes a child away: the network of a start ends once, and in its undoing no more.
  const networkEnded = snapshot.context.networkReady || snapshot.matches({ starting: 'undoing' });
  const effects = Object.keys(snapshot.children).filter((id) => id !== 'probes' && !(id === 'network' && networkEnded));
  const timer = TIMERS[stateText(snapshot.value)];
  const events: ModelEvent[] = [
    { type: 'START', reply: quiet },
    { type: 'STOP', reply: quiet, order },
    { type: 'RESTART', reply: quiet, order },
    { type: 'KILL', reply: quiet, signal: 9 },
    { type: 'PAUSE', reply: quiet },
    { type: 'UNPAUSE', reply: quiet },
    { type: 'REMOVE', reply: quiet, order: { force: false, volumes: false } },
    { type: 'REMOVE', reply: quiet, order: { force: true, volumes: true } },
    ...effects.map((id) => ({ type: `xstate.done.actor.${id}`, output: outputs[id] })),
    ...effects.map((id) => ({ type: `xstate.error.actor.${id}`, error: new Error(`${id} failed`) })),
    ...(timer ? [{ type: timer }] : []),
  ];
  if (up) events.push({ type: 'EXIT', attempt, exit });
  if (record.state.health && snapshot.matches({ running: { process: 'up' } }))
    for (const ExitCode of [0, 1])
      events.push({ type: 'HEALTH', attempt, result: { Start: '', End: '', ExitCode, Output: '', lenient: false } });
  return events.filter((event) => snapshot.can(event as ContainerEvent) || event.type.startsWith('xstate.'));
}

/** What moves nothing, or rarely comes: looked at from every state, but the graph does not go on from there. */
export function asidesIn(snapshot: Snapshot): ModelEvent[] {
  const { attempt, networkReady, failure } = snapshot.context;
  const asides: ModelEvent[] = [
    { type: 'REVISE', reply: quiet, change: { name: 'renamed' }, announce: { action: 'rename' } },
    { type: 'OOM', attempt },
    { type: 'OOM', attempt: attempt - 1, stale: true },
    { type: 'EXIT', attempt: attempt - 1, exit, stale: true },
    { type: 'STOP', reply: quiet, order: { ...order, grace: -1 } },
    { type: 'KILL', reply: quiet, signal: 1 },
  ];
  // Its lane goes on while the rest of a start is undone.
  if (snapshot.matches({ starting: 'undoing' }) && !networkReady && failure?.message !== 'network failed')
    asides.push(
      { type: 'xstate.done.actor.network', output: undefined },
      { type: 'xstate.error.actor.network', error: new Error('network failed') },
    );
  if ('probes' in snapshot.children)
    asides.push({ type: 'xstate.error.actor.probes', error: new Error('they failed') });
  return asides.filter((event) => snapshot.can(event as ContainerEvent) || event.type.startsWith('xstate.'));
}

/** What makes two moments of a container the same for its future. */
export function essence(snapshot: Snapshot): string {
  const { record, networkReady, exit, failure, halted, stop, again, remove, failedStarts } =
    snapshot.context as ContainerContext;
  return JSON.stringify([
    snapshot.status,
    stateText(snapshot.value),
    record.phase,
    record.name,
    record.state.oomKilled,
    record.state.hasBeenStartedBefore,
    Math.min(record.state.restartCount, 2),
    Math.min(record.state.health?.FailingStreak ?? -1, 3),
    record.state.health?.Status,
    networkReady,
    exit?.exitCode,
    failure && (failure.message === 'network failed' ? 'network' : 'other'),
    halted,
    stop && [stop.signal, stop.announced],
    again,
    remove?.force,
    Math.min(failedStarts, 2),
  ]);
}

export const eventKey = (event: object): string => {
  const { type, order, exit, result, signal, stale } = event as ModelEvent & { exit?: object };
  return JSON.stringify([type, order, result, signal, exit && 'exit', stale]);
};

export interface ModelStep {
  state: Snapshot;
  event: ModelEvent;
}

/**
 * A shortest path to every state, and one over every edge between two states of the chart: a command, or the end of an effect, that is
 * not on a shortest path. Those that are the beginning of another one are left out.
 */
export function pathsFrom(input: ContainerInput): ModelStep[][] {
  const shortest = shortestPaths(input);
  const edges = new Map<string, ModelStep[]>();
  const tried = new Map<string, number>();
  for (const steps of shortest) {
    const { state } = steps.at(-1)!;
    if (state.status !== 'active' || beyond(input, state)) continue;
    for (const event of [...eventsIn(state), ...asidesIn(state)]) {
      const from = `${stateText(state.value)} ${eventKey(event)}`;
      const times = tried.get(from) ?? 0;
      if (times === MOMENTS) continue;
      tried.set(from, times + 1);
      const next = getNextSnapshot(containerMachine, state, event as never) as Snapshot;
      const key = `${from} ${stateText(next.value)}`;
      if (!edges.has(key)) edges.set(key, [...steps, { state: next, event }]);
    }
  }
  return longestOf([...shortest, ...edges.values()]);
}

/** So many of a state stand for all when it is asked where an event leads. */
const MOMENTS = 4;

/** What was found again and is started is like any other from there on. */
const beyond = (input: ContainerInput, snapshot: Snapshot): boolean =>
  input.record.phase !== 'created' && snapshot.matches('starting');

function shortestPaths(input: ContainerInput): ModelStep[][] {
  return getShortestPaths(containerMachine, {
    input,
    events: (snapshot: unknown) => eventsIn(snapshot as Snapshot) as never,
    serializeState: (snapshot: unknown) => essence(snapshot as Snapshot),
    serializeEvent: eventKey,
    stopWhen: (snapshot: unknown) => beyond(input, snapshot as Snapshot),
    limit: 40_000,
  } as never).map(({ steps }) => steps as unknown as ModelStep[]);
}

function longestOf(paths: ModelStep[][]): ModelStep[][] {
  const keyed = paths.map((steps) => steps.map(({ event }) => eventKey(event)));
  const beginnings = new Set<string>();
  for (const keys of keyed)
    for (let length = 1; length < keys.length; length++) beginnings.add(keys.slice(0, length).join());
  return paths.filter((_, index) => !beginnings.has(keyed[index]!.join()));
}

interface Ends {
  resolve(output: unknown): void;
  reject(error: unknown): void;
}

/** One actor with effects by hand, and everything it did. */
export class Walker {
  readonly clock = new ManualClock(Date.parse('2023-11-14T22:13:20Z'));
  readonly announced: string[] = [];
  readonly persisted: ContainerRecord[] = [];
  /** Effects in the order in which they began. */
  readonly began: string[] = [];
  readonly replies: { command: string; settled: boolean }[] = [];
  /** Transitions of the definition, by `transitionName`. */
  readonly transitions = new Set<string>();
  removed = false;
  #ends = new Map<string, Ends>();
  #actor;

  constructor(input: ContainerInput) {
    const effect = (name: string) =>
      fromPromise<any, any>(({ self }) => {
        this.began.push(name);
        return new Promise((resolve, reject) => this.#ends.set(self.id, { resolve, reject }));
      });
    const names = [
      'adopt',
      'prepare',
      'network',
      'create',
      'launch',
      'undo',
      'signal',
      'pause',
      'resume',
      'settle',
      'remove',
      'probes',
    ];
    const machine = containerMachine.provide({
      actors: Object.fromEntries(names.map((name) => [name, effect(name)])) as object,
      actions: {
        persist: ({ context }) => void this.persisted.push(context.record),
        announce: (_, announcement: Announcement | undefined) =>
          void (announcement && this.announced.push(announcement.action)),
        deliver: ({ event }) => ('reply' in event ? event.reply.resolve() : undefined),
        reportEffect: () => {},
        forget: () => void (this.removed = true),
      },
    });
    this.#actor = createActor(machine, {
      input,
      clock: xstateClock(this.clock),
      inspect: (step) => {
        if (step.type !== '@xstate.microstep') return;
        for (const transition of step._transitions) this.transitions.add(transitionName(transition));
      },
    });
    this.#actor.subscribe({ error: (error) => expectNever(error) });
    this.#actor.start();
  }

  get snapshot(): Snapshot {
    return this.#actor.getSnapshot() as Snapshot;
  }

  async take(event: ModelEvent): Promise<void> {
    const [, kind, id = ''] = /^xstate\.(done|error)\.actor\.(.+)$/.exec(event.type) ?? [];
    if (kind === 'done') this.#ends.get(id)?.resolve(event.output);
    else if (kind === 'error') this.#ends.get(id)?.reject(event.error);
    else if (event.type.startsWith('xstate.after.')) this.clock.advance(60_000);
    else this.#actor.send(this.#own(event) as never);
    await new Promise(setImmediate);
  }

  /** The graph may have come to a state by another way, with other counts. */
  #own(event: ModelEvent): ModelEvent {
    if (event.reply) return { ...event, reply: this.#reply(event.type) };
    return 'attempt' in event ? { ...event, attempt: this.snapshot.context.attempt - (event.stale ? 1 : 0) } : event;
  }

  #reply(command: string): { resolve(): void; reject(): void } {
    const entry = { command, settled: false };
    this.replies.push(entry);
    const settle = (): void => void (entry.settled = true);
    return { resolve: settle, reject: settle };
  }

  stop(): void {
    this.#actor.stop();
  }
}

function expectNever(error: unknown): never {
  throw new Error('the chart failed', { cause: error });
}
