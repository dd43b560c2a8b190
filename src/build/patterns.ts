/** Path patterns: .dockerignore (with exceptions, `**` and parents) and the globs of COPY and ADD. Pure. */
import { posix } from 'node:path';
import { invalid } from '../errors.ts';
import { type Glob, pathGlob } from './glob.ts';

/** Errors: invalid for a bracket that does not make sense. */
export function compileGlob(pattern: string): Glob {
  const glob = pathGlob(pattern);
  if (!glob) throw invalid(`syntax error in pattern: ${pattern}`);
  return glob;
}

export const isGlob = (path: string): boolean => /[*?[]/.test(path.replace(/\\./g, ''));

/** The lines of a .dockerignore file that mean something, cleaned. */
export function readIgnoreFile(text: string): string[] {
  return text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .filter((line) => !line.startsWith('#'))
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => {
      const negated = line.startsWith('!');
      const path = posix
        .normalize((negated ? line.slice(1) : line).trim())
        .replace(/^\/+/, '')
        .replace(/\/+$/, '');
      return (negated ? '!' : '') + (path || '.');
    });
}

/** Decides which paths (relative, no leading slash) a list of patterns excludes. The last pattern that matches wins. */
export class PathMatcher {
  #rules: { negated: boolean; test: Glob; prefix: string }[];
  readonly hasExceptions: boolean;

  constructor(patterns: readonly string[]) {
    this.#rules = patterns.map((pattern) => {
      const negated = pattern.startsWith('!');
      const path = negated ? pattern.slice(1) : pattern;
      return { negated, test: compileGlob(path === '.' ? '**' : path), prefix: path };
    });
    this.hasExceptions = this.#rules.some((rule) => rule.negated);
  }

  get empty(): boolean {
    return this.#rules.length === 0;
  }

  /** A pattern that matches a directory matches all in it, unless a later exception matches. */
  matches(path: string): boolean {
    const parents: string[] = [];
    for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) parents.push(path.slice(0, at));
    let matched = false;
    for (const { negated, test } of this.#rules) {
      if (matched !== negated) continue;
      if (test.test(path) || parents.some((parent) => test.test(parent))) matched = !negated;
    }
    return matched;
  }

  /** An excluded directory must still be walked when an exception may lie in it. */
  mustWalk(directory: string): boolean {
    return this.#rules.some(
      ({ negated, prefix }) =>
        negated &&
        (isGlob(prefix) || `${prefix}/`.startsWith(`${directory}/`) || `${directory}/`.startsWith(`${prefix}/`)),
    );
  }
}
