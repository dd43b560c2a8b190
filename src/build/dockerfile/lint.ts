/**
 * What is likely to be a mistake though it can be built: the checks that BuildKit's clients show as warnings, by the names they
 * have in docs.docker.com/reference/build-checks. The `check` directive skips some or makes all of them errors. Pure.
 */
import { invalid } from '../../errors.ts';
import { nearest } from './errors.ts';
import type { Instruction, InstructionOf } from './instructions.ts';
import type { Dockerfile, Stage } from './parse.ts';
import { variablesIn } from './words.ts';

export interface Warning {
  /** StageNameCasing … */
  rule: string;
  message: string;
  line: number;
}

export const urlOf = ({ rule }: Warning): string =>
  `https://docs.docker.com/go/dockerfile/rule/${rule.replace(/(?<=[a-z])[A-Z]|[A-Z](?=[a-z])/g, (char, at) => (at ? '-' : '') + char).toLowerCase()}/`;

/** As clients show it. */
export const shortOf = ({ rule, message, line }: Warning): string => `${rule}: ${message} (line ${line})`;

type Found = Omit<Warning, 'line'>;

const found = (rule: string, message: string): Found => ({ rule, message });

const SECRET = /(^|_)(apikey|auth|credentials?|key|passw(or)?d|pword|secret|token)(_|$)/i;
const NO_SECRET = /(^|_)public(_|$)/i;

const keywordOf = ({ original }: Instruction): string => /^\S+/.exec(original)?.[0] ?? '';

function* ofFrom({ name, platform, original }: InstructionOf<'from'>, before: readonly Stage[]): Generator<Found> {
  const [, from = '', as, written = ''] = /^(\S+).*?(?:\s([aA][sS])\s+(\S+))?$/s.exec(original) ?? [];
  if (written !== written.toLowerCase()) yield found('StageNameCasing', `Stage name '${written}' should be lowercase`);
  if (as && (from === from.toUpperCase()) !== (as === as.toUpperCase()))
    yield found('FromAsCasing', `'${as}' and '${from}' keywords' casing do not match`);
  if (name && before.some((stage) => stage.name === name))
    yield found('DuplicateStageName', `Duplicate stage name ${JSON.stringify(written)}, stage names should be unique`);
  if (name === 'scratch' || name === 'context')
    yield found('ReservedStageName', `Stage name should not use the same name as reserved stage ${JSON.stringify(name)}`);
  if (platform && /^\$(\{TARGETPLATFORM\}|TARGETPLATFORM)$/.test(platform))
    yield found(
      'RedundantTargetPlatform',
      `Setting platform to predefined ${platform} in FROM is redundant as this is the default behavior`,
    );
  else if (platform && !platform.includes('$'))
    yield found('FromPlatformFlagConstDisallowed', `FROM --platform flag should not use constant value ${JSON.stringify(platform)}`);
} // prettier-ignore

function* ofStep(step: Instruction, hasShell = false): Generator<Found> {
  const keyword = step.kind.toUpperCase();
  switch (step.kind) {
    case 'maintainer':
      return yield found('MaintainerDeprecated', 'Maintainer instruction is deprecated in favor of using label');
    case 'cmd':
    case 'entrypoint':
      if ('shell' in step.command && !hasShell)
        yield found('JSONArgsRecommended', `JSON arguments recommended for ${keyword} to prevent unintended behavior related to OS signals`);
      return;
    case 'env':
    case 'label':
      if (!/^\S+\s+\S*=/.test(step.original))
        yield found('LegacyKeyValueFormat', `"${keyword} key=value" should be used instead of legacy "${keyword} key value" format`);
      if (step.kind === 'env') yield* secrets(keyword, step.pairs.map(({ key }) => key));
      return;
    case 'arg':
      return yield* secrets(keyword, step.args.map(({ key }) => key));
    case 'expose':
      for (const word of step.words) {
        const proto = /\/(\w+)$/.exec(word)?.[1];
        if (proto && proto !== proto.toLowerCase())
          yield found('ExposeProtoCasing', `Defined protocol '${word}' in EXPOSE instruction should be lowercase`);
        if (word.includes(':'))
          yield found('ExposeInvalidFormat', `EXPOSE instruction should not define an IP address or host-port mapping, found '${word}'`);
      }
  }
} // prettier-ignore

function* secrets(keyword: string, names: readonly string[]): Generator<Found> {
  for (const name of names)
    if (SECRET.test(name) && !NO_SECRET.test(name))
      yield found('SecretsUsedInArgOrEnv', `Do not use ARG or ENV instructions for sensitive data (${keyword} ${JSON.stringify(name)})`);
} // prettier-ignore

/** Only the last CMD, ENTRYPOINT and HEALTHCHECK of a stage counts: each before it is told. */
function multiple({ steps }: Stage): Warning[] {
  return (['cmd', 'entrypoint', 'healthcheck'] as const).flatMap((kind) =>
    steps
      .filter((step) => step.kind === kind)
      .slice(0, -1)
      .map(({ line }) => ({
        ...found('MultipleInstructionsDisallowed', `Multiple ${kind.toUpperCase()} instructions should not be used in the same stage because only the last one will be used`),
        line,
      })),
  );
} // prettier-ignore

