/** Chance that can be had again: DRILL_SEED=<n> repeats a run. */
export const seed = Number(process.env.DRILL_SEED ?? 20_240_607);

/** mulberry32: numbers in [0, 1). */
export function chance(from = seed): { next(): number; below(n: number): number; pick<T>(from: readonly T[]): T } {
  let state = from >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number): number => Math.floor(next() * n);
  return { next, below, pick: (list) => list[below(list.length)]! };
}
