/** What happened, told once, in order. Everything that watches the daemon is a view of these. */
export type Topic =
  /** A Docker event, shown by /events. */
  | 'event'
  /** A statechart moved. */
  | 'transition'
  /** An effect (an invoked actor) began, ended or failed. */
  | 'effect'
  /** The API accepted, answered or refused a command. */
  | 'command'
  /** The reactor's own news: an actor failed, a subscriber dropped facts, the daemon reloaded. */
  | 'reactor';

export interface FactInput {
  topic: Topic;
  /** Kind of the object: container, image, network, volume, builder, daemon, exec … */
  type: string;
  /** For events Docker's Action; for transitions the XState event's type; else a verb. */
  action: string;
  /** The object's id (Docker's Actor.ID). */
  id: string;
  /** Docker's Actor.Attributes; strings only. */
  attributes?: Readonly<Record<string, string>>;
  /** More for the visualizer, JSON-able: {from, to, event, actor, effect, ms, error …}. Never a secret. */
  data?: Readonly<Record<string, unknown>>;
  /** Seq of the fact that led to this one; what is published takes it from where it happens (cause.ts). */
  cause?: number;
}

export interface Fact extends FactInput {
  /** Position in the journal; increases by one, also across restarts. */
  seq: number;
  /** Nanoseconds since the epoch. */
  timeNano: bigint;
  attributes: Readonly<Record<string, string>>;
}
