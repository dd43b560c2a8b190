/** What the text of a reference means: a full id, a name, or a unique prefix of an id, in dockerd's order. Pure. */
import { canonical, familiar, isDigest, parseReference, repositoryName, withDefaultTag } from '../reference.ts';

export interface Known {
  has(id: string): boolean;
  ids(): Iterable<string>;
  /** By canonical reference. */
  tag(reference: string): string | undefined;
  digest(reference: string): string | undefined;
}

/** The id, or undefined when there is no such image. Throws `invalid` for what is no reference at all. */
export function resolveReference(known: Known, reference: string): string | undefined {
  if (/^[0-9a-f]{64}$/.test(reference)) return resolveReference(known, `sha256:${reference}`);
  if (isDigest(reference)) return known.has(reference) ? reference : undefined;
  if (/^sha256:[0-9a-f]*$/.test(reference)) return byPrefix(known, reference);
  const parsed = parseReference(reference);
  const named = parsed.digest
    ? known.digest(`${repositoryName(parsed)}@${parsed.digest}`)
    : known.tag(canonical(withDefaultTag(parsed)));
  return named ?? (/^[0-9a-f]{1,64}$/.test(reference) ? byPrefix(known, `sha256:${reference}`) : undefined);
}

function byPrefix(known: Known, prefix: string): string | undefined {
  let found: string | undefined;
  for (const id of known.ids()) {
    if (!id.startsWith(prefix)) continue;
    if (found !== undefined) return undefined;
    found = id;
  }
  return found;
}

/** How dockerd names what it did not find. */
export function missingName(reference: string): string {
  if (reference.startsWith('sha256:')) return reference;
  if (/^[0-9a-f]{64}$/.test(reference)) return `sha256:${reference}`;
  return familiar(withDefaultTag(parseReference(reference)));
}
