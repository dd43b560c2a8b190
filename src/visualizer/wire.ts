/** Facts as they come over the wire to the page and the terminal. */
export interface WireFact {
  seq: number;
  timeNano: string;
  topic: string;
  type: string;
  action: string;
  id: string;
  attributes: Record<string, string>;
  data?: Record<string, unknown>;
  /** Seq of the fact that led to this one. */
  cause?: number;
}

/** Milliseconds since the epoch; the nanoseconds are cut as text, since this is asked for very often. */
export const timeOf = (fact: Pick<WireFact, 'timeNano'>): number => Number(fact.timeNano.slice(0, -6));
