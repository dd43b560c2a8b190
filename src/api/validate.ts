/** Checks documents against the JSON Schemas of schemas/json. A schema is compiled when it is first needed. */
import { Ajv2020 as Ajv } from 'ajv/dist/2020.js';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { invalid } from '../errors.ts';
import { schemas, type Documents, type SchemaName } from '../generated/schemas.ts';

export type { Documents, SchemaName };

let ajv: Ajv | undefined;
const validators = new Map<SchemaName, ValidateFunction>();

function validatorOf(name: SchemaName): ValidateFunction {
  let validator = validators.get(name);
  if (validator) return validator;
  if (!ajv) {
    ajv = new Ajv({ allErrors: false, strict: false, validateFormats: false });
    // Schemas refer to each other by file name, so all are known before one is compiled.
    for (const [file, text] of Object.entries(schemas)) {
      const { $schema: _, $id: __, ...schema } = JSON.parse(text, withinInt64) as Record<string, unknown>;
      ajv.addSchema(schema, `${file}.json`);
    }
  }
  validator = ajv.getSchema(`${name}.json`)!;
  validators.set(name, validator);
  return validator;
}

/** Integers of the API are 64 bits wide; what is larger would be refused only by the runtime, or wrap. */
function withinInt64(_key: string, value: unknown): unknown {
  const { type } = (value ?? {}) as { type?: unknown };
  const isInteger = type === 'integer' || (Array.isArray(type) && type.includes('integer'));
  return isInteger ? { minimum: -(2 ** 63), maximum: 2 ** 63, ...(value as object) } : value;
}

/** Throws invalid with the path of the first value that does not fit. */
export function check<N extends SchemaName>(name: N, document: unknown): asserts document is Documents[N] {
  const validator = validatorOf(name);
  if (!validator(document)) throw invalid(`invalid JSON: ${describe(validator.errors?.[0])}`);
}

/** "HostConfig.Memory must be integer", or the same of the document itself. */
function describe(error: ErrorObject | undefined): string {
  if (!error) return 'the document does not fit its schema';
  const path = error.instancePath.slice(1).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~');
  const allowed = (error.params as { allowedValues?: unknown[] }).allowedValues;
  const what = `${error.message ?? 'is wrong'}${allowed ? ` (${allowed.join(', ')})` : ''}`;
  return path === '' ? `the document ${what}` : `${path} ${what}`;
}
