/** From bytes to instructions as written: parser directives, comments, line continuation and heredocs. Pure. */
import { parseError } from './errors.ts';
import { splitWords } from './words.ts';

export interface Heredoc {
  name: string;
  content: string;
  /** The delimiter was not quoted: variables in the body are expanded. */
  expand: boolean;
  /** `<<-`: leading tabs were taken off. */
  chomp: boolean;
}

/** One instruction, its continuation lines joined. */
export interface Line {
  /** First and last line, counted from 1. */
  start: number;
  end: number;
  keyword: string;
  /** What follows the keyword and its flags, blanks at both ends taken off. */
  rest: string;
  /** Words that begin with `--`, in order. */
  flags: string[];
  heredocs: Heredoc[];
  /** The instruction as one line, without its heredocs. */
  original: string;
}

export interface Directives {
  syntax?: string;
  check?: string;
  escape: string;
}

const DIRECTIVE = /^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$/;
const HEREDOC = /^(\d*)<<(-?)([^<]+)$/;
const TAKES_HEREDOC = new Set(['run', 'copy', 'add']);

/** Directives stand at the top, before any comment, blank line or instruction. */
export function readDirectives(lines: readonly string[]): Directives {
  const found: Directives = { escape: '\\' };
  const seen = new Set<string>();
  for (const [index, line] of lines.entries()) {
    if (index === 0 && line.startsWith('#!')) continue;
    const match = DIRECTIVE.exec(line);
    const name = match?.[1]!.toLowerCase();
    if (!match || (name !== 'syntax' && name !== 'escape' && name !== 'check')) break;
    if (seen.has(name)) throw parseError(index + 1, `only one ${name} parser directive can be used`);
    seen.add(name);
    const value = match[2]!;
    if (name === 'escape' && value !== '\\' && value !== '`')
      throw parseError(index + 1, `invalid escape token '${value}' does not match \` or \\`);
    found[name] = value;
  }
  return found;
}

/** The flags before the arguments, and what is left. */
function takeFlags(rest: string, escape: string): { flags: string[]; rest: string } {
  const flags: string[] = [];
  let left = rest.trimStart();
  while (left.startsWith('--')) {
    const word = splitWords(left, escape)[0]!;
    left = left.slice(word.length).trimStart();
    if (word === '--') break;
    flags.push(word);
  }
  return { flags, rest: left.trimEnd() };
}

/** Heredocs opened by the words of an instruction; a body follows for each of them. */
function heredocsOf(rest: string, escape: string): Heredoc[] {
  if (!rest.includes('<<') || rest.startsWith('[')) return [];
  const found: Heredoc[] = [];
  for (const word of splitWords(rest, escape)) {
    const match = HEREDOC.exec(word);
    if (!match) continue;
    const raw = match[3]!;
    const name = raw.replace(/^(["'])(.*)\1$/, '$2');
    if (!/^[^\s"'<>|&;()]+$/.test(name)) continue;
    found.push({ name, content: '', expand: raw === name, chomp: match[2] === '-' });
  }
  return found;
}

const isComment = (line: string): boolean => /^\s*#/.test(line);

class Reader {
  #lines: readonly string[];
  #at = 0;
  #escape: string;
  #continued: RegExp;

  constructor(lines: readonly string[], escape: string) {
    this.#lines = lines;
    this.#escape = escape;
    this.#continued = escape === '`' ? /(^|[^`])`[ \t]*$/ : /(^|[^\\])\\[ \t]*$/;
  }

  *instructions(): Generator<Line> {
    while (this.#at < this.#lines.length) {
      const line = this.#lines[this.#at]!;
      if (line.trim() === '' || isComment(line)) this.#at++;
      else yield this.#instruction();
    }
  }

  #joined(): string {
    const parts: string[] = [];
    let line = this.#lines[this.#at++]!.trimStart();
    while (this.#continued.test(line)) {
      parts.push(line.replace(this.#continued, '$1'));
      line = '';
      while (this.#at < this.#lines.length && (isComment(this.#lines[this.#at]!) || !this.#lines[this.#at]!.trim()))
        this.#at++;
      if (this.#at >= this.#lines.length) break;
      line = this.#lines[this.#at++]!;
    }
    return [...parts, line].join('').trimEnd();
  }

  #instruction(): Line {
    const start = this.#at + 1;
    const original = this.#joined();
    const [, keyword, after] = /^(\S+)\s*([\s\S]*)$/.exec(original) ?? [];
    // Nothing but an escape at the end of the file.
    if (keyword === undefined) throw parseError(start, 'unexpected end of the file after a line continuation');
    const lower = keyword!.toLowerCase();
    const { flags, rest } = takeFlags(after!, this.#escape);
    // ONBUILD hands its heredocs on to the instruction it holds.
    const inner = lower === 'onbuild' ? (/^\S+/.exec(rest)?.[0].toLowerCase() ?? '') : lower;
    const heredocs = TAKES_HEREDOC.has(inner) ? heredocsOf(rest, this.#escape) : [];
    for (const heredoc of heredocs) this.#body(heredoc, start);
    return { start, end: this.#at, keyword: keyword!, rest, flags, heredocs, original };
  }

  #body(heredoc: Heredoc, start: number): void {
    const body: string[] = [];
    for (;;) {
      const line = this.#lines[this.#at++];
      if (line === undefined) throw parseError(start, `unterminated heredoc ${heredoc.name}`);
      const text = heredoc.chomp ? line.replace(/^\t+/, '') : line;
      if (text === heredoc.name) break;
      body.push(`${text}\n`);
    }
    heredoc.content = body.join('');
  }
}

export function readLines(text: string): { directives: Directives; lines: Line[] } {
  const source = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  const directives = readDirectives(source);
  return { directives, lines: [...new Reader(source, directives.escape).instructions()] };
}
