/** What the Dockerfile frontend answers beside building. */
import { expect, test } from 'vitest';
import { answer, type Asked } from '../../src/build/buildkit/questions.ts';

const ask = (question: string, text: string, more: Partial<Asked> = {}) => {
  const args = { given: {}, builtin: { TARGETARCH: 'amd64' } };
  const environment = (image: string) => (image === 'known' ? ['PATH', 'SET'] : undefined);
  const { 'result.json': json, ...rest }: Record<string, string> = answer(question, {
    text, name: 'Dockerfile', target: '', args, environment, ...more,
  }); // prettier-ignore
  return { rest, result: JSON.parse(json!) };
};

const lint = (text: string, more?: Partial<Asked>) => {
  const { result, rest } = ask('frontend.lint', text, more);
  const warnings = result.warnings.map((one: any) => [one.ruleName, one.location.ranges[0].start.line]);
  return { warnings, status: rest['result.statuscode'], error: result.buildError, source: result.sources[0] };
};

test('checks of a file are told with their lines, and the file itself', () => {
  const text =
    'FROM known AS Base\nENV A=$SET B=$NOPE\nCMD echo x\nFROM unknown\nENV C=$MAYBE\nFROM base\nENV D=$A$TYPO';
  const { warnings, status, source } = lint(text);
  expect(warnings).toEqual([
    ['StageNameCasing', 1],
    ['UndefinedVar', 2],
    ['JSONArgsRecommended', 3],
    // Of an image that is not here nobody knows what it sets.
    ['UndefinedVar', 7],
  ]);
  expect(status).toBe('1');
  expect([source.filename, Buffer.from(source.data, 'base64').toString()]).toEqual(['Dockerfile', text]);
  expect(lint('FROM known\nCMD ["x"]').status).toBe('0');
});

test('checks that the file or the client skips are not told', () => {
  expect(lint('# check=skip=all\nFROM known AS Base').warnings).toEqual([]);
  expect(lint('# check=skip=all\nFROM known AS Base', { check: 'skip=UndefinedVar' }).warnings.length).toBe(1);
});

test('a file that cannot be read, or has no such target, is an error of the check', () => {
  const { error, status } = lint('FROM known\nCOPPY a b');
  expect([error.message, error.location.ranges[0].start.line, status]).toEqual([
    'dockerfile parse error on line 2: unknown instruction: COPPY (did you mean COPY?)',
    2,
    '1',
  ]);
  expect(lint('FROM known AS one', { target: 'two' }).error.message).toContain('two');
});

test('targets are told with their comments, what they stand on, and which is built when none is named', () => {
  const { result, rest } = ask(
    'frontend.targets',
    'FROM a\n# tools what is needed\nFROM b AS tools\n# other\nFROM tools',
  );
  expect(result.targets).toMatchObject([
    { name: 'tools', description: 'what is needed', base: 'b', location: { ranges: [{ start: { line: 3 } }] } },
    { default: true, base: 'tools' },
  ]);
  expect(rest['result.txt']).toBe('TARGET     DESCRIPTION\ntools      what is needed\n(default)\n');
});

test('the parameters of a target are those of the stages it needs', () => {
  const text = [
    '# V which version', 'ARG V=1', 'FROM x AS one', 'ARG V', 'ARG GIVEN=no', 'RUN --mount=type=secret,id=token,required=true --mount=type=ssh true', 'FROM x AS two',
    'ARG OTHER', 'FROM one AS three', 'ARG W=$V-w', 'RUN --mount=type=cache,target=/c,id=packages true',
  ].join('\n'); // prettier-ignore
  const { result } = ask('frontend.outline', text, { target: 'three', args: { given: { GIVEN: 'yes' }, builtin: {} } });
  expect(result.name).toBe('three');
  expect(result.args.map(({ name, value }: any) => [name, value])).toEqual([['V', '1'], ['GIVEN', 'yes'], ['W', '1-w']]);
  expect(result.secrets).toMatchObject([{ name: 'token', required: true }]);
  expect([result.ssh.length, result.cache[0].ID]).toEqual([1, 'packages']);
}); // prettier-ignore

test('it tells what may be asked, and refuses the rest', () => {
  const { result } = ask('frontend.subrequests.describe', 'FROM x');
  expect(result.map(({ Name }: any) => Name)).toContain('frontend.lint');
  expect(() => ask('frontend.convertllb', 'FROM x')).toThrow('knows no frontend.convertllb');
  expect(() => ask('toString', 'FROM x')).toThrow('knows no toString');
});
