/** Time as a dependency: machines and services take a Clock, so that tests move it by hand. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  now(): number;
  /** Calls back once after `ms`; the returned function cancels it. */
  after(ms: number, callback: () => void): () => void;
}

/** setTimeout counts in 32 bits; a longer delay would fire at once. */
const LONGEST_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(ms, 0), LONGEST_MS));
    return () => clearTimeout(timer);
  },
};

/** The same clock in the shape XState's `createActor` takes. */
export function xstateClock(clock: Clock): {
  setTimeout(fn: (...args: any[]) => void, ms: number): any;
  clearTimeout(id: any): void;
} {
  return { setTimeout: (fn, ms) => clock.after(ms, fn), clearTimeout: (cancel: () => void) => cancel?.() };
}

let lastNano = 0n;

/** Nanoseconds since the epoch, strictly increasing within the process, so that facts of one millisecond keep their order. */
export function nowNano(clock: Clock): bigint {
  const nano = BigInt(Math.round(clock.now() * 1000)) * 1000n;
  lastNano = nano > lastNano ? nano : lastNano + 1n;
  return lastNano;
}

/** Go's zero time, which dockerd prints for "never". */
export const ZERO_TIME = '0001-01-01T00:00:00Z';

/** RFC3339 with nanoseconds, as Go's time.RFC3339Nano prints it but always with nine digits. */
export function rfc3339Nano(nano: bigint): string {
  const seconds = new Date(Number(nano / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${(nano % 1_000_000_000n).toString().padStart(9, '0')}Z`;
}
