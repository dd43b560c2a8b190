/** What route files use to read requests and answer them. Routes are written without the version prefix. */
import { DaemonError, invalid } from '../errors.ts';
import type { RegistryAuth } from '../image/port.ts';
import type { ApiContext } from './context.ts';
import { type Filters, parseFilters } from './filters.ts';
import { type AnswerOptions, streamAnswer } from './stream.ts';

export { bodyStream, jsonBody } from './body.ts';
export { setHeader } from './connection.ts';
export type { Api, ApiContext, ApiEnv, ApiVariables } from './context.ts';
export { type Filters, matchesLabels } from './filters.ts';
export { hijack } from './hijack.ts';
export { frame, MULTIPLEXED, RAW_STREAM } from './stream.ts';
export { websocket } from './websocket.ts';

const FALSE_TEXTS = new Set(['', '0', 'no', 'false', 'none']);

/** A boolean as dockerd reads it: only "", 0, no, false and none are false. */
export function flag(c: ApiContext, name: string, fallback = false): boolean {
  const value = c.req.query(name);
  return value === undefined ? fallback : !FALSE_TEXTS.has(value.trim().toLowerCase());
}

/** The parameter as it is; undefined when missing or empty. */
export function text(c: ApiContext, name: string): string | undefined {
  return c.req.query(name) || undefined;
}

/** Throws invalid on what is no whole number. */
export function integer(c: ApiContext, name: string): number | undefined {
  const value = text(c, name);
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!/^[+-]?\d+$/.test(value) || !Number.isSafeInteger(number))
    throw invalid(`invalid value "${value}" for parameter ${name}: it must be a whole number`);
  return number;
}

/** A time as `since` and `until` have it, "seconds[.fraction]" or RFC 3339: nanoseconds since the epoch. */
export function timestamp(c: ApiContext, name: string): bigint | undefined {
  const value = text(c, name);
  if (value === undefined) return undefined;
  const unix = /^(-?)(\d{1,11})(?:\.(\d{1,9})\d*)?$/.exec(value);
  if (unix) {
    const nano = BigInt(unix[2]!) * 1_000_000_000n + BigInt((unix[3] ?? '').padEnd(9, '0'));
    return unix[1] ? -nano : nano;
  }
  const date = /^\d{4}-\d{2}-\d{2}/.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(date)) throw invalid(`invalid value "${value}" for parameter ${name}: it must be a timestamp`);
  return BigInt(date) * 1_000_000n;
}

export const filtersOf = (c: ApiContext, allowed: readonly string[]): Filters =>
  parseFilters(text(c, 'filters'), allowed);

export const isHead = (c: ApiContext): boolean => c.req.method === 'HEAD';

const versionNumber = (version: string): number => {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major * 1000 + minor;
};

/** Compares API versions as "1.44". */
export const compareVersions = (a: string, b: string): number => versionNumber(a) - versionNumber(b);

export const atLeast = (c: ApiContext, version: string): boolean => compareVersions(c.get('apiVersion'), version) >= 0;

/** X-Registry-Auth: base64url JSON. The message never repeats the header. */
export function registryAuth(c: ApiContext): RegistryAuth | undefined {
  const header = c.req.header('x-registry-auth');
  if (!header) return undefined;
  try {
    const auth = JSON.parse(Buffer.from(header, 'base64url').toString('utf8')) as unknown;
    if (typeof auth !== 'object' || Array.isArray(auth)) throw new Error('not an object');
    return (auth as RegistryAuth | null) ?? undefined;
  } catch {
    throw invalid('invalid X-Registry-Auth header: it must be base64url-encoded JSON');
  }
}

export const noContent = (c: ApiContext): Response => c.body(null, 204);

/** dockerd's line for an error that comes when the answer has begun. */
export const errorLine = (error: unknown): { errorDetail: { message: string }; error: string } => {
  const message = error instanceof Error ? error.message : String(error);
  return { errorDetail: { message }, error: message };
};

/**
 * JSON lines as they come (a list is a line for each), with `\r\n` (what Docker's progress readers know) unless told. A failing source ends the answer
 * with an error line of theirs. A source that waits long should also end on `c.get('gone')`: a generator that is stuck
 * in an await cannot be returned from outside.
 */
export function jsonStream(
  c: ApiContext,
  source: AsyncIterable<object | object[]>,
  options: { separator?: string } = {},
): Response | Promise<Response> {
  const separator = options.separator ?? '\r\n';
  const line = (item: object): string => JSON.stringify(item) + separator;
  const lines = (items: object | object[]): string => (Array.isArray(items) ? items.map(line).join('') : line(items));
  return streamAnswer(c, mapped(source, lines), 'application/json', { lastWords: (error) => line(errorLine(error)) });
}

/** Unlike a generator around it, this passes `return` on while an item is awaited. */
function mapped<A, B>(source: AsyncIterable<A>, map: (item: A) => B): AsyncIterable<B> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = source[Symbol.asyncIterator]();
      return {
        async next() {
          const item = await iterator.next();
          return item.done ? { done: true, value: undefined } : { done: false, value: map(item.value) };
        },
        async return() {
          await iterator.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}

/** Bytes as they come; a failing source cuts the connection. */
export const byteStream = (
  c: ApiContext,
  source: AsyncIterable<Uint8Array>,
  contentType: string,
  options: Pick<AnswerOptions, 'own'> = {},
): Response | Promise<Response> => streamAnswer(c, source, contentType, options);

/** Where dockerd answers only up to some version. */
export const pageNotFound = (): DaemonError => new DaemonError('notFound', 'page not found');
