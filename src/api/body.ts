/** Request bodies: as a stream, and as JSON that was checked before anybody believes it. */
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { invalid } from '../errors.ts';
import { capturedBodies, incomingOf, requestKey } from './connection.ts';
import type { ApiContext } from './context.ts';
import { check, type Documents, type SchemaName } from './validate.ts';

/** No document of the API comes near it; archives are streams and have no limit here. */
const LARGEST_JSON = 16 << 20;

/** The raw request body, each chunk the reader's own. Reads as empty when there is none. */
export function bodyStream(c: ApiContext): Readable {
  const captured = capturedBodies.get(requestKey(c));
  if (captured) return Readable.from(captured.length ? [Uint8Array.from(captured)] : []);
  const incoming = incomingOf(c);
  if (incoming) return incoming;
  return c.req.raw.body ? Readable.fromWeb(c.req.raw.body as ReadableStream) : Readable.from([]);
}

/** The whole body, up to `limit` bytes; undefined when it is longer. */
export async function readBody(c: ApiContext, limit: number): Promise<Buffer | undefined> {
  const captured = capturedBodies.get(requestKey(c));
  if (captured) return captured.length <= limit ? captured : undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of bodyStream(c)) {
    size += (chunk as Buffer).length;
    if (size > limit) return undefined;
    chunks.push(Buffer.from(chunk as Uint8Array));
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

/**
 * The JSON body, checked against the named schema. Unknown fields are kept. Throws invalid on another Content-Type, on bad
 * JSON, on anything after the document, and on a value the schema refuses; `optional` answers undefined for no body.
 */
export async function jsonBody<N extends SchemaName>(c: ApiContext, schema: N): Promise<Documents[N]>;
export async function jsonBody<N extends SchemaName>(
  c: ApiContext,
  schema: N,
  options: { optional: true },
): Promise<Documents[N] | undefined>;
export async function jsonBody<T>(c: ApiContext, schema?: SchemaName): Promise<T>;
export async function jsonBody<T>(
  c: ApiContext,
  schema: SchemaName | undefined,
  options: { optional: true },
): Promise<T | undefined>;
export async function jsonBody(
  c: ApiContext,
  schema?: SchemaName,
  options: { optional?: boolean } = {},
): Promise<unknown> {
  const type = c.req.header('content-type');
  if (type !== undefined || !options.optional) checkJsonType(type);
  const bytes = await readBody(c, LARGEST_JSON);
  if (!bytes) throw invalid(`invalid JSON: the request body is larger than ${LARGEST_JSON} bytes`);
  if (bytes.length === 0) {
    if (options.optional) return undefined;
    throw invalid('invalid JSON: got EOF while reading request body');
  }
  if (type === undefined) checkJsonType(type);
  // Go's decoder takes null for nothing, and old clients send it for a body they have no need of.
  if (isTooDeep(bytes)) throw invalid('invalid JSON: exceeded max depth');
  const document = parseJson(bytes.toString('utf8')) ?? {};
  if (schema) check(schema, document);
  return document;
}

function checkJsonType(type: string | undefined): void {
  const media = (type ?? '').split(';', 1)[0]!.trim().toLowerCase();
  if (media !== 'application/json')
    throw invalid(`unsupported Content-Type header (${type ?? ''}): must be 'application/json'`);
}

/** No document of the API comes near it; what is deeper could be parsed, but not written again without overflowing the stack. */
const DEEPEST = 500;

function isTooDeep(bytes: Buffer): boolean {
  let depth = 0;
  let isText = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (isText) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) isText = false;
    } else if (byte === QUOTE) isText = true;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      if (++depth > DEEPEST) return true;
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth--;
  }
  return false;
}

const [QUOTE, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [...Buffer.from('"\\[]{}')];

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const reason = (error as Error).message;
    // V8's words for a document that was complete before the text was.
    if (reason.startsWith('Unexpected non-whitespace character after JSON'))
      throw invalid('unexpected content after JSON', { cause: error });
    throw invalid(`invalid JSON: ${reason}`, { cause: error });
  }
}
