/**
 * What the Dockerfile frontend is asked beside building (BuildKit's "subrequests"): the checks, the targets and the parameters of a
 * file, as `docker build --check`, `--call=targets` and `--call=outline` show them. Pure.
 */
import { asDaemonError, notImplemented } from '../../errors.ts';
import { ArgScope, type GivenArgs, globalScope } from '../args.ts';
import { checksOf, expandedTexts, lint, undefinedVariables, urlOf, type Warning } from '../dockerfile/lint.ts';
import { type Dockerfile, parseDockerfile, type Stage } from '../dockerfile/parse.ts';
import { expandWord } from '../dockerfile/words.ts';
import { findTarget, stageGraph, stageNamed } from '../graph.ts';
import { parseMount } from '../mounts.ts';

export interface Asked {
  text: string;
  /** The file's name. */
  name: string;
  target: string;
  args: GivenArgs;
  /** Of BUILDKIT_DOCKERFILE_CHECK, which wins over the file's directive. */
  check?: string;
  /** Names that an image's environment has, where the image is here. */
  environment(image: string): readonly string[] | undefined;
}

/** Metadata of the frontend's result. */
export type Answer = Record<string, string>;

const VERSION = '1.0.0';
const location = (line: number): object => ({ ranges: [{ start: { line }, end: { line } }] });

const answerOf = (result: object, text: string, more: Answer = {}): Answer => ({
  'result.json': JSON.stringify(result, null, 2),
  'result.txt': text,
  version: VERSION,
  ...more,
});

/** Variables that nothing sets. What comes after an image that is not here is not judged. */
function unset(file: Dockerfile, asked: Asked): Warning[] {
  const { escape } = file.directives;
  const globals = globalScope(file, asked.args);
  const environments = new Map<Stage, ReadonlySet<string>>();
  return file.stages.flatMap((stage) => {
    const base = expandWord(stage.from.image, escape, globals.global);
    const before = stageNamed(file, base, stage.index);
    const inherited = before ? environments.get(before) : base === 'scratch' ? [] : asked.environment(base);
    if (!inherited) return [];
    const known = new Set(inherited);
    environments.set(stage, known);
    return stage.steps.flatMap((step) => {
      const found = expandedTexts(step).flatMap((text) => undefinedVariables(text, escape, known, step.line));
      if (step.kind === 'env') for (const { key } of step.pairs) known.add(key);
      if (step.kind === 'arg') for (const { key } of step.args) known.add(key);
      return found;
    });
  });
}

function warningsOf(asked: Asked): Warning[] {
  const file = parseDockerfile(asked.text, asked.name);
  findTarget(file, asked.target);
  const checks = checksOf(asked.check ?? file.directives.check);
  return [...lint(file, Object.keys(asked.args.builtin)), ...unset(file, asked)]
    .filter(({ rule }) => !checks.skips(rule))
    .sort((a, b) => a.line - b.line);
}

function checked(asked: Asked): Answer {
  const sources = [{ filename: asked.name, language: 'Dockerfile', data: Buffer.from(asked.text).toString('base64') }];
  try {
    const found = warningsOf(asked);
    const warnings = found.map((warning) => ({
      ruleName: warning.rule,
      url: urlOf(warning),
      detail: warning.message,
      location: location(warning.line),
    }));
    const text = found.map(
      (one) => `WARNING: ${one.rule} - ${urlOf(one)}\n${one.message}\n${asked.name}:${one.line}\n`,
    );
    const status = { 'result.statuscode': found.length ? '1' : '0' };
    return answerOf({ warnings, sources }, text.join('\n'), status);
  } catch (error) {
    const { message } = asDaemonError(error);
    const line = / on line (\d+): /.exec(message)?.[1];
    const buildError = { message, location: line ? location(Number(line)) : {} };
    return answerOf({ warnings: [], sources, buildError }, `${message}\n`, { 'result.statuscode': '1' });
  }
}

/** A comment right above that begins with the name: `# name what it is for`. */
function descriptionOf(lines: readonly string[], line: number, name: string | undefined): string | undefined {
  const comment = /^\s*#\s*(\S+)\s+(.+)$/.exec(lines[line - 2] ?? '');
  return name && comment?.[1]!.toLowerCase() === name.toLowerCase() ? comment[2]!.trim() : undefined;
}

