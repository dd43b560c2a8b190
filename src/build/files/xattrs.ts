/** Extended attributes that a copy takes along, and that therefore tell one file from another. */

/** What is uploaded may bring capabilities and words of users, but nothing that the system itself reads. */
const UPLOADED = /^(user\.(?!overlay\.)|security\.capability$)/;
const OWNED = /^(?!trusted\.overlay\.|user\.overlay\.)/;

/** `owned`: the files are an image's, not a client's. In order of their names. */
export function carriedXattrs(all: ReadonlyMap<string, Buffer>, owned: boolean): [string, Buffer][] {
  const kept = owned ? OWNED : UPLOADED;
  return [...all].filter(([name]) => kept.test(name)).sort(([a], [b]) => (a < b ? -1 : 1));
}
