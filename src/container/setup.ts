/** What the container's chart is made of: effects by name, guards, delays, and actions that change context and record. */
import { type AnyActorRef, assign, fromCallback, fromPromise, setup } from 'xstate';
import { asDaemonError, conflict, type DaemonError, internal } from '../errors.ts';
import { rfc3339Nano } from '../lib/clock.ts';
import type { Sandbox } from '../network/port.ts';
import type { Reply } from '../reactor/ask.ts';
import { afterExit, afterFailedStart, afterStart, withState } from './changes.ts';
import { stopOrder } from './context.ts';
import type {
  Announcement,
  ContainerContext,
  ContainerEvent,
  ContainerInput,
  Outcome,
  RemoveOrder,
  Started,
  Work,
} from './events.ts';
import { hasHealthcheck, nextHealth } from './health.ts';
import type { ContainerRecord, Phase } from './record.ts';
import { backoffOf, nextDelay, restartsAfter, restartsOnUnhealthy, startRetries, startsAtBoot } from './restart.ts';
import { isMeantToEnd } from './signals.ts';

const unwired = async (): Promise<never> => {
  throw internal('the effect is not wired');
};

/** Input of every effect. */
export const work = ({ context, self }: { context: ContainerContext; self: AnyActorRef }): Work => ({
  record: context.record,
  attempt: context.attempt,
  // News may come after the container was removed or the daemon stopped.
  send: (event) => {
    if (self.getSnapshot().status === 'active') self.send(event);
  },
});

const outcome = (event: unknown): Outcome => event as Outcome;
const failureOf = (event: unknown): DaemonError => asDaemonError(outcome(event).error ?? 'it failed');
const wasUp = (phase: Phase): boolean => phase === 'running' || phase === 'paused' || phase === 'stopping';
const reject = (replies: readonly Reply[], error: DaemonError): void => replies.forEach((reply) => reply.reject(error));
const resolve = (replies: readonly Reply[]): void => replies.forEach((reply) => reply.resolve());
const rejectStarters = (context: ContainerContext): void =>
  reject(context.starters, context.failure ?? internal('the start was given up'));
const manually = (record: ContainerRecord, manuallyStopped: boolean): ContainerRecord =>
  withState(record, { manuallyStopped });
const ranFor = ({ state }: ContainerRecord): number => Date.parse(state.finishedAt) - Date.parse(state.startedAt) || 0;
const health = (context: ContainerContext, event: ContainerEvent): string | undefined =>
  event.type === 'HEALTH' ? nextHealth(context.record, event.result).Status : undefined;

