import { expect, test } from 'vitest';
import { checksOf, lint, shortOf, undefinedVariables, urlOf } from '../../src/build/dockerfile/lint.ts';
import { parseDockerfile } from '../../src/build/dockerfile/parse.ts';

const told = (...lines: string[]): string[] =>
  lint(parseDockerfile(lines.join('\n')), ['TARGETARCH', 'TARGETPLATFORM']).map(shortOf);

test.each<[string, string[], string[]]>([
  ['nothing about a file without fault', ['FROM x AS a', 'WORKDIR /w', 'WORKDIR sub', 'ENV A=b', 'CMD ["c"]', 'FROM a', 'WORKDIR relative'], []],
  ['names of stages', ['FROM x AS Build', 'FROM x as build', 'FROM x AS scratch'], [
    "StageNameCasing: Stage name 'Build' should be lowercase (line 1)",
    "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 2)",
    'DuplicateStageName: Duplicate stage name "build", stage names should be unique (line 2)',
    'ReservedStageName: Stage name should not use the same name as reserved stage "scratch" (line 3)',
  ]],
  ['platforms and arguments of FROM', ['ARG VERSION', 'FROM --platform=$TARGETPLATFORM x:$VERSOIN', 'FROM --platform=linux/amd64 x:${NO:-1}'], [
    'RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 2)',
    "UndefinedArgInFrom: FROM argument 'VERSOIN' is not declared (did you mean VERSION?) (line 2)",
    'FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64" (line 3)',
  ]],
  ['instructions', ['FROM x', 'MAINTAINER me', 'ENV old way', 'ENV DB_PASSWORD=x PUBLIC_KEY=y', 'ARG API_TOKEN', 'EXPOSE 80/TCP 1.2.3.4:80', 'CMD one', 'CMD ["two"]', 'workdir rel'], [
    'MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)',
    'LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format (line 3)',
    'SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "DB_PASSWORD") (line 4)',
    'SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "API_TOKEN") (line 5)',
    "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 6)",
    "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '1.2.3.4:80' (line 6)",
    'JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 7)',
    'MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 7)',
    'WorkdirRelativePath: Relative workdir "rel" can have unexpected results if the base image changes (line 9)',
    "ConsistentInstructionCasing: Command 'workdir' should match the case of the command majority (uppercase) (line 9)",
  ]],
])('tells %s', (_, lines, warnings) => expect(told(...lines)).toEqual(warnings)); // prettier-ignore

test('a variable that nothing sets is told with the one that was meant', () => {
  const known = new Set(['PATH', 'FOO']);
  const messages = (text: string) => undefinedVariables(text, '\\', known, 1).map(({ message }) => message);
  expect(messages('$PAHT:/bin')).toEqual(["Usage of undefined variable '$PAHT' (did you mean $PATH?)"]);
  expect(messages('${ZZZZZZ%x}$FOO')).toEqual(["Usage of undefined variable '$ZZZZZZ'"]);
  expect(messages("${NO:-x} ${NO+x} \\$NO '$NO' $FOO")).toEqual([]);
});

test('checks are skipped by name or all, and can be errors', () => {
  expect(checksOf().skips('UndefinedVar')).toBe(false);
  expect(checksOf('skip=UndefinedVar, StageNameCasing').skips('StageNameCasing')).toBe(true);
  expect(checksOf('error=true;skip=all')).toMatchObject({ areErrors: true });
  expect(checksOf('error=true;skip=all').skips('UndefinedVar')).toBe(true);
  expect(urlOf({ rule: 'JSONArgsRecommended', message: '', line: 1 })).toBe('https://docs.docker.com/go/dockerfile/rule/json-args-recommended/');
  expect(urlOf({ rule: 'StageNameCasing', message: '', line: 1 })).toBe('https://docs.docker.com/go/dockerfile/rule/stage-name-casing/');
}); // prettier-ignore
