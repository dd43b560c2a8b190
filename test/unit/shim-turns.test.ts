import { describe, expect, it } from 'vitest';
import { Turns } from '../../src/runtime/shim/turns.ts';

describe('turns', () => {
  it('go one at a time, in order, urgent ones first, and on after a failure', async () => {
    const turns = new Turns();
    const seen: string[] = [];
    let running = 0;
    const first = Promise.withResolvers<void>();
    const step = (name: string, wait?: Promise<void>) => async (): Promise<string> => {
      expect(++running).toBe(1);
      await wait;
      seen.push(name);
      running--;
      if (name === 'fails') throw new Error(name);
      return name;
    };
    const runs = [
      turns.run(step('first', first.promise)),
      turns.run(step('fails')),
      turns.run(step('third')),
      turns.run(step('urgent'), true),
    ];
    first.resolve();
    const ends = await Promise.allSettled(runs);
    expect(seen).toEqual(['first', 'urgent', 'fails', 'third']);
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
    expect(await turns.run(step('later'))).toBe('later');
  });
});