export const container = setup({
  types: { context: {} as ContainerContext, events: {} as ContainerEvent, input: {} as ContainerInput },
  actors: {
    adopt: fromPromise<Sandbox | undefined, Work>(unwired),
    prepare: fromPromise<void, Work>(unwired),
    network: fromPromise<Sandbox | undefined, Work>(unwired),
    create: fromPromise<void, Work>(unwired),
    launch: fromPromise<Started, Work>(unwired),
    undo: fromPromise<void, Work>(unwired),
    signal: fromPromise<void, Work & { signal: number }>(unwired),
    pause: fromPromise<void, Work>(unwired),
    resume: fromPromise<void, Work>(unwired),
    settle: fromPromise<void, Work>(unwired),
    remove: fromPromise<void, Work & { order: RemoveOrder }>(unwired),
    probes: fromCallback<ContainerEvent, Work>(() => {}),
  },
  delays: {
    grace: ({ context }) => context.stop?.grace ?? 0,
    backoff: ({ context }) => context.delay,
    /** dockerd's patience with a process that does not die of SIGKILL. */
    lastWords: 10_000,
  },
  guards: {
    wasRemoving: ({ context }) => context.record.phase === 'removing',
    wasDead: ({ context }) => context.record.phase === 'dead',
    isAlive: ({ context: { record, probe } }) =>
      probe.found && (probe.status === 'running' || probe.status === 'paused') && record.phase !== 'created',
    isFrozen: ({ context }) => context.probe.found && context.probe.status === 'paused',
    endedMeanwhile: ({ context }) => wasUp(context.record.phase),
    isLitter: ({ context: { record, probe } }) =>
      probe.found || record.phase === 'starting' || record.phase === 'restarting',
    comesBackByPolicy: ({ context: { record } }) =>
      record.phase === 'restarting' || (record.phase === 'starting' && startsAtBoot(record)),
    everStarted: ({ context }) => context.record.state.hasBeenStartedBefore,
    isCurrent: ({ context, event }) => 'attempt' in event && event.attempt === context.attempt,
    networkReady: ({ context }) => context.networkReady,
    hasFailed: ({ context }) => context.failure !== undefined,
    failedForGood: ({ context }) => context.failure !== undefined && context.record.hostConfig.AutoRemove,
    triesAgain: ({ context }) => !context.halted && context.failedStarts < startRetries(context.record.config.Labels),
    hasEnded: ({ context }) => context.exit !== undefined,
    comesBack: ({ context }) =>
      context.exit !== undefined && !context.halted && restartsAfter(context.record, context.exit.exitCode),
    wantsStop: ({ context }) => context.stop !== undefined,
    wantsRemoval: ({ context }) => context.remove !== undefined,
    wantsStart: ({ context }) => context.again,
    goesAway: ({ context }) => context.record.hostConfig.AutoRemove,
    graceEnds: ({ context }) => (context.stop?.grace ?? 0) >= 0,
    isForced: ({ event }) => event.type === 'REMOVE' && event.order.force,
    isLethal: ({ event }) => event.type === 'KILL' && event.signal === 9,
    hasNoHealthcheck: ({ context }) => !hasHealthcheck(context.record.config.Healthcheck),
    wasHealthy: ({ context }) => context.record.state.health?.Status === 'healthy',
    wasUnhealthy: ({ context }) => context.record.state.health?.Status === 'unhealthy',
    turnsHealthy: ({ context, event }) => health(context, event) === 'healthy',
    turnsUnhealthy: ({ context, event }) => health(context, event) === 'unhealthy',
    restartsUnhealthy: ({ context }) => restartsOnUnhealthy(context.record.config.Labels),
  },
  actions: {
    /** The six that reach out; wired by the room. `show` leaves out the disk: what it shows may be lost. */
    persist: (_: { context: ContainerContext }) => {},
    show: (_: { context: ContainerContext }) => {},
    announce: (_: { context: ContainerContext }, _announcement: Announcement | undefined) => {},
    deliver: (_: { context: ContainerContext; event: ContainerEvent }) => {},
    reportEffect: (_: { context: ContainerContext; event: ContainerEvent }) => {},
    forget: (_: { context: ContainerContext }) => {},

    phase: assign({ record: ({ context }, phase: Phase) => ({ ...context.record, phase }) }),
    /** A start by the policy stays `restarting` for everybody outside until it is up. */
    begin: assign(({ context }) => ({
      attempt: context.attempt + 1,
      networkReady: false,
      exit: undefined,
      failure: undefined,
      halted: false,
      again: false,
      record: {
        ...context.record,
        phase: context.record.phase === 'restarting' ? ('restarting' as const) : ('starting' as const),
      },
    })),
    /** A start by hand counts restarts anew; one by the policy at boot does not. */
    startByHand: assign(({ context, event }) =>
      event.type === 'START' && event.byPolicy
        ? {}
        : { delay: 0, failedStarts: 0, record: withState(context.record, { restartCount: 0, manuallyStopped: false }) },
    ),
    joinStarters: assign({
      starters: ({ context, event }) => ('reply' in event ? [...context.starters, event.reply] : context.starters),
    }),
    joinStoppers: assign({
      stoppers: ({ context, event }) => ('reply' in event ? [...context.stoppers, event.reply] : context.stoppers),
    }),
    joinFreezers: assign({
      freezers: ({ context, event }) => ('reply' in event ? [...context.freezers, event.reply] : context.freezers),
    }),
    joinRemovers: assign(({ context, event }) =>
      event.type === 'REMOVE' ? { removers: [...context.removers, event.reply], remove: event.order } : {},
    ),
    startAgain: assign({ again: true }),
    dropAgain: assign({ again: false }),
    restartAnnounced: assign({ announceRestart: true }),
    orderStop: assign(({ context, event }) =>
      event.type === 'STOP' || event.type === 'RESTART'
        ? {
            stop: event.order,
            halted: true,
            again: event.type === 'RESTART',
            announceRestart: event.type === 'RESTART',
            record: event.order.shutdown ? context.record : manually(context.record, event.type === 'STOP'),
          }
        : {},
    ),
    orderKill: assign(({ context }) => ({
      stop: { signal: 9, grace: -1, announced: false },
      halted: true,
      again: false,
      record: manually(context.record, true),
    })),
    orderUnhealthyRestart: assign(({ context: { record } }) => ({
      stop: stopOrder(record),
      halted: true,
      again: true,
      announceRestart: true,
    })),
    halt: assign(({ context, event }) =>
      event.type === 'KILL' && !isMeantToEnd(context.record, event.signal)
        ? {}
        : { halted: true, record: manually(context.record, true) },
    ),
    keepSandbox: assign(({ context, event }) => ({
      networkReady: true,
      record: { ...context.record, sandbox: outcome(event).output as Sandbox | undefined },
    })),
    keepFailure: assign({ failure: ({ context, event }) => context.failure ?? failureOf(event) }),
    keepExit: assign({
      exit: ({ context, event }) => (event.type === 'EXIT' ? (context.exit ?? event.exit) : context.exit),
    }),
    keepLostExit: assign({
      exit: ({ context: { probe, lost } }) => (probe.found && probe.status === 'stopped' ? probe.exit : lost),
    }),
    keepOom: assign({ record: ({ context }) => withState(context.record, { oomKilled: true }) }),
    keepHealth: assign({
      record: ({ context, event }) =>
        event.type === 'HEALTH'
          ? withState(context.record, { health: nextHealth(context.record, event.result) })
          : context.record,
    }),
    recordStart: assign(({ context, event }) => ({
      failedStarts: 0,
      record: afterStart(context.record, outcome(event).output as Started),
    })),
    recordAdopted: assign(({ context: { record, probe, lost } }) => ({
      record:
        probe.found && record.phase === 'starting'
          ? afterStart(record, { pid: probe.task.pid, startedAt: rfc3339Nano(lost.exitedAtNano) })
          : record,
    })),
    recordFailedStart: assign(({ context }) => ({
      failedStarts: context.failedStarts + 1,
      record: context.failure ? afterFailedStart(context.record, context.failure) : context.record,
    })),
    recordExit: assign({
      record: ({ context }) => (context.exit ? afterExit(context.record, context.exit) : context.record),
    }),
    countRestart: assign(({ context: { record, delay } }) => ({
      delay: nextDelay(delay, ranFor(record), backoffOf(record.config.Labels)),
      record: withState(record, { restartCount: record.state.restartCount + 1 }),
    })),
    delayRetry: assign(({ context: { record, delay } }) => ({
      delay: nextDelay(delay, 0, backoffOf(record.config.Labels)),
    })),
    revise: assign({
      record: ({ context, event }) =>
        event.type === 'REVISE' ? { ...context.record, ...event.change, phase: context.record.phase } : context.record,
    }),
    recordError: assign({
      record: ({ context, event }) => withState(context.record, { error: failureOf(event).message }),
    }),

    settleReply: ({ event }) => ('reply' in event ? event.reply.resolve() : undefined),
    startersDone: ({ context }) => resolve(context.starters),
    startersFailed: ({ context }) => rejectStarters(context),
    /** A removal came between a start and its time. */
    startersRefused: ({ context }) =>
      reject(context.starters, context.failure ?? conflict('container is marked for removal and cannot be started')),
    forgetStarters: assign({ starters: [], announceRestart: false }),
    /** Whoever waited for a start that did not come about and is not tried again. */
    abandonStarters: ({ context }) => (context.again ? undefined : rejectStarters(context)),
    forgetAbandoned: assign(({ context }) => (context.again ? {} : { starters: [], announceRestart: false })),
    stoppersDone: ({ context }) => resolve(context.stoppers),
    forgetStoppers: assign({ stoppers: [], stop: undefined }),
    freezersDone: ({ context }) => resolve(context.freezers),
    freezersFailed: ({ context, event }) => reject(context.freezers, failureOf(event)),
    forgetFreezers: assign({ freezers: [] }),
    removersDone: ({ context }) => resolve(context.removers),
    removersFailed: ({ context, event }) => reject(context.removers, failureOf(event)),
    forgetRemovers: assign({ removers: [], remove: undefined }),
    /** SIGKILL was of no use: whoever waited is told, and the container counts as running again. */
    orderersFailed: ({ context }) =>
      reject(
        [...context.stoppers, ...context.removers, ...context.starters],
        internal(
          `cannot stop container: ${context.record.id}: tried to kill container, but did not receive an exit event`,
          { cause: context.failure },
        ),
      ),
    forgetOrders: assign({
      starters: [],
      stoppers: [],
      removers: [],
      stop: undefined,
      remove: undefined,
      again: false,
      announceRestart: false,
    }),
  },
});
