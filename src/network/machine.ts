/** The statechart of a network: creating · active{sound · repairing} · removing · removed. No I/O here. */
import { assign, setup } from 'xstate';
import type { Reply } from '../reactor/ask.ts';
import { effect } from '../reactor/effect.ts';
import type { NetworkRecord } from './record.ts';

/** Links, rules and servers: each tool has 15 seconds. */
const MAKE_MS = 60_000;

export interface NetworkEffects {
  /** Makes what is missing of the network's links, rules and servers; resolves with the record as it came out. */
  make(record: NetworkRecord, signal: AbortSignal): Promise<NetworkRecord>;
  unmake(record: NetworkRecord, signal: AbortSignal): Promise<void>;
}

export interface NetworkContext {
  record: NetworkRecord;
  /** Container ids. */
  endpoints: ReadonlySet<string>;
  reply: Reply<NetworkRecord> | undefined;
}

export type NetworkEvent =
  | { type: 'ATTACH'; containerId: string }
  | { type: 'DETACH'; containerId: string }
  | { type: 'REPAIR' }
  | { type: 'REMOVE'; reply: Reply<NetworkRecord> };

const settle = {
  done: ({ context }: { context: NetworkContext }) => context.reply?.resolve(context.record),
  failed: ({ context, event }: { context: NetworkContext; event: unknown }) =>
    context.reply?.reject((event as { error: unknown }).error),
};

export const networkMachine = (effects: NetworkEffects) =>
  setup({
    types: {
      context: {} as NetworkContext,
      events: {} as NetworkEvent,
      input: {} as { record: NetworkRecord; endpoints: readonly string[]; reply?: Reply<NetworkRecord> },
    },
    actors: {
      make: effect<NetworkRecord, NetworkRecord>(MAKE_MS, ({ input, signal }) => effects.make(input, signal)),
      unmake: effect<void, NetworkRecord>(MAKE_MS, ({ input, signal }) => effects.unmake(input, signal)),
    },
    guards: { unused: ({ context }) => context.endpoints.size === 0 },
    actions: {
      attach: assign(({ context }, containerId: string) => ({
        endpoints: new Set([...context.endpoints, containerId]),
      })),
      detach: assign(({ context }, containerId: string) => {
        const endpoints = new Set(context.endpoints);
        endpoints.delete(containerId);
        return { endpoints };
      }),
      answer: settle.done,
      refuse: settle.failed,
      forget: assign({ reply: undefined }),
    },
  }).createMachine({
    id: 'network',
    context: ({ input }) => ({ record: input.record, endpoints: new Set(input.endpoints), reply: input.reply }),
    initial: 'creating',
    on: {
      ATTACH: { actions: { type: 'attach', params: ({ event }) => event.containerId } },
      DETACH: { actions: { type: 'detach', params: ({ event }) => event.containerId } },
    },
    states: {
      creating: {
        invoke: {
          src: 'make',
          input: ({ context }) => context.record,
          onDone: { target: 'active', actions: [assign({ record: ({ event }) => event.output }), 'answer', 'forget'] },
          onError: { target: 'failed', actions: ['refuse', 'forget'] },
        },
      },
      active: {
        initial: 'sound',
        on: { REMOVE: { guard: 'unused', target: 'removing', actions: assign({ reply: ({ event }) => event.reply }) } },
        states: {
          sound: { on: { REPAIR: 'repairing' } },
          repairing: {
            invoke: {
              src: 'make',
              input: ({ context }) => context.record,
              onDone: { target: 'sound', actions: assign({ record: ({ event }) => event.output }) },
              onError: 'sound',
            },
          },
        },
      },
      /** Its making failed: what could not be made may be made by the next repair, or it is removed. */
      failed: {
        on: {
          REPAIR: 'creating',
          REMOVE: { guard: 'unused', target: 'removing', actions: assign({ reply: ({ event }) => event.reply }) },
        },
      },
      removing: {
        invoke: {
          src: 'unmake',
          input: ({ context }) => context.record,
          onDone: { target: 'removed', actions: ['answer', 'forget'] },
          onError: { target: 'failed', actions: ['refuse', 'forget'] },
        },
      },
      removed: { type: 'final' },
    },
  });
