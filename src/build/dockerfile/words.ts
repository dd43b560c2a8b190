/**
 * Words of a Dockerfile: splitting at blanks outside quotes, quote removal and variable expansion. Follows the Dockerfile
 * reference, "Environment replacement"; everything here is pure.
 */
import { invalid } from '../../errors.ts';
import { shellGlob } from '../glob.ts';

/** Answers the value of a variable, or undefined when it is not set. */
export type Lookup = (name: string) => string | undefined;

/** Splits at blanks outside quotes; quotes and escapes stay in the words. */
export function splitWords(text: string, escape: string): string[] {
  const words: string[] = [];
  let word = '';
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (char === escape && quote !== "'" && i + 1 < text.length) {
      word += char + text[++i]!;
    } else if (quote) {
      word += char;
      if (char === quote) quote = '';
    } else if (/\s/.test(char)) {
      if (word) words.push(word);
      word = '';
    } else {
      if (char === '"' || char === "'") quote = char;
      word += char;
    }
  }
  if (word) words.push(word);
  return words;
}

function trimPrefix(value: string, pattern: string, longest: boolean): string {
  const chars = [...value];
  const cut = shellGlob(pattern)
    .lengths(chars)
    .at(longest ? -1 : 0);
  return cut === undefined ? value : chars.slice(cut).join('');
}

function trimSuffix(value: string, pattern: string, longest: boolean): string {
  const glob = shellGlob(pattern);
  const chars = [...value];
  const starts = Array.from({ length: chars.length + 1 }, (_, i) => (longest ? i : chars.length - i));
  const cut = starts.find((start) => glob.lengths(chars.slice(start)).at(-1) === chars.length - start);
  return cut === undefined ? value : chars.slice(0, cut).join('');
}

/** Leftmost and longest matches; an empty one is replaced once, at the start. */
function replacePattern(value: string, pattern: string, replacement: string, all: boolean): string {
  if (!pattern) return value;
  const glob = shellGlob(pattern);
  const chars = [...value];
  let out = '';
  for (let at = 0; at < chars.length;) {
    const length = glob.lengths(chars.slice(at)).at(-1) ?? 0;
    if (!length) {
      out += chars[at++]!;
      continue;
    }
    out += replacement;
    at += length;
    if (!all) return out + chars.slice(at).join('');
  }
  return out;
}

const NAME_START = /[A-Za-z_]/;
const NAME_CHAR = /[A-Za-z0-9_]/;
/** What nobody writes would overflow the stack. */
const DEEPEST = 100;

/** One pass over a text; `keepQuotes` leaves quotes and escapes as they are (heredoc bodies, raw values). */
class Expander {
  #text: string;
  #at = 0;
  #escape: string;
  #lookup: Lookup;
  #depth = 0;
  /** Told of each variable that nothing is said of for the case that it is not set. */
  onPlain: (name: string) => void = () => {};
  /** Where words may be split: [start, end) of unquoted text in the output, collected for `expandToWords`. */
  readonly parts: { text: string; quoted: boolean }[] = [];

  constructor(text: string, escape: string, lookup: Lookup) {
    this.#text = text;
    this.#escape = escape;
    this.#lookup = lookup;
  }

