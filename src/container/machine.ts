/**
 * The container's chart. It alone decides what a container accepts; effects are named actors over ports (actors.ts), changes
 * of the record are pure (changes.ts). Two invariants: `start`, `die` and `destroy` are announced once for each time they
 * happen, and whatever an effect may have left is undone before the next state is reached.
 */
import { secondsRun } from './changes.ts';
import type { Announcement, ContainerContext, ContainerEvent } from './events.ts';
import { container, isStopping, stopOrder, work } from './setup.ts';

interface Moment {
  context: ContainerContext;
}

const announce = (params: Announcement) => ({ type: 'announce' as const, params });
/** An announcement that depends on the moment; undefined is none. */
const announceBy = (params: (moment: Moment) => Announcement | undefined) => ({ type: 'announce' as const, params });

const announceKill = announce({ action: 'kill', attributes: { signal: '9' } });
const announceStopSignal = announceBy(({ context }) => ({
  action: 'kill',
  attributes: { signal: String(context.stop?.signal ?? 15) },
}));
const announceDeath = announceBy(({ context: { record } }) => ({
  action: 'die',
  attributes: { exitCode: String(record.state.exitCode), execDuration: String(secondsRun(record.state)) },
}));
const announceStop = announceBy(({ context }) => (context.stop?.announced ? { action: 'stop' } : undefined));
const announceRestart = announceBy(({ context }) => (context.announceRestart ? { action: 'restart' } : undefined));
/** Started just before the last daemon was killed: nobody was told yet. */
const announceAdopted = announceBy(({ context }) =>
  context.record.phase === 'starting' ? { action: 'start' } : undefined,
);
const adopted = ['recordAdopted' as const, announceAdopted, 'keepSandbox' as const];
const announceRevision = {
  type: 'announce' as const,
  params: ({ event }: { event: ContainerEvent }) => (event.type === 'REVISE' ? event.announce : undefined),
};
const announceHealth = announceBy(({ context: { record } }) => ({
  action: `health_status: ${record.state.health?.Status ?? 'none'}`,
}));

const changeHealth = ['keepHealth' as const, 'persist' as const, announceHealth];

const ended = [
  { guard: 'comesBack', target: '#container.restarting' },
  { guard: 'hasEnded', target: '#container.exited' },
] as const;

/** What a container that does not run accepts. */
const atRest = {
  START: { target: '#container.starting', actions: ['startByHand', 'joinStarters'] },
  RESTART: { target: '#container.starting', actions: ['startByHand', 'joinStarters', 'restartAnnounced'] },
  REMOVE: { target: '#container.removing', actions: 'joinRemovers' },
} as const;

