/** Flags of instructions (`--from=x`) and the JSON form of their arguments. */
import { parseError, suggestion } from './errors.ts';
import type { Line } from './lines.ts';

type FlagKind = 'text' | 'boolean' | 'list';

const FLAGS: Partial<Record<string, Record<string, FlagKind>>> = {
  FROM: { platform: 'text' },
  RUN: { mount: 'list', network: 'text', security: 'text', device: 'list' },
  COPY: { from: 'text', chown: 'text', chmod: 'text', link: 'boolean', parents: 'boolean', exclude: 'list' },
  ADD: {
    chown: 'text', chmod: 'text', link: 'boolean', exclude: 'list', 'keep-git-dir': 'boolean', checksum: 'text', unpack: 'boolean',
  }, // prettier-ignore
  HEALTHCHECK: {
    interval: 'text', timeout: 'text', 'start-period': 'text', 'start-interval': 'text', retries: 'text',
  }, // prettier-ignore
};

/** The flags of an instruction by name; what is not allowed is refused with the nearest name that is. */
export class Flags {
  #values = new Map<string, string[]>();

  constructor(line: Line, keyword: string) {
    const allowed = FLAGS[keyword] ?? {};
    for (const word of line.flags) {
      const [, name, , value] = /^--([^=]*)(=([\s\S]*))?$/.exec(word)!;
      const kind = allowed[name!];
      if (!kind) throw parseError(line.start, `unknown flag: --${name}${suggestion(name!, Object.keys(allowed))}`);
      const given = this.#values.get(name!);
      if (given && kind !== 'list') throw parseError(line.start, `duplicate flag specified: ${name}`);
      if (value === undefined && kind !== 'boolean') throw parseError(line.start, `missing a value on flag: ${name}`);
      if (kind === 'boolean' && value !== undefined && value !== 'true' && value !== 'false')
        throw parseError(line.start, `expecting boolean value for flag ${name}, not: ${value}`);
      const text = (value ?? 'true').replace(/^(["'])([\s\S]*)\1$/, '$2');
      this.#values.set(name!, [...(given ?? []), text]);
    }
  }

  text(name: string): string | undefined {
    return this.#values.get(name)?.[0];
  }

  list(name: string): string[] {
    return this.#values.get(name) ?? [];
  }

  is(name: string): boolean {
    return this.text(name) === 'true';
  }

  /** For flags whose absence differs from false. */
  maybe(name: string): boolean | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : text === 'true';
  }
}

/** A JSON array of strings, or undefined when the text is anything else. */
export function jsonWords(text: string): string[] | undefined {
  if (!text.startsWith('[')) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((word) => typeof word === 'string') ? value : undefined;
  } catch {
    return undefined;
  }
}
