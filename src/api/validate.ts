/** Checks documents against the JSON Schemas of schemas/json. A schema is read when it is first needed. */
import { invalid } from '../errors.ts';
import { schemas, type Documents, type SchemaName } from '../generated/schemas.ts';
import { mismatch, type Schema } from './schema.ts';

export type { Documents, SchemaName };

const read = new Map<SchemaName, Schema>();

function schemaOf(name: SchemaName): Schema {
  let schema = read.get(name);
  if (!schema) read.set(name, (schema = JSON.parse(schemas[name]) as Schema));
  return schema;
}

/** Schemas refer to each other by file name. */
const resolve = (reference: string): Schema => schemaOf(reference.replace(/\.json$/, '') as SchemaName);

/** Throws invalid with the path of the first value that does not fit: "invalid JSON: HostConfig.Memory must be integer". */
export function check<N extends SchemaName>(name: N, document: unknown): asserts document is Documents[N] {
  const found = mismatch(schemaOf(name), document, resolve);
  if (found) throw invalid(`invalid JSON: ${found.path.join('.') || 'the document'} ${found.reason}`);
}
