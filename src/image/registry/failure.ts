/** What goes wrong between us and a registry, and what is worth another try. Made into DaemonErrors by pull and push. */

/** The registry answered, and refused. */
export class RegistryRefusal extends Error {
  readonly status: number;
  /** As the distribution specification names it: "MANIFEST_UNKNOWN"; empty when the body said nothing. */
  readonly code: string;
  /** Milliseconds after which the registry wants to be asked again. */
  readonly retryAfter: number | undefined;

  constructor(status: number, code: string, message: string, retryAfter?: number) {
    super(message);
    this.name = 'RegistryRefusal';
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The answer is no answer of a registry, or not of the content asked for. Trying again does not help. */
export class BrokenAnswer extends Error {
  override name = 'BrokenAnswer';
}

/** The registry could not be talked to. */
export class ConnectionFailure extends Error {
  /** A new try may succeed: the connection broke or timed out, while one that is refused stays refused. */
  readonly transient: boolean;

  constructor(message: string, transient: boolean, cause: unknown) {
    super(message, { cause });
    this.name = 'ConnectionFailure';
    this.transient = transient;
  }
}

const TRANSIENT = new Set([
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'UND_ERR_SOCKET',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
]);

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connect: connection refused',
  ECONNRESET: 'connection reset by peer',
  ENOTFOUND: 'no such host',
  EHOSTUNREACH: 'connect: no route to host',
  ENETUNREACH: 'connect: network is unreachable',
  ERR_SSL_WRONG_VERSION_NUMBER: 'http: server gave HTTP response to HTTPS client',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'http: server gave HTTP response to HTTPS client',
  UND_ERR_BODY_TIMEOUT: 'the registry stopped sending',
  UND_ERR_HEADERS_TIMEOUT: 'net/http: timeout awaiting response headers',
  UND_ERR_CONNECT_TIMEOUT: 'dial tcp: i/o timeout',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'unexpected EOF',
  UND_ERR_SOCKET: 'unexpected EOF',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'tls: failed to verify certificate: x509: certificate signed by unknown authority',
  SELF_SIGNED_CERT_IN_CHAIN: 'tls: failed to verify certificate: x509: certificate signed by unknown authority',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'tls: failed to verify certificate: x509: certificate signed by unknown authority',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'tls: failed to verify certificate: x509: certificate signed by unknown authority',
  CERT_HAS_EXPIRED: 'tls: failed to verify certificate: x509: certificate has expired or is not yet valid',
};

/** Names what the network layer threw. `request` is like `Get "https://host/v2/"`. */
export function connectionFailure(request: string, thrown: unknown): ConnectionFailure {
  const error = thrown as { code?: string; message?: string; errors?: { code?: string; message?: string }[] };
  const first = error.errors?.[0] ?? error;
  const code = first.code ?? error.code ?? '';
  const words = WORDS[code] ?? (first.message || code || String(thrown));
  return new ConnectionFailure(`${request}: ${words}`, TRANSIENT.has(code), thrown);
}

/** 429 and the server's own troubles pass; everything else is an answer. */
export const isTransient = (error: unknown): boolean =>
  error instanceof RegistryRefusal
    ? error.status === 429 || error.status === 408 || (error.status >= 500 && error.status !== 501)
    : error instanceof ConnectionFailure && error.transient;

/** Retry-After (RFC 9110, 10.2.3) in milliseconds. */
export function retryAfter(header: unknown, now: number): number | undefined {
  if (typeof header !== 'string') return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}
