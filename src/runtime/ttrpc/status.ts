/** Status codes of gRPC, which ttrpc shares, and what they mean as errors of ours. */
import { DaemonError, type ErrorKind } from '../../errors.ts';

export const Code = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

const KINDS: Record<number, ErrorKind> = {
  [Code.cancelled]: 'cancelled',
  [Code.invalidArgument]: 'invalid',
  [Code.deadlineExceeded]: 'deadline',
  [Code.notFound]: 'notFound',
  [Code.alreadyExists]: 'conflict',
  [Code.failedPrecondition]: 'conflict',
  [Code.unimplemented]: 'notImplemented',
  [Code.unavailable]: 'unavailable',
};

/** containerd's clients add the name of the error class; dockerd's messages show it, and clients look for it. */
const WORDS: Record<number, string> = {
  [Code.unknown]: 'unknown',
  [Code.notFound]: 'not found',
  [Code.alreadyExists]: 'already exists',
  [Code.failedPrecondition]: 'failed precondition',
  [Code.unimplemented]: 'not implemented',
};

export function errorOfStatus(code: number, message: string): DaemonError {
  const word = WORDS[code];
  const text = word && !message.endsWith(word) ? `${message}: ${word}` : message;
  return new DaemonError(KINDS[code] ?? 'internal', text, { code: 'remote' });
}
