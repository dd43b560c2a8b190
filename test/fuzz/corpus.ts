/** Inputs that once did harm, as JSON with bytes in base64: corpus/<target>-<hash>.json. They are tried before anything new. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = join(import.meta.dirname, 'corpus');

export function encodeInput(input: unknown): string {
  return JSON.stringify(input, function (this: Record<string, unknown>, key, value: unknown) {
    const original = this[key];
    return original instanceof Uint8Array ? { $bytes: Buffer.from(original).toString('base64') } : value;
  });
}

export const decodeInput = (text: string): unknown =>
  JSON.parse(text, (_, value: unknown) => {
    const bytes = typeof value === 'object' && value !== null ? (value as { $bytes?: unknown }).$bytes : undefined;
    return typeof bytes === 'string' ? Buffer.from(bytes, 'base64') : value;
  });

export function keep(target: string, input: string): string {
  const name = `${target}-${createHash('sha256').update(input).digest('hex').slice(0, 12)}.json`;
  writeFileSync(join(directory, name), `${input}\n`);
  return name;
}

export function kept(): { target: string; name: string; input: unknown }[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => ({
      target: name.replace(/-[0-9a-f]{12}\.json$/, ''),
      name,
      input: decodeInput(readFileSync(join(directory, name), 'utf8')),
    }));
}
