/**
 * The volume's chart. A volume is made once, used by any number of containers, and taken away when nobody uses it. What was
 * half made or half removed when the daemon died is taken away: nobody was told that it exists.
 */
import { driverCall, volume } from './setup.ts';

const failed = {
  type: 'keepFailure' as const,
  params: ({ event }: { event: { error: unknown } }) => ({ error: event.error }),
};
const told = {
  type: 'setMountpoint' as const,
  params: ({ event }: { event: { output: string } }) => ({ path: event.output }),
};

export const volumeMachine = volume.createMachine({
  id: 'volume',
  context: ({ input }) => ({
    ...input,
    users: [],
    request: undefined,
    mountReply: undefined,
    doneReply: undefined,
    failure: undefined,
  }),
  initial: 'restoring',
  states: {
    restoring: {
      always: [
        { guard: 'isNew', target: 'creating', actions: 'persist' },
        { guard: 'isActive', target: 'active' },
        { target: 'removing' },
      ],
    },
    creating: {
      invoke: {
        src: 'create',
        input: driverCall,
        onDone: {
          target: 'active',
          actions: [
            told,
            { type: 'setState', params: { state: 'active' } },
            'persist',
            { type: 'publish', params: { action: 'create' } },
            'settleCreated',
            'clearRequest',
          ],
        },
        onError: { target: 'failed', actions: failed },
      },
    },
    active: {
      initial: 'idle',
      states: {
        idle: {
          on: {
            MOUNT: [
              { guard: 'hasUser', actions: 'settleMount' },
              { target: 'mounting', actions: 'takeRequest' },
            ],
            UNMOUNT: [{ guard: 'hasUser', target: 'unmounting', actions: 'takeRequest' }, { actions: 'settleDone' }],
            RESTORE: { actions: ['addUser', 'settleDone'] },
            REMOVE: {
              guard: 'hasNoUser',
              target: '#volume.removing',
              actions: ['takeRequest', { type: 'setState', params: { state: 'removing' } }, 'persist'],
            },
          },
        },
        mounting: {
          invoke: {
            src: 'mount',
            input: driverCall,
            onDone: {
              target: 'idle',
              actions: [
                told,
                'addUser',
                { type: 'publishUse', params: { action: 'mount' } },
                'settleMount',
                'clearRequest',
              ],
            },
            onError: { target: 'idle', actions: [failed, 'rejectAll', 'clearRequest'] },
          },
        },
        /** A driver that fails to unmount keeps nobody from stopping: the user is gone either way. */
        unmounting: {
          invoke: {
            src: 'unmount',
            input: driverCall,
            onDone: {
              target: 'idle',
              actions: [
                'dropUser',
                { type: 'publishUse', params: { action: 'unmount' } },
                'settleDone',
                'clearRequest',
              ],
            },
            onError: { target: 'idle', actions: ['dropUser', failed, 'rejectAll', 'clearRequest'] },
          },
        },
      },
    },
    removing: {
      invoke: {
        src: 'remove',
        input: driverCall,
        onDone: {
          target: 'removed',
          actions: ['forget', { type: 'publish', params: { action: 'destroy' } }, 'settleDone'],
        },
        // Still there, and still a volume: it can be used and removed again.
        onError: {
          target: 'active',
          actions: [failed, { type: 'setState', params: { state: 'active' } }, 'persist', 'rejectAll', 'clearRequest'],
        },
      },
    },
    removed: { type: 'final' },
    failed: { type: 'final', entry: ['forget', 'rejectAll'] },
  },
});
