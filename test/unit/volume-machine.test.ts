import { createActor, fromPromise, waitFor } from 'xstate';
import { expect, test } from 'vitest';
import { conflict } from '../../src/errors.ts';
import { ask, type Reply } from '../../src/reactor/ask.ts';
import { volumeMachine } from '../../src/volume/machine.ts';
import type { VolumeRecord } from '../../src/volume/record.ts';
import type { DriverCall } from '../../src/volume/setup.ts';

type Step = 'create' | 'mount' | 'unmount' | 'remove';

function world(options: { state?: VolumeRecord['state']; fail?: Step[] } = {}) {
  const log: string[] = [];
  const step = (name: Step) =>
    fromPromise<string, DriverCall>(async ({ input }) => {
      // As the real effects, which wait for the intent to be on disk.
      await Promise.resolve();
      log.push(`${name}${input.user && ` ${input.user}`}${input.last ? ' last' : ''}`);
      if (options.fail?.includes(name)) throw new Error(`no ${name}`);
      return '/data';
    });
  const record: VolumeRecord = {
    name: 'v',
    driver: 'local',
    scope: 'local',
    createdAt: '',
    labels: {},
    options: {},
    state: options.state ?? 'creating',
    mountpoint: '',
  };
  const start = (reply?: Reply<VolumeRecord>) =>
    createActor(
      volumeMachine.provide({
        actors: { create: step('create'), mount: step('mount'), unmount: step('unmount'), remove: step('remove') },
      }),
      {
        input: {
          record,
          reply,
          effects: {
            persist: ({ state }) => log.push(`persist ${state}`),
            forget: () => log.push('forget'),
            publish: (action, _, attributes) => log.push(`event ${action} ${attributes?.container ?? ''}`.trim()),
          },
        },
      },
    ).start();
  return { log, start };
}

const created = (start: ReturnType<typeof world>['start']) => {
  let actor!: ReturnType<typeof start>;
  const done = new Promise<VolumeRecord>((resolve, reject) => (actor = start({ resolve, reject })));
  return { actor, done };
};
const refuse = () => conflict('refused');
const use = (type: 'MOUNT' | 'UNMOUNT', user: string) => (reply: Reply<any>) => ({
  type,
  user,
  attributes: { container: user },
  reply,
});

test('a volume is made, used by two, and taken away when neither has it any more', async () => {
  const { log, start } = world();
  const { actor, done } = created(start);
  expect(await done).toMatchObject({ state: 'active', mountpoint: '/data' });
  expect(await ask<string>(actor, use('MOUNT', 'a'), refuse)).toBe('/data');
  await ask<string>(actor, use('MOUNT', 'b'), refuse);
  await ask<string>(actor, use('MOUNT', 'b'), refuse);
  await expect(ask<void>(actor, (reply) => ({ type: 'REMOVE', reply }), refuse)).rejects.toThrow('refused');
  await ask<void>(actor, use('UNMOUNT', 'a'), refuse);
  await ask<void>(actor, use('UNMOUNT', 'b'), refuse);
  await ask<void>(actor, (reply) => ({ type: 'REMOVE', reply }), refuse);
  expect(actor.getSnapshot().value).toBe('removed');
  expect(log).toEqual([
    'persist creating',
    'create last',
    'persist active',
    'event create',
    'mount a last',
    'event mount a',
    'mount b',
    'event mount b',
    'unmount a',
    'event unmount a',
    'unmount b last',
    'event unmount b',
    'persist removing',
    'remove last',
    'forget',
    'event destroy',
  ]);
});

test.each(['creating', 'removing'] as const)('what was %s when the daemon died is taken away', async (state) => {
  const { log, start } = world({ state });
  const actor = start();
  await waitFor(actor, (snapshot) => snapshot.status === 'done');
  expect(log).toEqual(['remove last', 'forget', 'event destroy']);
});

test('a failed creation tells the client and leaves no record', async () => {
  const { log, start } = world({ fail: ['create'] });
  const { done } = created(start);
  await expect(done).rejects.toThrow('no create');
  expect(log).toEqual(['persist creating', 'create last', 'forget']);
});

test('a failed mount leaves no user, a failed unmount none either', async () => {
  const failing: Step[] = ['mount', 'unmount'];
  const { start } = world({ state: 'active', fail: failing });
  const actor = start();
  await expect(ask(actor, use('MOUNT', 'a'), refuse)).rejects.toThrow('no mount');
  expect(actor.getSnapshot().context.users).toEqual([]);
  await ask<void>(actor, (reply) => ({ type: 'RESTORE', user: 'a', reply }), refuse);
  await expect(ask(actor, use('UNMOUNT', 'a'), refuse)).rejects.toThrow('no unmount');
  expect(actor.getSnapshot().context.users).toEqual([]);
});

test('a failed removal leaves a volume that can be used and removed again', async () => {
  const { log, start } = world({ state: 'active', fail: ['remove'] });
  const actor = start();
  await expect(ask(actor, (reply) => ({ type: 'REMOVE', reply }), refuse)).rejects.toThrow('no remove');
  expect(log.at(-1)).toBe('persist active');
  expect(await ask<string>(actor, use('MOUNT', 'a'), refuse)).toBe('/data');
});