export const containerMachine = container.createMachine({
  id: 'container',
  context: ({ input }) => ({
    ...input,
    attempt: 0,
    networkReady: false,
    exit: undefined,
    failure: undefined,
    failedStarts: 0,
    // A stop by hand that was cut off is still wanted.
    halted: isStopping(input.record),
    stop: isStopping(input.record) ? stopOrder(input.record) : undefined,
    again: false,
    remove: undefined,
    delay: 0,
    starters: [],
    stoppers: [],
    removers: [],
    freezers: [],
    announceRestart: false,
  }),
  initial: 'restoring',
  on: {
    REVISE: { actions: ['revise', 'persist', announceRevision, 'settleReply'] },
    OOM: { guard: 'isCurrent', actions: ['keepOom', 'persist', announce({ action: 'oom' })] },
    EXIT: { guard: 'isCurrent', actions: 'keepExit' },
  },
  states: {
    /** Compares the record with what the runtime found, and goes where both agree. */
    restoring: {
      initial: 'deciding',
      states: {
        deciding: {
          always: [
            { guard: 'wasRemoving', target: '#container.removing' },
            { guard: 'wasDead', target: '#container.dead' },
            { guard: 'isAlive', target: 'adopting' },
            { guard: 'endedMeanwhile', target: 'burying', actions: 'keepLostExit' },
            { guard: 'isLitter', target: 'clearing' },
            { guard: 'everStarted', target: '#container.exited.settled' },
            { target: '#container.created' },
          ],
        },
        adopting: {
          invoke: {
            id: 'adopt',
            src: 'adopt',
            input: work,
            onDone: [
              { guard: 'isFrozen', target: '#container.running.process.paused', actions: [...adopted] },
              { target: '#container.running', actions: [...adopted] },
            ],
            onError: { target: 'burying', actions: ['keepFailure', 'keepLostExit'] },
          },
        },
        /** It ended while nobody watched: one `die`, with the policy obeyed. */
        burying: { always: [...ended] },
        clearing: {
          invoke: {
            id: 'undo',
            src: 'undo',
            input: work,
            onDone: [
              { guard: 'comesBackByPolicy', target: '#container.restarting.waiting' },
              { guard: 'everStarted', target: '#container.exited.settled' },
              { target: '#container.created' },
            ],
            onError: { target: '#container.dead', actions: 'recordError' },
          },
        },
      },
    },

    created: {
      entry: [
        { type: 'phase', params: 'created' },
        'persist',
        'startersFailed',
        'forgetStarters',
        'stoppersDone',
        'forgetStoppers',
        'dropAgain',
      ],
      always: [
        { guard: 'wantsRemoval', target: 'removing' },
        { guard: 'failedForGood', target: 'removing' },
      ],
      on: atRest,
    },

    starting: {
      entry: ['begin', 'persist'],
      /** Runs beside preparing and creating: nothing of the network waits for the root filesystem. */
      invoke: {
        id: 'network',
        src: 'network',
        input: work,
        // Kept from here on: a daemon killed before the process is known to run takes it up with its network.
        onDone: { actions: ['keepSandbox', 'persist'] },
        onError: [
          { guard: 'hasFailed', actions: 'keepFailure' },
          { target: '.undoing', actions: 'keepFailure' },
        ],
      },
      on: {
        START: { actions: 'joinStarters' },
        RESTART: { actions: ['joinStarters', 'restartAnnounced'] },
        STOP: { actions: ['orderStop', 'joinStoppers'] },
        REMOVE: { guard: 'isForced', actions: ['orderKill', 'joinRemovers'] },
      },
      initial: 'preparing',
      states: {
        preparing: {
          invoke: {
            id: 'prepare',
            src: 'prepare',
            input: work,
            onDone: 'creating',
            onError: { target: 'undoing', actions: 'keepFailure' },
          },
        },
        creating: {
          invoke: {
            id: 'create',
            src: 'create',
            input: work,
            onDone: 'networking',
            onError: { target: 'undoing', actions: 'keepFailure' },
          },
        },
        networking: { always: { guard: 'networkReady', target: 'launching' } },
        launching: {
          invoke: {
            id: 'launch',
            src: 'launch',
            input: work,
            onDone: {
              target: '#container.running',
              actions: [
                'recordStart',
                announce({ action: 'start' }),
                announceRestart,
                'startersDone',
                'forgetStarters',
              ],
            },
            onError: { target: 'undoing', actions: 'keepFailure' },
          },
        },
        undoing: {
          invoke: {
            id: 'undo',
            src: 'undo',
            input: work,
            onDone: [
              {
                guard: 'triesAgain',
                target: '#container.restarting.waiting',
                actions: ['recordFailedStart', 'delayRetry'],
              },
              { guard: 'everStarted', target: '#container.exited.settled', actions: 'recordFailedStart' },
              { target: '#container.created', actions: 'recordFailedStart' },
            ],
            onError: [
              { guard: 'everStarted', target: '#container.exited.settled', actions: 'recordFailedStart' },
              { target: '#container.created', actions: 'recordFailedStart' },
            ],
          },
        },
      },
    },

    running: {
      always: [
        ...ended,
        { guard: 'wantsRemoval', target: 'stopping.killing' },
        { guard: 'wantsStop', target: 'stopping' },
      ],
      on: {
        STOP: { target: 'stopping', actions: ['orderStop', 'joinStoppers'] },
        RESTART: { target: 'stopping', actions: ['orderStop', 'joinStarters'] },
        KILL: [
          { guard: 'isLethal', target: 'stopping.killing', actions: ['orderKill', 'joinStoppers'] },
          { actions: ['halt', 'persist', 'deliver'] },
        ],
        REMOVE: { guard: 'isForced', target: 'stopping.killing', actions: ['orderKill', 'joinRemovers'] },
      },
      type: 'parallel',
      states: {
        process: {
          initial: 'up',
          states: {
            up: {
              entry: [{ type: 'phase', params: 'running' }, 'persist'],
              invoke: { id: 'probes', src: 'probes', input: work, onError: { actions: 'reportEffect' } },
              on: { PAUSE: { target: 'pausing', actions: 'joinFreezers' } },
            },
            pausing: {
              invoke: {
                id: 'pause',
                src: 'pause',
                input: work,
                onDone: { target: 'paused', actions: [announce({ action: 'pause' })] },
                onError: { target: 'up', actions: ['freezersFailed', 'forgetFreezers'] },
              },
            },
            paused: {
              entry: [{ type: 'phase', params: 'paused' }, 'persist', 'freezersDone', 'forgetFreezers'],
              on: { UNPAUSE: { target: 'resuming', actions: 'joinFreezers' } },
            },
            resuming: {
              invoke: {
                id: 'resume',
                src: 'resume',
                input: work,
                onDone: { target: 'up', actions: [announce({ action: 'unpause' }), 'freezersDone', 'forgetFreezers'] },
                onError: { target: 'paused', actions: ['freezersFailed', 'forgetFreezers'] },
              },
            },
          },
        },
        health: {
          initial: 'deciding',
          states: {
            deciding: {
              always: [
                { guard: 'hasNoHealthcheck', target: 'none' },
                { guard: 'wasHealthy', target: 'healthy' },
                { guard: 'wasUnhealthy', target: 'unhealthy' },
                { target: 'starting' },
              ],
            },
            none: {},
            starting: {
              on: {
                HEALTH: [
                  { guard: 'turnsHealthy', target: 'healthy', actions: [...changeHealth] },
                  { guard: 'turnsUnhealthy', target: 'unhealthy', actions: [...changeHealth] },
                  { actions: ['keepHealth', 'show'] },
                ],
              },
            },
            healthy: {
              on: {
                HEALTH: [
                  { guard: 'turnsUnhealthy', target: 'unhealthy', actions: [...changeHealth] },
                  { actions: ['keepHealth', 'show'] },
                ],
              },
            },
            unhealthy: {
              on: {
                HEALTH: [
                  { guard: 'turnsHealthy', target: 'healthy', actions: [...changeHealth] },
                  { actions: ['keepHealth', 'show'] },
                ],
              },
              always: { guard: 'restartsUnhealthy', target: '#container.stopping', actions: 'orderUnhealthyRestart' },
            },
          },
        },
      },
    },

    stopping: {
      entry: [{ type: 'phase', params: 'stopping' }, 'persist', 'freezersDone', 'forgetFreezers'],
      always: [...ended],
      on: {
        START: { actions: ['startAgain', 'joinStarters'] },
        RESTART: { actions: ['startAgain', 'joinStarters', 'restartAnnounced'] },
        STOP: { actions: ['dropAgain', 'joinStoppers'] },
        KILL: [{ guard: 'isLethal', target: '.killing', actions: 'joinStoppers' }, { actions: 'deliver' }],
        REMOVE: { guard: 'isForced', target: '.killing', actions: 'joinRemovers' },
      },
      initial: 'signalling',
      states: {
        signalling: {
          entry: announceStopSignal,
          invoke: {
            id: 'signal',
            src: 'signal',
            input: ({ context, self }) => ({ ...work({ context, self }), signal: context.stop?.signal ?? 15 }),
            onDone: 'waiting',
            onError: 'killing',
          },
        },
        waiting: { after: { grace: { guard: 'graceEnds', target: 'killing' } } },
        killing: {
          entry: announceKill,
          invoke: {
            id: 'kill',
            src: 'signal',
            input: ({ context, self }) => ({ ...work({ context, self }), signal: 9 }),
            onDone: 'dying',
            onError: { target: 'dying', actions: 'keepFailure' },
          },
        },
        dying: { after: { lastWords: { target: '#container.running', actions: ['orderersFailed', 'forgetOrders'] } } },
      },
    },

    /** Down. `settling` lets go of what the process used; `settled` needs nothing any more. */
    exited: {
      initial: 'settling',
      states: {
        settling: {
          entry: ['recordExit', { type: 'phase', params: 'exited' }, 'persist', announceDeath],
          invoke: {
            id: 'settle',
            src: 'settle',
            input: work,
            onDone: 'settled',
            onError: { target: 'settled', actions: 'reportEffect' },
          },
          on: {
            START: { actions: ['startByHand', 'startAgain', 'joinStarters'] },
            RESTART: { actions: ['startByHand', 'startAgain', 'joinStarters', 'restartAnnounced'] },
            STOP: { guard: 'wantsStart', actions: ['dropAgain', 'joinStoppers'] },
            REMOVE: { actions: 'joinRemovers' },
          },
        },
        settled: {
          entry: [
            { type: 'phase', params: 'exited' },
            'persist',
            announceStop,
            'stoppersDone',
            'forgetStoppers',
            'abandonStarters',
            'forgetAbandoned',
          ],
          always: [
            { guard: 'wantsRemoval', target: '#container.removing' },
            { guard: 'wantsStart', target: '#container.starting' },
            { guard: 'goesAway', target: '#container.removing' },
          ],
          on: atRest,
        },
      },
    },

    /** Down, and the policy brings it back after the backoff. */
    restarting: {
      initial: 'settling',
      on: {
        STOP: { target: '.leaving', actions: ['orderStop', 'joinStoppers'] },
        KILL: { target: '.leaving', actions: ['halt', 'joinStoppers'] },
        REMOVE: { guard: 'isForced', target: '.leaving', actions: ['halt', 'joinRemovers'] },
        RESTART: { target: '.leaving', actions: ['startByHand', 'startAgain', 'joinStarters', 'restartAnnounced'] },
      },
      states: {
        settling: {
          entry: ['recordExit', 'countRestart', { type: 'phase', params: 'restarting' }, 'persist', announceDeath],
          invoke: {
            id: 'settle',
            src: 'settle',
            input: work,
            onDone: 'waiting',
            onError: { target: 'waiting', actions: 'reportEffect' },
          },
        },
        waiting: {
          entry: [{ type: 'phase', params: 'restarting' }, 'persist'],
          after: { backoff: '#container.starting' },
        },
        /** Called off: what the last run used is let go first, whether or not that was done before. */
        leaving: {
          invoke: {
            id: 'settle',
            src: 'settle',
            input: work,
            onDone: '#container.exited.settled',
            onError: { target: '#container.exited.settled', actions: 'reportEffect' },
          },
        },
      },
    },

    removing: {
      entry: [
        { type: 'phase', params: 'removing' },
        'persist',
        'startersRefused',
        'forgetStarters',
        'stoppersDone',
        'forgetStoppers',
      ],
      invoke: {
        id: 'remove',
        src: 'remove',
        input: ({ context, self }) => ({
          ...work({ context, self }),
          order: context.remove ?? { force: false, volumes: context.record.hostConfig.AutoRemove },
        }),
        onDone: 'removed',
        onError: { target: 'dead', actions: ['recordError', 'removersFailed', 'forgetRemovers'] },
      },
    },

    /** Its removal failed half-way; only another removal is left for it. */
    dead: {
      entry: [{ type: 'phase', params: 'dead' }, 'persist'],
      on: { REMOVE: { target: 'removing', actions: 'joinRemovers' } },
    },

    removed: { type: 'final', entry: [announce({ action: 'destroy' }), 'forget', 'removersDone', 'forgetRemovers'] },
  },
});
