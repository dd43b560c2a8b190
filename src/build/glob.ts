/**
 * Patterns with wildcards, matched by walking all possibilities at once: time grows with pattern × text, never more. As regular
 * expressions that backtrack, a Dockerfile's `*a*a*a…` could hold up the daemon for ever. Pure.
 */

type Token =
  | { kind: 'one'; accepts: (char: string) => boolean }
  /** Any number of what it accepts. */
  | { kind: 'many'; accepts: (char: string) => boolean }
  /** Nothing, or anything that ends with a slash. */
  | { kind: 'directories' };

const anything = (): boolean => true;
const withinName = (char: string): boolean => char !== '/';

export class Glob {
  readonly #tokens: readonly Token[];

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  test(text: string): boolean {
    return this.lengths([...text]).at(-1) === [...text].length;
  }

  /** How many of the characters, counted from the first, match as a whole: ascending. */
  lengths(chars: readonly string[]): number[] {
    const found: number[] = [];
    const last = this.#tokens.length;
    /** Two places a token: before it, and inside a run of directories. */
    let places = new Uint8Array(2 * last + 1);
    this.#enter(places, 0);
    for (let at = 0; ; at++) {
      if (places[2 * last]) found.push(at);
      if (at === chars.length) return found;
      const next = new Uint8Array(2 * last + 1);
      for (let place = 0; place < 2 * last; place++) if (places[place]) this.#step(next, place, chars[at]!);
      places = next;
    }
  }

  #enter(places: Uint8Array, index: number): void {
    for (let i = index; ; i++) {
      places[2 * i] = 1;
      const token = this.#tokens[i];
      if (!token || token.kind === 'one') return;
    }
  }

  #step(next: Uint8Array, place: number, char: string): void {
    const index = place >> 1;
    const token = this.#tokens[index]!;
    if (token.kind === 'directories') {
      next[2 * index + 1] = 1;
      if (char === '/') this.#enter(next, index + 1);
    } else if (token.accepts(char)) this.#enter(next, token.kind === 'many' ? index : index + 1);
  }
}

const exactly = (wanted: string): Token => ({ kind: 'one', accepts: (char) => char === wanted });

/** `*`, `?` and `\x` over any text, as a shell has them in `${x#pattern}`. */
export function shellGlob(pattern: string): Glob {
  const chars = [...pattern];
  const tokens: Token[] = [];
  for (let i = 0; i < chars.length; i++) {
    const char = chars[i]!;
    if (char === '*') tokens.push({ kind: 'many', accepts: anything });
    else if (char === '?') tokens.push({ kind: 'one', accepts: anything });
    else tokens.push(exactly(char === '\\' && i + 1 < chars.length ? chars[++i]! : char));
  }
  return new Glob(tokens);
}

/** `a/*`, `**`, `?`, `[a-z]` and `\x` over paths; undefined for a bracket that does not make sense. */
export function pathGlob(pattern: string): Glob | undefined {
  const chars = [...pattern];
  const tokens: Token[] = [];
  for (let i = 0; i < chars.length; i++) {
    const char = chars[i]!;
    if (char === '*' && chars[i + 1] === '*') {
      i++;
      if (chars[i + 1] === '/') {
        i++;
        tokens.push({ kind: 'directories' });
      } else tokens.push({ kind: 'many', accepts: anything });
    } else if (char === '*') tokens.push({ kind: 'many', accepts: withinName });
    else if (char === '?') tokens.push({ kind: 'one', accepts: withinName });
    else if (char === '[') {
      const end = chars.indexOf(']', i + 2);
      const accepts = end < 0 ? undefined : bracket(chars.slice(i + 1, end));
      if (!accepts) return undefined;
      tokens.push({ kind: 'one', accepts });
      i = end;
    } else tokens.push(exactly(char === '\\' && i + 1 < chars.length ? chars[++i]! : char));
  }
  return new Glob(tokens);
}

/** The inside of `[…]`: characters and ranges, all others after `^`. */
function bracket(chars: readonly string[]): ((char: string) => boolean) | undefined {
  const negated = chars[0] === '^';
  const ranges: [from: number, to: number][] = [];
  const code = (char: string | undefined): number => char?.codePointAt(0) ?? 0;
  for (let i = negated ? 1 : 0; i < chars.length; i++) {
    const from = code(chars[i]);
    const isRange = chars[i + 1] === '-' && i + 2 < chars.length;
    const to = isRange ? code(chars[i + 2]) : from;
    if (to < from) return undefined;
    if (isRange) i += 2;
    ranges.push([from, to]);
  }
  if (!ranges.length) return undefined;
  return (char) => ranges.some(([from, to]) => code(char) >= from && code(char) <= to) !== negated;
}