/** Columns of words; the last one is not padded. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)) + 2);
  return `${rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('')
        .trimEnd(),
    )
    .join('\n')}\n`;
}

function targets(asked: Asked): Answer {
  const file = parseDockerfile(asked.text, asked.name);
  const lines = asked.text.split(/\r?\n/);
  const last = file.stages.at(-1);
  const all = file.stages.map((stage) => ({
    name: stage.name,
    default: stage === last || undefined,
    description: descriptionOf(lines, stage.from.line, stage.name),
    base: stage.from.image,
    platform: stage.from.platform,
    location: location(stage.from.line),
  }));
  // A stage without a name can only be the last one for whoever asks.
  const shown = all.filter((one) => one.name ?? one.default);
  const title = (one: (typeof all)[number]): string =>
    one.default ? `${one.name ? `${one.name} ` : ''}(default)` : one.name!;
  const rows = shown.map((one) => [title(one), one.description ?? '']);
  const sources = [Buffer.from(asked.text).toString('base64')];
  return answerOf({ targets: shown, sources }, table([['TARGET', 'DESCRIPTION'], ...rows]));
}

/** Arguments, secrets, agents and caches that a build of the target takes. */
function outline(asked: Asked): Answer {
  const file = parseDockerfile(asked.text, asked.name);
  const lines = asked.text.split(/\r?\n/);
  const globals = globalScope(file, asked.args);
  const resolveFrom = (image: string): string => expandWord(image, file.directives.escape, globals.global);
  const { target, nodes } = stageGraph(file, { target: asked.target, resolveFrom });
  const args = new Map<string, object>();
  const secrets = new Map<string, object>();
  const ssh = new Map<string, object>();
  const cache = new Map<string, object>();
  const declare = (scope: ArgScope, step: Dockerfile['globals'][number]): ArgScope => {
    for (const { key, value } of step.args) {
      scope = scope.declare(key, value && expandWord(value, file.directives.escape, scope.global));
      const description = descriptionOf(lines, step.line, key);
      args.set(key, { name: key, description, value: scope.values.get(key), location: location(step.line) });
    }
    return scope;
  };
  file.globals.reduce(declare, new ArgScope(asked.args));
  const scopes = new Map<Stage, ArgScope>();
  for (const { stage } of nodes) {
    const base = stageNamed(file, resolveFrom(stage.from.image), stage.index);
    let scope = new ArgScope(asked.args, globals, base && scopes.get(base)?.values);
    for (const step of stage.steps) {
      if (step.kind === 'arg') scope = declare(scope, step);
      if (step.kind !== 'run') continue;
      for (const text of step.mounts) {
        const { type, id, required } = parseMount(text, (word) =>
          expandWord(word, file.directives.escape, scope.global),
        );
        const at = location(step.line);
        if (type === 'secret') secrets.set(id, { name: id, required: required || undefined, location: at });
        if (type === 'ssh') ssh.set(id, { name: id, required: required || undefined, location: at });
        if (type === 'cache') cache.set(id, { ID: id, location: at });
      }
    }
    scopes.set(stage, scope);
  }
  const { name, from } = file.stages[target]!;
  const listed = (all: Map<string, object>): object[] => [...all.values()];
  const result = {
    name,
    description: descriptionOf(lines, from.line, name),
    args: listed(args),
    secrets: listed(secrets),
    ssh: listed(ssh),
    cache: listed(cache),
    sources: [Buffer.from(asked.text).toString('base64')],
  };
  const rows = [...args].map(([key, arg]) => [key, String((arg as { value?: string }).value ?? '')]);
  return answerOf(result, table([['BUILD ARG', 'VALUE'], ...rows]));
}

const QUESTIONS: Record<string, { answer: (asked: Asked) => Answer; description: string }> = {
  'frontend.lint': { answer: checked, description: 'Lint a Dockerfile' },
  'frontend.outline': { answer: outline, description: 'List all parameters current build target supports' },
  'frontend.targets': { answer: targets, description: 'List all targets current build supports' },
};

const DESCRIBE = 'frontend.subrequests.describe';

/** Answers a question by its name. Errors: notImplemented for one that there is not, and the file's own. */
export function answer(question: string, asked: Asked): Answer {
  const found = Object.hasOwn(QUESTIONS, question) ? QUESTIONS[question] : undefined;
  if (found) return found.answer(asked);
  if (question !== DESCRIBE) throw notImplemented(`the Dockerfile frontend here knows no ${question}`);
  const all = [
    ...Object.entries(QUESTIONS).map(([name, { description }]) => ({ name, description })),
    { name: DESCRIBE, description: 'List available subrequest types' },
  ];
  const requests = all.map(({ name, description }) => ({
    Name: name,
    Version: VERSION,
    Type: 'rpc',
    Description: description,
  }));
  return answerOf(
    requests,
    table([['NAME', 'DESCRIPTION'], ...all.map(({ name, description }) => [name, description])]),
  );
}
