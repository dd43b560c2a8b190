/** The one place where kinds of errors become HTTP. */
import type { DaemonError, ErrorKind } from '../errors.ts';

const statusOf = {
  notFound: 404,
  invalid: 400,
  conflict: 409,
  unauthorized: 401,
  forbidden: 403,
  notModified: 304,
  notImplemented: 501,
  unavailable: 503,
  // dockerd knows no 504 here; clients retry on 5xx of any kind.
  deadline: 500,
  cancelled: 500,
  internal: 500,
} as const satisfies Record<ErrorKind, number>;

export type ErrorStatus = (typeof statusOf)[ErrorKind];

export const httpStatus = (error: DaemonError): ErrorStatus => statusOf[error.kind];
