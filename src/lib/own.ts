/** Looks a stranger's word up in a table of ours; never finds what every object inherits (`constructor`, `__proto__` …). */
export const own = <T>(table: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined;
