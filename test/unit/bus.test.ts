import { describe, expect, it } from 'vitest';
import { Bus } from '../../src/bus/bus.ts';
import { eventually } from '../support/eventually.ts';
import { ManualClock } from '../support/manual-clock.ts';

const newBus = (errors: unknown[] = []) =>
  new Bus({ clock: new ManualClock(), lastSeq: 10, onError: (error) => errors.push(error) });
const input = (action: string) => ({ topic: 'event' as const, type: 'container', action, id: 'x' });

describe('the bus', () => {
  it('numbers facts onward from the journal, with times that never stand still', () => {
    const bus = newBus();
    const [first, second] = [bus.publish(input('a')), bus.publish(input('b'))];
    expect([first.seq, second.seq]).toEqual([11, 12]);
    expect(second.timeNano > first.timeNano).toBe(true);
  });

  it('delivers in one order to all, also what is published during a delivery', () => {
    const bus = newBus();
    const seen: string[] = [];
    bus.facts$.subscribe((fact) => {
      if (fact.action === 'a') bus.publish(input('b'));
      seen.push(`1${fact.action}`);
    });
    bus.facts$.subscribe((fact) => seen.push(`2${fact.action}`));
    bus.publish(input('a'));
    expect(seen).toEqual(['1a', '2a', '1b', '2b']);
  });

  it('keeps a throwing subscriber out of the others’ way', async () => {
    const errors: unknown[] = [];
    const bus = newBus(errors);
    const seen: string[] = [];
    bus.facts$.subscribe(() => {
      throw new Error('mine');
    });
    bus.facts$.subscribe((fact) => seen.push(fact.action));
    bus.publish(input('a'));
    bus.publish(input('b'));
    expect(seen).toEqual(['a', 'b']);
    await eventually(() => errors.length > 0);
  });

  it('bounds a slow subscriber and counts what it lost', async () => {
    const bus = newBus();
    const slow = bus.subscribe({ name: 'slow', capacity: 2, filter: (fact) => fact.action !== 'skip' });
    for (const action of ['a', 'skip', 'b', 'c', 'd']) bus.publish(input(action));
    expect(slow.dropped).toBe(2);
    expect(bus.stats).toMatchObject({ dropped: 2, depth: 2, subscribers: 1 });
    const seen: string[] = [];
    slow.close();
    for await (const fact of slow) seen.push(fact.action);
    expect(seen).toEqual(['a', 'b']);
    expect(bus.stats.subscribers).toBe(0);
  });
});
