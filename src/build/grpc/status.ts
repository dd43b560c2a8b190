/** gRPC's status codes, to and from our kinds of errors. */
import { asDaemonError, DaemonError, type ErrorKind } from '../../errors.ts';

export const OK = 0;
export const UNIMPLEMENTED = 12;

const CODES: Record<ErrorKind, number> = {
  cancelled: 1,
  // BuildKit tells what is wrong with a Dockerfile or a step by UNKNOWN; clients print the name of any other code.
  invalid: 2,
  deadline: 4,
  notFound: 5,
  conflict: 6,
  forbidden: 7,
  notModified: 9,
  notImplemented: UNIMPLEMENTED,
  internal: 2,
  unavailable: 14,
  unauthorized: 16,
};

const KINDS = new Map<number, ErrorKind>([
  ...Object.entries(CODES).map(([kind, code]) => [code, kind as ErrorKind] as const),
  [2, 'internal'],
  [3, 'invalid'],
]);

export const codeOf = (error: unknown): number => CODES[asDaemonError(error).kind];

/** `code` of the error is `grpc-<n>`. */
export const errorOf = (code: number, message: string): DaemonError =>
  new DaemonError(KINDS.get(code) ?? 'internal', message || `gRPC status ${code}`, { code: `grpc-${code}` });

/** Percent-encoding as the protocol has it: printable ASCII stays, but for `%`. */
export const encodeMessage = (message: string): string =>
  [...Buffer.from(message, 'utf8')]
    .map((byte) =>
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .join('');

export function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
