/** gRPC's status codes, to and from our kinds of errors. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { asDaemonError, DaemonError, type ErrorKind } from '../../errors.ts';
import { StatusSchema } from '../../generated/proto/buildkit/gateway_pb.ts';

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

/** A google.protobuf.Any. */
export interface Detail {
  typeUrl: string;
  value: Uint8Array;
}

/** An error with what a status carries beside its message. */
export class DetailedError extends DaemonError {
  readonly details: readonly Detail[];

  constructor(error: DaemonError, details: readonly Detail[]) {
    super(error.kind, error.message, { code: error.code, cause: error });
    this.details = details;
  }
}

/** The value of `grpc-status-details-bin`. */
export const encodeDetails = (code: number, { message, details }: DetailedError): string =>
  Buffer.from(toBinary(StatusSchema, create(StatusSchema, { code, message, details: [...details] }))).toString(
    'base64',
  );

/** None where they cannot be read: the message is there without them. */
export function decodeDetails(base64: unknown): Detail[] {
  if (typeof base64 !== 'string') return [];
  try {
    return fromBinary(StatusSchema, Buffer.from(base64, 'base64')).details;
  } catch {
    return [];
  }
}

/** `code` of the error is `grpc-<n>`. */
export function errorOf(code: number, message: string, details: readonly Detail[] = []): DaemonError {
  const text = message || `gRPC status ${code}`;
  const error = new DaemonError(KINDS.get(code) ?? 'internal', text, { code: `grpc-${code}` });
  return details.length ? new DetailedError(error, details) : error;
}

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
