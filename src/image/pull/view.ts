/** Docker's progress lines (jsonmessage) of transfers, and who gets them. Pure but for the listeners. */
export interface ProgressLine {
  status?: string;
  progressDetail?: { current?: number; total?: number };
  progress?: string;
  id?: string;
  aux?: object;
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** Four significant digits and a decimal unit, as Go's units.HumanSize: 1.983MB. */
export function humanSize(bytes: number): string {
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${Number(size.toPrecision(4))}${UNITS[unit]}`;
}

/** The bar that terminals show: `[====>    ]  1.2MB/3.4MB`. */
export function progressBar(current: number, total: number): string {
  if (current <= 0 && total <= 0) return '';
  if (total <= 0) return humanSize(current).padStart(8);
  const done = Math.min(50, Math.floor(Math.floor((current / total) * 100) / 2));
  const bar = `[${'='.repeat(done)}>${' '.repeat(50 - done)}] `;
  const numbers = humanSize(current).padStart(8) + (current > total ? '' : `/${humanSize(total)}`);
  return bar + numbers;
}

export const message = (status: string, id?: string): ProgressLine => (id === undefined ? { status } : { status, id });

/** A layer's line without figures. */
export const update = (id: string, status: string): ProgressLine => ({ status, progressDetail: {}, id });

export const figures = (id: string, status: string, current: number, total: number): ProgressLine => ({
  status,
  progressDetail: { current, total },
  progress: progressBar(current, total),
  id,
});

export type Listener = (line: ProgressLine) => void;

/** Figures of one layer are shown no oftener. */
const INTERVAL_MS = 100;

/** Gives lines to all who listen; who comes later gets the latest line of each id first. Never throws. */
export class Feed {
  #listeners = new Set<Listener>();
  #latest = new Map<string, ProgressLine>();
  #shown = new Map<string, number>();
  #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  say(line: ProgressLine): void {
    this.#latest.set(line.id ?? line.status ?? '', line);
    for (const listener of this.#listeners) listener(line);
  }

  /** Figures, thinned out; the last ones of a whole are always said. */
  figures(id: string, status: string, current: number, total: number): void {
    const now = this.#now();
    if (current < total && now - (this.#shown.get(id) ?? -Infinity) < INTERVAL_MS) return;
    this.#shown.set(id, now);
    this.say(figures(id, status, current, total));
  }

  /** Returns how to stop listening. */
  listen(listener: Listener): () => void {
    for (const line of this.#latest.values()) listener(line);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
