/** Types, guards and actions of a volume's chart. The effects come in from actors.ts. */
import { assign, fromPromise, setup } from 'xstate';
import type { Reply } from '../reactor/ask.ts';
import type { VolumeRecord } from './record.ts';

/** What the chart does to the world without waiting. */
export interface VolumeEffects {
  persist(record: VolumeRecord): void;
  /** The record goes away with the volume. */
  forget(name: string): void;
  publish(action: string, record: VolumeRecord, attributes?: Readonly<Record<string, string>>): void;
}

export interface VolumeInput {
  record: VolumeRecord;
  effects: VolumeEffects;
  /** The creation waits for it. */
  reply?: Reply<VolumeRecord>;
}

/** A wish for the volume's content: by a container (announced) or by the daemon itself (not). */
export interface MountRequest {
  user: string;
  /** Attributes of the event; undefined announces nothing. */
  attributes: Readonly<Record<string, string>> | undefined;
}

export type VolumeEvent =
  | ({ type: 'MOUNT'; reply: Reply<string> } & MountRequest)
  | ({ type: 'UNMOUNT'; reply: Reply } & MountRequest)
  | { type: 'RESTORE'; user: string; reply: Reply }
  | { type: 'REMOVE'; reply: Reply };

export interface VolumeContext extends VolumeInput {
  users: readonly string[];
  /** The request an effect works for. */
  request: MountRequest | undefined;
  mountReply: Reply<string> | undefined;
  doneReply: Reply | undefined;
  failure: unknown;
}

export interface DriverCall {
  record: VolumeRecord;
  user: string;
  last: boolean;
}

/** Replaced by actors.ts; a chart without them fails its invokes instead of hanging. */
const missing = (name: string) =>
  fromPromise<string, DriverCall>(() => Promise.reject(new Error(`${name} is not provided`)));

export const volume = setup({
  types: { context: {} as VolumeContext, events: {} as VolumeEvent, input: {} as VolumeInput },
  actors: {
    create: missing('create'),
    mount: missing('mount'),
    unmount: missing('unmount'),
    remove: missing('remove'),
  },
  guards: {
    isNew: ({ context }) => context.record.state === 'creating' && context.reply !== undefined,
    isActive: ({ context }) => context.record.state === 'active',
    hasUser: ({ context, event }) => 'user' in event && context.users.includes(event.user),
    hasNoUser: ({ context }) => context.users.length === 0,
  },
  actions: {
    setState: assign({
      record: ({ context }, params: { state: VolumeRecord['state'] }) => ({ ...context.record, state: params.state }),
    }),
    setMountpoint: assign({
      record: ({ context }, params: { path: string }) => ({ ...context.record, mountpoint: params.path }),
    }),
    persist: ({ context }) => context.effects.persist(context.record),
    forget: ({ context }) => context.effects.forget(context.record.name),
    publish: ({ context }, params: { action: string }) => context.effects.publish(params.action, context.record),
    publishUse: ({ context }, params: { action: string }) => {
      const attributes = context.request?.attributes;
      if (attributes) context.effects.publish(params.action, context.record, attributes);
    },
    takeRequest: assign({
      request: ({ event }) => (event.type === 'MOUNT' || event.type === 'UNMOUNT' ? event : undefined),
      mountReply: ({ event }) => (event.type === 'MOUNT' ? event.reply : undefined),
      doneReply: ({ event }) => (event.type === 'UNMOUNT' || event.type === 'REMOVE' ? event.reply : undefined),
    }),
    addUser: assign({
      users: ({ context, event }) => {
        const user = event.type === 'RESTORE' ? event.user : context.request?.user;
        return user === undefined || context.users.includes(user) ? context.users : [...context.users, user];
      },
    }),
    dropUser: assign({ users: ({ context }) => context.users.filter((user) => user !== context.request?.user) }),
    keepFailure: assign({ failure: (_, params: { error: unknown }) => params.error }),
    settleMount: ({ context, event }) => {
      const reply = event.type === 'MOUNT' ? event.reply : context.mountReply;
      reply?.resolve(context.record.mountpoint);
    },
    settleCreated: ({ context }) => context.reply?.resolve(context.record),
    settleDone: ({ context, event }) => {
      const reply = event.type === 'UNMOUNT' || event.type === 'RESTORE' ? event.reply : context.doneReply;
      reply?.resolve();
    },
    rejectAll: ({ context }) => {
      for (const reply of [context.reply, context.mountReply, context.doneReply]) reply?.reject(context.failure);
    },
    clearRequest: assign({
      request: undefined,
      mountReply: undefined,
      doneReply: undefined,
      failure: undefined,
      reply: undefined,
    }),
  },
});

export const driverCall = ({ context }: { context: VolumeContext }): DriverCall => ({
  record: context.record,
  user: context.request?.user ?? '',
  last: context.users.every((user) => user === context.request?.user),
});
