/**
 * The container's chart. It alone decides what a container accepts; effects are named actors over ports (actors.ts), changes
 * of the record are pure (changes.ts). Two invariants: `start`, `die` and `destroy` are announced once for each time they
 * happen, and whatever an effect may have left is undone before the next state is reached.
 */
import {
  adopted,
  announce,
  announceDeath,
  announceKill,
  announceRestart,
  announceRevision,
  announceStop,
  announceStopSignal,
  changeHealth,
} from './announcements.ts';
import { contextOf } from './context.ts';
import { container, work } from './setup.ts';

/** An effect by its name, and where its end leads. */
const run = <const S extends string, const Done, const Failed>(src: S, onDone: Done, onError: Failed) => ({
  id: src,
  src,
  input: work,
  onDone,
  onError,
});

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
  context: ({ input }) => contextOf(input),
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
          invoke: run(
            'adopt',
            [
              { guard: 'isFrozen', target: '#container.running.process.paused', actions: [...adopted] },
              { target: '#container.running', actions: [...adopted] },
            ],
            { target: 'burying', actions: ['keepFailure', 'keepLostExit'] },
          ),
        },
        /** It ended while nobody watched: one `die`, with the policy obeyed. */
        burying: { always: [ended[0], { target: '#container.exited' }] },
        clearing: {
          invoke: run(
            'undo',
            [
              { guard: 'comesBackByPolicy', target: '#container.restarting.waiting' },
              { guard: 'everStarted', target: '#container.exited.settled' },
              { target: '#container.created' },
            ],
            { target: '#container.dead', actions: 'recordError' },
          ),
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
      /**
       * Runs beside preparing and creating: nothing of the network waits for the root filesystem. Kept once it is there: a daemon killed
       * before the process is known to run takes it up with its network.
       */
      invoke: run('network', { actions: ['keepSandbox', 'persist'] }, [
        { guard: 'hasFailed', actions: 'keepFailure' },
        { target: '.undoing', actions: 'keepFailure' },
      ]),
      on: {
        START: { actions: 'joinStarters' },
        RESTART: { actions: ['joinStarters', 'restartAnnounced'] },
        STOP: { actions: ['orderStop', 'joinStoppers'] },
        REMOVE: { guard: 'isForced', actions: ['orderKill', 'joinRemovers'] },
      },
      initial: 'preparing',
      states: {
        preparing: { invoke: run('prepare', 'creating', { target: 'undoing', actions: 'keepFailure' }) },
        creating: { invoke: run('create', 'networking', { target: 'undoing', actions: 'keepFailure' }) },
        networking: { always: { guard: 'networkReady', target: 'launching' } },
        launching: {
          invoke: run(
            'launch',
            {
              target: '#container.running',
              actions: [
                'recordStart',
                announce({ action: 'start' }),
                announceRestart,
                'startersDone',
                'forgetStarters',
              ],
            },
            { target: 'undoing', actions: 'keepFailure' },
          ),
        },
        undoing: {
          invoke: run(
            'undo',
            [
              {
                guard: 'triesAgain',
                target: '#container.restarting.waiting',
                actions: ['recordFailedStart', 'delayRetry'],
              },
              { guard: 'everStarted', target: '#container.exited.settled', actions: 'recordFailedStart' },
              { target: '#container.created', actions: 'recordFailedStart' },
            ],
            [
              { guard: 'everStarted', target: '#container.exited.settled', actions: 'recordFailedStart' },
              { target: '#container.created', actions: 'recordFailedStart' },
            ],
          ),
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
              invoke: run('probes', undefined, { actions: 'reportEffect' }),
              on: { PAUSE: { target: 'pausing', actions: 'joinFreezers' } },
            },
            pausing: {
              invoke: run(
                'pause',
                { target: 'paused', actions: [announce({ action: 'pause' })] },
                { target: 'up', actions: ['freezersFailed', 'forgetFreezers'] },
              ),
            },
            paused: {
              entry: [{ type: 'phase', params: 'paused' }, 'persist', 'freezersDone', 'forgetFreezers'],
              on: { UNPAUSE: { target: 'resuming', actions: 'joinFreezers' } },
            },
            resuming: {
              invoke: run(
                'resume',
                { target: 'up', actions: [announce({ action: 'unpause' }), 'freezersDone', 'forgetFreezers'] },
                { target: 'paused', actions: ['freezersFailed', 'forgetFreezers'] },
              ),
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
      // Somebody wanted it down: the policy has no say in this end.
      always: { guard: 'hasEnded', target: 'exited' },
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
          invoke: run('settle', 'settled', { target: 'settled', actions: 'reportEffect' }),
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
          invoke: run('settle', 'waiting', { target: 'waiting', actions: 'reportEffect' }),
        },
        waiting: {
          entry: [{ type: 'phase', params: 'restarting' }, 'persist'],
          after: { backoff: '#container.starting' },
        },
        /** Called off: what the last run used is let go first, whether or not that was done before. */
        leaving: {
          invoke: run('settle', '#container.exited.settled', {
            target: '#container.exited.settled',
            actions: 'reportEffect',
          }),
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
