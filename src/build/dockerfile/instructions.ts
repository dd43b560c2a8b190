/** One written instruction, checked and typed. Variables are expanded later, when the step's environment is known. */
import type { HealthConfig } from '../../image/port.ts';
import { parseError, suggestion } from './errors.ts';
import { Flags, jsonWords } from './flags.ts';
import { parseHealthcheck } from './healthcheck.ts';
import { type Heredoc, type Line, readLines } from './lines.ts';
import { splitWords } from './words.ts';

export interface Pair {
  key: string;
  value: string;
}

/** A command in shell form (run by the stage's SHELL) or in exec form. */
export type Command = { shell: string; heredocs: Heredoc[] } | { exec: string[] };

export interface Copy {
  sources: string[];
  heredocs: Heredoc[];
  dest: string;
  from?: string;
  chown?: string;
  chmod?: string;
  link: boolean;
  parents: boolean;
  excludes: string[];
  /** ADD only. */
  keepGitDir: boolean;
  checksum?: string;
  unpack?: boolean;
}

export type Body =
  | { kind: 'from'; image: string; platform?: string; name?: string }
  | { kind: 'arg'; args: { key: string; value?: string }[] }
  | { kind: 'env' | 'label'; pairs: Pair[] }
  | { kind: 'run'; command: Command; mounts: string[]; network?: string; security?: string; devices: string[] }
  | ({ kind: 'copy' | 'add' } & Copy)
  | { kind: 'cmd' | 'entrypoint'; command: Command }
  | { kind: 'expose' | 'volume'; words: string[] }
  | { kind: 'workdir' | 'user' | 'stopsignal' | 'maintainer'; text: string }
  | { kind: 'shell'; words: string[] }
  | { kind: 'healthcheck'; health: HealthConfig }
  | { kind: 'onbuild'; expression: string };

export type Kind = Body['kind'];

/** An instruction with where it stands and how it was written. */
export type Instruction = Body & { line: number; endLine: number; original: string };
export type InstructionOf<K extends Kind> = Extract<Instruction, { kind: K }>;

export const KEYWORDS = [
  'ADD', 'ARG', 'CMD', 'COPY', 'ENTRYPOINT', 'ENV', 'EXPOSE', 'FROM', 'HEALTHCHECK', 'LABEL', 'MAINTAINER', 'ONBUILD', 'RUN',
  'SHELL', 'STOPSIGNAL', 'USER', 'VOLUME', 'WORKDIR',
] as const; // prettier-ignore

/** `key=value …`, or the old `key rest of the line`. Values keep their quotes. */
function pairsOf(line: Line, keyword: string, escape: string): Pair[] {
  const words = splitWords(line.rest, escape);
  if (!words[0]!.includes('=')) {
    const [, key, value] = /^(\S+)\s*([\s\S]*)$/.exec(line.rest)!;
    if (!value) throw parseError(line.start, `${keyword} must have two arguments`);
    return [{ key: key!, value: value! }];
  }
  return words.map((word) => {
    const equals = word.indexOf('=');
    if (equals < 0)
      throw parseError(
        line.start,
        `Syntax error - can't find = in ${JSON.stringify(word)}. Must be of the form: name=value`,
      );
    if (equals === 0) throw parseError(line.start, `${keyword} names can not be blank`);
    return { key: word.slice(0, equals), value: word.slice(equals + 1) };
  });
}

const wordsOf = (line: Line): string[] => jsonWords(line.rest) ?? line.rest.split(/\s+/).filter(Boolean);

const commandOf = (line: Line): Command => {
  const exec = line.heredocs.length ? undefined : jsonWords(line.rest);
  return exec ? { exec } : { shell: line.rest, heredocs: line.heredocs };
};

function parseFrom(line: Line, flags: Flags): Body {
  const words = line.rest.split(/\s+/);
  if (words.length !== 1 && !(words.length === 3 && words[1]!.toLowerCase() === 'as'))
    throw parseError(line.start, 'FROM requires either one or three arguments');
  const name = words[2]?.toLowerCase();
  if (name !== undefined && !/^[a-z][a-z0-9-_.]*$/.test(name))
    throw parseError(
      line.start,
      `invalid name for build stage: ${JSON.stringify(words[2])}, name can't start with a number or contain symbols`,
    );
  return { kind: 'from', image: words[0]!, platform: flags.text('platform'), name };
}

