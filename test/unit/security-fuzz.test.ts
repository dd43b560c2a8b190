/** A slice of `npm run fuzz` with a fixed seed, and all that ever did harm. */
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { decodeInput, encodeInput, kept } from '../fuzz/corpus.ts';
import { openTargets } from '../fuzz/targets.ts';

const SEED = 20_261_201;
const RUNS = 120;

const targets = await openTargets();
afterAll(async () => {
  for (const target of targets) await target.dispose?.();
});

describe('what strangers send', () => {
  test.each(targets)('neither crashes, hangs nor escapes: $name', async ({ input, run }) => {
    const property = fc.asyncProperty(input, async (value) => void (await run(value)));
    await fc.assert(property, { seed: SEED, numRuns: RUNS });
  });

  test.each(kept())('does no harm again: $name', async ({ target, input }) => {
    const found = targets.find(({ name }) => name === target);
    expect(found).toBeDefined();
    await found!.run(input);
  });

  test('comes back from the corpus as it was', () => {
    const input = [Buffer.from([0, 255]), { text: '\ud800', number: -0.5 }, null];
    expect(decodeInput(encodeInput(input))).toEqual(input);
  });
});