  #fail(what: string): never {
    throw invalid(`failed to process "${this.#text}": ${what}`);
  }

  /** Reads until `stop` (unquoted) or the end. */
  read(stop: string): string {
    let out = '';
    const emit = (text: string, quoted: boolean): void => {
      out += text;
      if (!stop) this.parts.push({ text, quoted });
    };
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at]!;
      if (stop && stop.includes(char)) return out;
      if (char === "'") emit(this.#single(), true);
      else if (char === '"') emit(this.#double(), true);
      else if (char === '$') emit(this.#variable(), false);
      else if (char === this.#escape) {
        this.#at++;
        if (this.#at < this.#text.length) emit(this.#text[this.#at++]!, true);
      } else {
        this.#at++;
        emit(char, false);
      }
    }
    if (stop) this.#fail('unexpected end of statement while looking for matching brace');
    return out;
  }

  /** Expands variables only. */
  readRaw(): string {
    let out = '';
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at]!;
      if (char === this.#escape && '$\\'.includes(this.#text[this.#at + 1] ?? ' ')) {
        out += this.#text[this.#at + 1]!;
        this.#at += 2;
      } else if (char === '$') out += this.#variable();
      else {
        out += char;
        this.#at++;
      }
    }
    return out;
  }

  #single(): string {
    const end = this.#text.indexOf("'", this.#at + 1);
    if (end < 0) this.#fail('unexpected end of statement while looking for matching single-quote');
    const out = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return out;
  }

  #double(): string {
    let out = '';
    this.#at++;
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at]!;
      if (char === '"') {
        this.#at++;
        return out;
      }
      if (char === '$') out += this.#variable();
      else if (char === this.#escape) {
        const next = this.#text[this.#at + 1];
        if (next === undefined) this.#fail('unexpected end of statement while looking for matching double-quote');
        out += next === '"' || next === '$' || next === this.#escape ? next : char + next;
        this.#at += 2;
      } else {
        out += char;
        this.#at++;
      }
    }
    return this.#fail('unexpected end of statement while looking for matching double-quote');
  }

  #name(): string {
    const start = this.#at;
    const first = this.#text[start] ?? '';
    if (/[0-9@*#]/.test(first)) return this.#text.slice(start, ++this.#at);
    if (!NAME_START.test(first)) return '';
    while (NAME_CHAR.test(this.#text[this.#at] ?? '')) this.#at++;
    return this.#text.slice(start, this.#at);
  }

  /** Defaults hold variables, whose defaults hold variables. */
  #variable(): string {
    if (++this.#depth > DEEPEST) this.#fail('variables are nested too deeply');
    try {
      return this.#dollar();
    } finally {
      this.#depth--;
    }
  }

  #dollar(): string {
    this.#at++;
    if (this.#text[this.#at] !== '{') {
      const name = this.#name();
      if (name) this.onPlain(name);
      return name ? (this.#lookup(name) ?? '') : '$';
    }
    this.#at++;
    const name = this.#name();
    if (!name) this.#fail('bad substitution');
    const value = this.#braced(name);
    if (this.#text[this.#at] !== '}') this.#fail('syntax error: missing }');
    this.#at++;
    return value;
  }

  /** After `${name`, up to the closing brace. */
  #braced(name: string): string {
    const value = this.#lookup(name);
    const char = this.#text[this.#at];
    if (char !== undefined && '}#%/'.includes(char)) this.onPlain(name);
    switch (char) {
      case undefined:
        return this.#fail('syntax error: missing }');
      case '}':
        return value ?? '';
      case ':':
      case '+':
      case '-':
      case '?':
        return this.#default(name, value);
      case '#':
      case '%': {
        const longest = this.#text[this.#at + 1] === char;
        this.#at += longest ? 2 : 1;
        const pattern = this.#pattern('}');
        return (char === '#' ? trimPrefix : trimSuffix)(value ?? '', pattern, longest);
      }
      case '/': {
        const all = this.#text[this.#at + 1] === '/';
        this.#at += all ? 2 : 1;
        const pattern = this.#pattern('/}');
        if (this.#text[this.#at] === '/') this.#at++;
        return replacePattern(value ?? '', pattern, this.read('}'), all);
      }
      default:
        return this.#fail(`unsupported modifier (${char}) in substitution`);
    }
  }

  /** A pattern keeps its escapes, so that `\*` stays a star; variables in it are expanded. */
  #pattern(stop: string): string {
    let out = '';
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at]!;
      if (stop.includes(char)) return out;
      if (char === '\\' || char === this.#escape) {
        out += `\\${this.#text[this.#at + 1] ?? ''}`;
        this.#at += 2;
      } else if (char === '$') out += this.#variable();
      else if (char === '"') out += this.#double();
      else if (char === "'") out += this.#single();
      else {
        out += char;
        this.#at++;
      }
    }
    return this.#fail('unexpected end of statement while looking for matching brace');
  }

  #default(name: string, value: string | undefined): string {
    const colon = this.#text[this.#at] === ':';
    if (colon) this.#at++;
    const operator = this.#text[this.#at] ?? '';
    if (!'+-?'.includes(operator) || !operator) this.#fail(`unsupported modifier (${operator}) in substitution`);
    this.#at++;
    const word = this.read('}');
    const set = colon ? !!value : value !== undefined;
    if (operator === '+') return set ? word : '';
    if (operator === '-') return set ? value! : word;
    if (set) return value!;
    return this.#fail(`${name}: ${word || 'not allowed to be unset'}`);
  }
}

/** Names of the variables that a text needs to be set. Nothing for a text that cannot be read. */
export function variablesIn(text: string, escape: string): string[] {
  const names = new Set<string>();
  const expander = new Expander(text, escape, () => '');
  expander.onPlain = (name) => names.add(name);
  try {
    expander.read('');
  } catch {
    return [];
  }
  return [...names];
}

/** Expands variables and removes quotes: the text stays one word. */
export function expandWord(text: string, escape: string, lookup: Lookup): string {
  return new Expander(text, escape, lookup).read('');
}

/** Expands variables in a text that keeps its quotes, such as a heredoc's body. */
export function expandText(text: string, escape: string, lookup: Lookup): string {
  return new Expander(text, escape, lookup).readRaw();
}

/** Like expandWord, then splits at blanks that were not quoted. */
export function expandToWords(text: string, escape: string, lookup: Lookup): string[] {
  const expander = new Expander(text, escape, lookup);
  expander.read('');
  const words: string[] = [];
  let word: string | undefined;
  for (const { text: part, quoted } of expander.parts) {
    if (quoted) {
      word = (word ?? '') + part;
      continue;
    }
    for (const char of part) {
      if (/\s/.test(char)) {
        if (word !== undefined) words.push(word);
        word = undefined;
      } else word = (word ?? '') + char;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}
