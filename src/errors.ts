/**
 * The one table of error kinds. Whoever refuses or fails throws a DaemonError; api/status.ts alone maps kinds to HTTP.
 * A DaemonError is "their request" or "the world"; anything else that reaches the API is our bug and answers 500.
 */
export type ErrorKind =
  | 'notFound'
  | 'invalid'
  | 'conflict'
  | 'unauthorized'
  | 'forbidden'
  | 'notModified'
  | 'notImplemented'
  | 'unavailable'
  | 'deadline'
  | 'cancelled'
  | 'internal';

export interface ErrorDetails {
  /** A short machine-readable name of the reason, such as `port-in-use`; code branches on this, never on the message. */
  code?: string;
  cause?: unknown;
}

export class DaemonError extends Error {
  readonly kind: ErrorKind;
  readonly code: string | undefined;

  constructor(kind: ErrorKind, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'DaemonError';
    this.kind = kind;
    this.code = details.code;
  }
}

const of =
  (kind: ErrorKind) =>
  (message: string, details?: ErrorDetails): DaemonError =>
    new DaemonError(kind, message, details);

export const notFound = of('notFound');
export const invalid = of('invalid');
export const conflict = of('conflict');
export const unauthorized = of('unauthorized');
export const forbidden = of('forbidden');
export const notModified = of('notModified');
export const notImplemented = of('notImplemented');
export const unavailable = of('unavailable');
export const deadlineExceeded = of('deadline');
export const cancelled = of('cancelled');
export const internal = of('internal');

/** Wraps what was thrown, keeping a DaemonError as it is. */
export function asDaemonError(thrown: unknown, context?: string): DaemonError {
  if (thrown instanceof DaemonError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return internal(context ? `${context}: ${message}` : message, { cause: thrown });
}