/** A relative WORKDIR before any absolute one, in this stage or in one it is made of. */
function relativeWorkdirs(file: Dockerfile): Warning[] {
  const absolute = new Set<string>();
  const warnings: Warning[] = [];
  for (const { from, name, index, steps } of file.stages) {
    let known = absolute.has(from.image.toLowerCase());
    for (const step of steps) {
      if (step.kind !== 'workdir') continue;
      if (/^[/$"']/.test(step.text)) known = true;
      else if (!known)
        warnings.push({ ...found('WorkdirRelativePath', `Relative workdir ${JSON.stringify(step.text)} can have unexpected results if the base image changes`), line: step.line });
    }
    if (known) for (const id of [name ?? '', String(index)]) absolute.add(id);
  }
  return warnings;
} // prettier-ignore

/** Instructions in the smaller part of the file's casing. */
function casing(file: Dockerfile): Warning[] {
  const all = [...file.globals, ...file.stages.flatMap(({ from, steps }) => [from, ...steps])];
  const isUpper = (step: Instruction): boolean => keywordOf(step) === keywordOf(step).toUpperCase();
  const isLower = (step: Instruction): boolean => keywordOf(step) === keywordOf(step).toLowerCase();
  const wantsUpper = all.filter(isUpper).length >= all.filter(isLower).length;
  return all
    .filter((step) => keywordOf(step) && !(wantsUpper ? isUpper : isLower)(step))
    .map((step) => ({
      ...found('ConsistentInstructionCasing', `Command '${keywordOf(step)}' should match the case of the command majority (${wantsUpper ? 'uppercase' : 'lowercase'})`),
      line: step.line,
    }));
} // prettier-ignore

/** Names in FROM that no global ARG declares. */
function undeclared(file: Dockerfile, builtin: readonly string[]): Warning[] {
  const known = new Set([...builtin, ...file.globals.flatMap(({ args }) => args.map(({ key }) => key))]);
  return file.stages.flatMap(({ from }) =>
    variablesIn(`${from.image} ${from.platform ?? ''}`, file.directives.escape)
      .filter((name) => !known.has(name))
      .map((name) => {
        const near = nearest(name, known);
        return { ...found('UndefinedArgInFrom', `FROM argument '${name}' is not declared${near ? ` (did you mean ${near}?)` : ''}`), line: from.line };
      }),
  );
} // prettier-ignore

/** A variable that nothing sets; told while the build goes on, when the base image's environment is known. */
export function undefinedVariables(text: string, escape: string, known: ReadonlySet<string>, line: number): Warning[] {
  return variablesIn(text, escape)
    .filter((name) => !known.has(name))
    .map((name) => {
      const near = nearest(name, known);
      return { ...found('UndefinedVar', `Usage of undefined variable '$${name}'${near ? ` (did you mean $${near}?)` : ''}`), line };
    });
} // prettier-ignore

/** What of an instruction has its variables filled in by us, and not by a shell. */
export function expandedTexts(step: Instruction): string[] {
  switch (step.kind) {
    case 'env':
    case 'label':
      return step.pairs.flatMap(({ key, value }) => [key, value]);
    case 'copy':
    case 'add':
      return [...step.sources, step.dest, step.chown ?? '', step.chmod ?? '', step.from ?? ''];
    case 'expose':
    case 'volume':
      return step.words;
    case 'workdir':
    case 'user':
    case 'stopsignal':
      return [step.text];
    case 'arg':
      return step.args.map(({ value }) => value ?? '');
    default:
      return [];
  }
}

export interface Checks {
  skips(rule: string): boolean;
  areErrors: boolean;
}

/** `skip=A,B;error=true` of the directive or the build argument. */
export function checksOf(text = ''): Checks {
  const options = new Map(text.split(';').map((part) => [part.split('=')[0]!.trim().toLowerCase(), part.split('=')[1]?.trim() ?? '']));
  const skipped = (options.get('skip') ?? '').split(',').map((name) => name.trim().toLowerCase());
  return { skips: (rule) => skipped.includes('all') || skipped.includes(rule.toLowerCase()), areErrors: options.get('error') === 'true' };
} // prettier-ignore

/** All that the file itself shows. `builtin`: arguments that are there without being declared. */
export function lint(file: Dockerfile, builtin: readonly string[]): Warning[] {
  const at = (line: number) => (one: Found): Warning => ({ ...one, line });
  const warnings = [
    ...file.globals.flatMap((step) => [...ofStep(step)].map(at(step.line))),
    ...file.stages.flatMap((stage, index) => [
      ...[...ofFrom(stage.from, file.stages.slice(0, index))].map(at(stage.from.line)),
      // Who chooses a shell wants one.
      ...stage.steps.flatMap((step) => [...ofStep(step, stage.steps.some(({ kind }) => kind === 'shell'))].map(at(step.line))),
      ...multiple(stage),
    ]),
    ...relativeWorkdirs(file),
    ...casing(file),
    ...undeclared(file, builtin),
  ];
  return warnings.sort((a, b) => a.line - b.line);
} // prettier-ignore

export function refuseViolations(warnings: readonly Warning[]): void {
  const rules = [...new Set(warnings.map(({ rule }) => rule))].sort();
  throw invalid(`lint violation found for rules: ${rules.join(', ')}`);
}
