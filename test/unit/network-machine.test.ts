import { describe, expect, it } from 'vitest';
import { createActor } from 'xstate';
import { networkMachine } from '../../src/network/machine.ts';
import type { NetworkRecord } from '../../src/network/record.ts';
import { stateText } from '../../src/reactor/state-text.ts';
import { eventually } from '../support/eventually.ts';

const record = { id: 'n1', name: 'front', dnsPort: 0 } as NetworkRecord;

/** A chart whose effects end when the test says so. */
function chart(endpoints: string[] = []) {
  const pending: { name: string; end(error?: Error): void }[] = [];
  const answers: string[] = [];
  const reply = (name: string) => ({
    resolve: (made: NetworkRecord) => void answers.push(`${name}: ${made.dnsPort}`),
    reject: (error: unknown) => void answers.push(`${name}: ${(error as Error).message}`),
  });
  const effect = (name: string, result: NetworkRecord): Promise<any> =>
    new Promise((resolve, reject) => pending.push({ name, end: (error) => (error ? reject(error) : resolve(result)) }));
  const machine = networkMachine({
    make: () => effect('make', { ...record, dnsPort: 53 }),
    unmake: () => effect('unmake', record),
  });
  const actor = createActor(machine, { input: { record, endpoints, reply: reply('create') } }).start();
  const state = (): string => stateText(actor.getSnapshot().value);
  return {
    actor,
    answers,
    state,
    remove: () => actor.send({ type: 'REMOVE', reply: reply('remove') }),
    async end(name: string, error?: Error): Promise<void> {
      const found = pending.findIndex((one) => one.name === name);
      expect(found, `${name} runs`).toBeGreaterThanOrEqual(0);
      const before = state();
      pending.splice(found, 1)[0]!.end(error);
      await eventually(() => state() !== before);
    },
  };
}

describe('the chart of a network', () => {
  it('answers its creation with the record as it came out, and goes when nobody uses it', async () => {
    const one = chart();
    await one.end('make');
    expect([one.state(), one.answers]).toEqual(['active.sound', ['create: 53']]);
    one.remove();
    expect(one.state()).toBe('removing');
    await one.end('unmake');
    expect([one.state(), one.answers[1], one.actor.getSnapshot().status]).toEqual(['removed', 'remove: 53', 'done']);
  });

  it('is not removed while a container is on it, nor while it is made', async () => {
    const one = chart(['c1']);
    one.remove();
    expect(one.state()).toBe('creating');
    await one.end('make');
    one.remove();
    expect(one.state()).toBe('active.sound');
    one.actor.send({ type: 'ATTACH', containerId: 'c2' });
    for (const containerId of ['c1', 'c2', 'c2']) one.actor.send({ type: 'DETACH', containerId });
    one.remove();
    expect(one.state()).toBe('removing');
  });

  it('tells why it could not be made, and is made by the next repair or removed', async () => {
    const one = chart();
    await one.end('make', new Error('no room'));
    expect([one.state(), one.answers]).toEqual(['failed', ['create: no room']]);
    one.actor.send({ type: 'REPAIR' });
    await one.end('make');
    expect(one.state()).toBe('active.sound');
  });

  it('repairs what is missing once at a time, and lives on when that fails', async () => {
    const one = chart();
    await one.end('make');
    for (let times = 0; times < 3; times++) one.actor.send({ type: 'REPAIR' });
    expect(one.state()).toBe('active.repairing');
    await one.end('make', new Error('still no room'));
    expect(one.state()).toBe('active.sound');
  });

  it('tells why it could not be removed, and can be removed again', async () => {
    const one = chart();
    await one.end('make');
    one.remove();
    await one.end('unmake', new Error('busy'));
    expect([one.state(), one.answers[1]]).toEqual(['failed', 'remove: busy']);
    one.remove();
    await one.end('unmake');
    expect(one.state()).toBe('removed');
  });
});