function parseCopy(line: Line, kind: 'copy' | 'add', flags: Flags, escape: string): Body {
  const words = jsonWords(line.rest) ?? splitWords(line.rest, escape);
  if (words.length < 2)
    throw parseError(
      line.start,
      `${kind.toUpperCase()} requires at least two arguments, but only one was provided. Destination could not be determined`,
    );
  const names = new Set(line.heredocs.map((heredoc) => heredoc.name));
  const isHeredoc = (word: string): boolean =>
    word.startsWith('<<') && names.has(word.replace(/^<<-?/, '').replace(/^(["'])(.*)\1$/, '$2'));
  return {
    kind,
    sources: words.slice(0, -1).filter((word) => !isHeredoc(word)),
    heredocs: line.heredocs,
    dest: words.at(-1)!,
    from: flags.text('from'),
    chown: flags.text('chown'),
    chmod: flags.text('chmod'),
    link: flags.is('link'),
    parents: flags.is('parents'),
    excludes: flags.list('exclude'),
    keepGitDir: flags.is('keep-git-dir'),
    checksum: flags.text('checksum'),
    unpack: flags.maybe('unpack'),
  };
}

function parseArg(line: Line, escape: string): Body {
  const args = splitWords(line.rest, escape).map((word) => {
    const equals = word.indexOf('=');
    if (equals === 0) throw parseError(line.start, 'ARG names can not be blank');
    return equals < 0 ? { key: word } : { key: word.slice(0, equals), value: word.slice(equals + 1) };
  });
  return { kind: 'arg', args };
}

function parseOnbuild(line: Line): Body {
  const trigger = /^\S+/.exec(line.rest)![0].toUpperCase();
  if (trigger === 'ONBUILD') throw parseError(line.start, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  if (trigger === 'MAINTAINER' || trigger === 'FROM')
    throw parseError(line.start, `${trigger} isn't allowed as an ONBUILD trigger`);
  const bodies = line.heredocs.map((heredoc) => `\n${heredoc.content}${heredoc.name}`).join('');
  return { kind: 'onbuild', expression: line.original.replace(/^\S+\s*/, '') + bodies };
}

function parseBody(line: Line, keyword: string, escape: string): Body {
  const flags = new Flags(line, keyword);
  if (!line.rest && !(keyword === 'CMD' || keyword === 'RUN' || keyword === 'ENTRYPOINT'))
    throw parseError(line.start, `${keyword} requires ${REQUIRES[keyword] ?? 'at least one argument'}`);
  switch (keyword) {
    case 'FROM':
      return parseFrom(line, flags);
    case 'ARG':
      return parseArg(line, escape);
    case 'ENV':
    case 'LABEL':
      return { kind: keyword === 'ENV' ? 'env' : 'label', pairs: pairsOf(line, keyword, escape) };
    case 'RUN':
      if (!line.rest) throw parseError(line.start, 'RUN requires at least one argument');
      return {
        kind: 'run',
        command: commandOf(line),
        mounts: flags.list('mount'),
        network: flags.text('network'),
        security: flags.text('security'),
        devices: flags.list('device'),
      };
    case 'COPY':
    case 'ADD':
      return parseCopy(line, keyword === 'COPY' ? 'copy' : 'add', flags, escape);
    case 'CMD':
    case 'ENTRYPOINT':
      return { kind: keyword === 'CMD' ? 'cmd' : 'entrypoint', command: commandOf(line) };
    case 'EXPOSE':
      return { kind: 'expose', words: splitWords(line.rest, escape) };
    case 'VOLUME':
      if (wordsOf(line).some((word) => !word))
        throw parseError(line.start, 'VOLUME specified can not be an empty string');
      return { kind: 'volume', words: wordsOf(line) };
    case 'SHELL': {
      const words = jsonWords(line.rest);
      if (!words?.length) throw parseError(line.start, 'SHELL requires the arguments to be in JSON form');
      return { kind: 'shell', words };
    }
    case 'HEALTHCHECK':
      return { kind: 'healthcheck', health: parseHealthcheck(line, flags) };
    case 'ONBUILD':
      return parseOnbuild(line);
    default:
      return parseText(line, keyword);
  }
}

function parseText(line: Line, keyword: string): Body {
  const kind = keyword.toLowerCase() as 'workdir' | 'user' | 'stopsignal' | 'maintainer';
  if (kind === 'stopsignal' && /\s/.test(line.rest))
    throw parseError(line.start, 'STOPSIGNAL requires exactly one argument');
  return { kind, text: line.rest };
}

const REQUIRES: Record<string, string> = {
  COPY: 'at least two arguments, but only one was provided. Destination could not be determined',
  ADD: 'at least two arguments, but only one was provided. Destination could not be determined',
  FROM: 'either one or three arguments',
  WORKDIR: 'exactly one argument',
  USER: 'exactly one argument',
  STOPSIGNAL: 'exactly one argument',
  MAINTAINER: 'exactly one argument',
};

export function parseInstruction(line: Line, escape: string): Instruction {
  const keyword = line.keyword.toUpperCase();
  if (!(KEYWORDS as readonly string[]).includes(keyword))
    throw parseError(line.start, `unknown instruction: ${line.keyword}${suggestion(line.keyword, KEYWORDS)}`);
  return { ...parseBody(line, keyword, escape), line: line.start, endLine: line.end, original: line.original };
}

/** Parses one instruction that does not come from a Dockerfile: a trigger, or a change of commit and import. */
export function parseExpression(text: string): Instruction {
  const { lines } = readLines(text);
  if (lines.length !== 1) throw parseError(1, 'a trigger should be a single instruction');
  return parseInstruction(lines[0]!, '\\');
}
