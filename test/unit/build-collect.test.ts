import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { bytesToKeep, Collector, rulesOf } from '../../src/build/collect.ts';
import { defaultBuilder } from '../../src/config/builder.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { testDeps } from '../support/deps.ts';

const GB = 1e9;

describe('rules of the build cache', () => {
  it('are as BuildKit’s: what comes again goes first, and a tenth of the disk, 10 GB at most, always stays', () => {
    const [passing, old, unshared, everything] = rulesOf(defaultBuilder, 50 * GB);
    expect([...passing!.filters]).toEqual([
      ['type', ['source.local', 'exec.cachemount']],
      ['unused-for', ['48h']],
    ]);
    expect([passing!.maxUsed > 5 * GB, old!.filters.get('unused-for')]).toEqual([true, ['1440h']]);
    expect(unshared).toMatchObject({ all: false, reserved: 5 * GB, maxUsed: 40 * GB, minFree: 10 * GB });
    expect(everything).toMatchObject({ all: true, reserved: 5 * GB });
    expect(rulesOf(defaultBuilder, 4000 * GB)[2]).toMatchObject({ reserved: 10 * GB });
  });

  it('are those of daemon.json where it has some', () => {
    const space = { reserved: 7, maxUsed: 0, minFree: 0 };
    expect(rulesOf({ ...defaultBuilder, space }, GB)[3]).toMatchObject(space);
    const rules = [{ all: true, filters: new Map(), ...space }];
    expect(rulesOf({ ...defaultBuilder, rules }, GB)).toBe(rules);
  });

  it.each([
    ['no more than may be used', { reserved: 1, maxUsed: 10, minFree: 0 }, 50, 100, 10],
    ['less where the disk is full', { reserved: 1, maxUsed: 10, minFree: 20 }, 15, 8, 3],
    ['never less than what is reserved', { reserved: 6, maxUsed: 10, minFree: 20 }, 15, 8, 6],
    ['what is reserved, where nothing else is said', { reserved: 6, maxUsed: 0, minFree: 0 }, 15, 8, 6],
    ['nothing, where nothing is said', { reserved: 0, maxUsed: 0, minFree: 0 }, 15, 8, 0],
  ])('keep %s', (_, space, used, free, kept) => {
    expect(bytesToKeep(space, used, free)).toBe(kept);
  });
});

describe('a collection', () => {
  const collector = (collects = true) => {
    const clock = new ManualClock();
    const asked: number[] = [];
    const builds = {
      used: () => 100,
      discard: async ({ keepBytes }: { keepBytes: number }) => {
        asked.push(keepBytes);
        return { deleted: [], bytes: 0 };
      },
    };
    const rules = [{ all: true, filters: new Map(), reserved: 42, maxUsed: 0, minFree: 0 }];
    const builder = { ...defaultBuilder, collects, rules };
    return {
      clock,
      asked,
      collector: new Collector({ builds, builder, directory: tmpdir(), clock, log: testDeps().log }),
    };
  };

  it('comes once after all builds that end within a minute', async () => {
    const { clock, asked, collector: it } = collector();
    it.soon();
    it.soon();
    expect(asked).toEqual([]);
    clock.advance(60_000);
    await it.stop();
    expect(asked).toEqual([42]);
    it.soon();
    await it.stop();
    clock.advance(120_000);
    expect(asked).toEqual([42]);
  });

  it('does not come where daemon.json turns it off', async () => {
    const { asked, collector: it } = collector(false);
    it.collect();
    await it.stop();
    expect(asked).toEqual([]);
  });
});
