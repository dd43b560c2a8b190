import { DockerfileParser } from 'dockerfile-ast';
import { describe, expect, test } from 'vitest';
import { applyChanges } from '../../src/build/changes.ts';
import { readDirectives } from '../../src/build/dockerfile/lines.ts';
import { parseDockerfile } from '../../src/build/dockerfile/parse.ts';
import { expandToWords, expandWord } from '../../src/build/dockerfile/words.ts';
import { stageGraph, takesContext } from '../../src/build/graph.ts';
import { compileGlob, PathMatcher, readIgnoreFile } from '../../src/build/patterns.ts';

const steps = (text: string) => parseDockerfile(`FROM scratch\n${text}`).stages[0]!.steps;
const step = (text: string) => steps(text)[0] as any;
const fails = (text: string, message: string | RegExp) => expect(() => parseDockerfile(text)).toThrow(message);

describe('the Dockerfile parser', () => {
  test('reads directives only at the top, each once', () => {
    const lines = ['# syntax=docker/dockerfile:1', '# escape = `', '# check=skip=all', '# a comment', '# escape=\\'];
    expect(readDirectives(lines)).toEqual({ syntax: 'docker/dockerfile:1', escape: '`', check: 'skip=all' });
    expect(readDirectives(['', '# escape=`']).escape).toBe('\\');
    fails('# escape=x\nFROM a', "invalid escape token 'x'");
    fails('# escape=`\n# escape=`\nFROM a', 'only one escape parser directive can be used');
  });

  test('joins continued lines, with comments and blank lines between them', () => {
    const [run, cmd] = steps('RUN a \\\n  # why\n\n  && b \\  \n && c\nCMD x') as any[];
    expect(run.command.shell).toBe('a   && b  && c');
    expect([run.line, run.endLine, cmd.line]).toEqual([2, 6, 7]);
    expect((parseDockerfile('# escape=`\nFROM a\nRUN x `\n y\\').stages[0]!.steps[0] as any).command.shell).toBe(
      'x  y\\',
    );
  });

  test('reads heredocs: chomped, quoted, several on one line', () => {
    const run = step('RUN <<EOF\necho 1\n# kept\nEOF');
    expect(run.command.heredocs).toEqual([{ name: 'EOF', content: 'echo 1\n# kept\n', expand: true, chomp: false }]);
    const copy = step('COPY <<-"A" <<B file /d/\n\tone $x\n\tA\ntwo\nB');
    expect(copy.heredocs.map((doc: any) => [doc.name, doc.content, doc.expand])).toEqual([
      ['A', 'one $x\n', false],
      ['B', 'two\n', true],
    ]);
    expect([copy.sources, copy.dest]).toEqual([['file'], '/d/']);
    fails('FROM a\nRUN <<EOF\nx', 'unterminated heredoc EOF');
  });

  test('tells an unknown instruction or flag with its line and what was meant', () => {
    fails('FROM a\n\nRUM x', 'dockerfile parse error on line 3: unknown instruction: RUM (did you mean RUN?)');
    fails('FROM a\nCOPY --form=b x y', 'dockerfile parse error on line 2: unknown flag: --form (did you mean from?)');
    fails('RUN x', 'dockerfile parse error on line 1: no build stage in current context');
    fails('FROM a b', 'FROM requires either one or three arguments');
    fails('FROM a AS 1x', 'invalid name for build stage: "1x"');
    fails('FROM a\nCOPY x', 'COPY requires at least two arguments');
    fails('FROM a\nSHELL bash', 'SHELL requires the arguments to be in JSON form');
    fails('FROM a\nONBUILD FROM x', "FROM isn't allowed as an ONBUILD trigger");
    fails('FROM a\nHEALTHCHECK --interval=x CMD y', 'invalid duration "x"');
    fails(' \n', 'cannot be empty');
    fails('# only\n', 'file with no instructions');
  });

  test('types every instruction', () => {
    expect(
      step('RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --network=none ["a","b c"]'),
    ).toMatchObject({
      kind: 'run',
      mounts: ['type=cache,target=/c', 'type=tmpfs,target=/t'],
      network: 'none',
      command: { exec: ['a', 'b c'] },
    });
    expect(step('COPY --from=b --chown=1:2 --chmod=755 --link --parents --exclude=*.a --exclude=*.b ["x y","z"]')).toMatchObject({
      from: 'b', chown: '1:2', chmod: '755', link: true, parents: true, excludes: ['*.a', '*.b'], sources: ['x y'], dest: 'z',
    }); // prettier-ignore
    expect(step('ADD --checksum=sha256:ab --keep-git-dir=true https://x/y.tar /d')).toMatchObject({
      checksum: 'sha256:ab',
      keepGitDir: true,
    });
    expect(step('ENV a=b c="d e" f=g\\ h')).toMatchObject({ pairs: [{ key: 'a', value: 'b' }, { key: 'c', value: '"d e"' }, { key: 'f', value: 'g\\ h' }] }); // prettier-ignore
    expect(step('ENV a b = c')).toMatchObject({ pairs: [{ key: 'a', value: 'b = c' }] });
    expect(step('ARG a b=c')).toMatchObject({ args: [{ key: 'a' }, { key: 'b', value: 'c' }] });
    expect(step('HEALTHCHECK --interval=1m30s --retries=3 CMD curl x').health).toEqual({ Test: ['CMD-SHELL', 'curl x'], Interval: 90e9, Retries: 3 }); // prettier-ignore
    expect(step('HEALTHCHECK NONE').health).toEqual({ Test: ['NONE'] });
    expect(step('ONBUILD RUN x y')).toMatchObject({ kind: 'onbuild', expression: 'RUN x y' });
    expect(step('CMD ["not json]')).toMatchObject({ command: { shell: '["not json]' } });
  });

  test('agrees with dockerfile-ast on instructions, lines, flags and stages', () => {
    const text = [
      '# syntax=docker/dockerfile:1', 'ARG V=1', 'FROM --platform=linux/amd64 debian:$V AS base', 'RUN apt-get update \\',
      '  && true', 'COPY --from=x --chown=a:b one two /three/', 'ENV A=1 \\', '    B=2', 'FROM base', 'RUN <<EOF', 'FROM nothing', 'EOF',
      'ENTRYPOINT ["a", "b"]', 'ONBUILD COPY . /x', 'USER nobody',
    ].join('\n'); // prettier-ignore
    const oracle = DockerfileParser.parse(text).getInstructions();
    const ours = parseDockerfile(text);
    const flat = [...ours.globals, ...ours.stages.flatMap((stage) => [stage.from, ...stage.steps])].sort(
      (a, b) => a.line - b.line,
    );
    expect(flat.map((one) => [one.kind.toUpperCase(), one.line, one.endLine])).toEqual(
      oracle.map((one) => [one.getKeyword(), one.getRange().start.line + 1, one.getRange().end.line + 1]),
    );
    expect(ours.stages[0]).toMatchObject({ name: 'base', from: { image: 'debian:$V', platform: 'linux/amd64' } });
  });
});

describe('variables', () => {
  const env: Record<string, string> = { x: 'foo/bar.tar.gz', empty: '', s: 'a b' };
  test.each([
    ['$x', 'foo/bar.tar.gz'], ['${x}', 'foo/bar.tar.gz'], ['\\$x', '$x'], ["'$x'", '$x'], ['"$s"', 'a b'], ['"\\"q\\n"', '"q\\n'],
    ['${no:-def}', 'def'], ['${empty:-def}', 'def'], ['${empty-def}', ''], ['${no-def}', 'def'], ['${x:+set}', 'set'],
    ['${empty:+set}', ''], ['${empty+set}', 'set'], ['${no+set}', ''], ['${no:-${x}}', 'foo/bar.tar.gz'],
    ['${x#*/}', 'bar.tar.gz'], ['${x%.*}', 'foo/bar.tar'], ['${x%%.*}', 'foo/bar'], ['${x##*.}', 'gz'], ['${x#f?o}', '/bar.tar.gz'],
    ['${x/bar/new}', 'foo/new.tar.gz'], ['${x//a/_}', 'foo/b_r.t_r.gz'], ['${x/\\//-}', 'foo-bar.tar.gz'], ['a$', 'a$'], ['$no', ''],
  ])('%s is %s', (text, expected) => expect(expandWord(text, '\\', (name) => env[name])).toBe(expected)); // prettier-ignore

  test('a required variable that is missing, and bad forms, are told', () => {
    const lookup = () => undefined;
    expect(() => expandWord('${x:?must be set}', '\\', lookup)).toThrow('x: must be set');
    expect(() => expandWord('${x', '\\', lookup)).toThrow('missing }');
    expect(() => expandWord('${x:*}', '\\', lookup)).toThrow('unsupported modifier');
  });

  test('unquoted blanks of a value split words where words are wanted', () => {
    expect(expandToWords('$s "$s" c\\ d', '\\', (name) => env[name])).toEqual(['a', 'b', 'a b', 'c d']);
  });
});

describe('.dockerignore', () => {
  const ignored = (text: string, path: string) => new PathMatcher(readIgnoreFile(text)).matches(path);
  test.each([
    ['node_modules', 'node_modules/a/b', true], ['*.md\n!README.md', 'README.md', false], ['*.md\n!README.md', 'x.md', true],
    ['*.md', 'sub/x.md', false], ['**/*.md', 'sub/deep/x.md', true], ['**/*.md', 'x.md', true], ['/a/../b', 'b', true],
    ['# c\n\n  a  ', 'a', true], ['dir\n!dir/keep', 'dir/keep', false], ['dir\n!dir/keep', 'dir/lose', true], ['a?c', 'abc', true],
    ['[a-c]x', 'bx', true], ['!a\na', 'a', true], ['*', 'x/y', true], ['.', 'anything', true], ['a/**', 'a/b/c', true], ['a/**/z', 'a/z', true],
  ])('%j on %s: %s', (text, path, expected) => expect(ignored(text, path)).toBe(expected)); // prettier-ignore

  test('an excluded directory is walked only when an exception may lie in it', () => {
    const matcher = new PathMatcher(readIgnoreFile('a\n!a/b/c'));
    expect([matcher.mustWalk('a'), matcher.mustWalk('a/b'), matcher.mustWalk('x')]).toEqual([true, true, false]);
    expect(compileGlob('a*.[ch]').test('abc.c')).toBe(true);
  });
});

test.each([
  ['COPY a /', true],
  ['COPY --from=b a /', false],
  ['ADD https://example.org/a /', false],
  ['ADD https://example.org/a b /', true],
  ['COPY <<a /\nx\na', false],
  ['RUN --mount=target=/m true', true],
  ['RUN --mount=type=bind,source=a,target=/m true', true],
  ['RUN --mount=type=bind,from=b,target=/m true', false],
  ['RUN --mount=type=cache,target=/m true', false],
])('%s takes files of the context: %s', (step, expected) => {
  const [stage] = parseDockerfile(`FROM x\n${step}`).stages;
  expect(takesContext(stage!)).toBe(expected);
});

describe('the stage graph', () => {
  const graph = (text: string, target?: string) => {
    const { nodes } = stageGraph(parseDockerfile(text), { target });
    return nodes.map((node) => [node.stage.index, node.needs]);
  };

  test('holds only what the target needs, with what each stage waits for', () => {
    const text = 'FROM a AS one\nFROM b AS two\nRUN --mount=type=bind,from=one,target=/x true\nFROM c AS lonely\nFROM one\nCOPY --from=two / /\nCOPY --from=0 / /\nCOPY --from=busybox / /'; // prettier-ignore
    expect(graph(text)).toEqual([[0, []], [1, [0]], [3, [0, 1]]]); // prettier-ignore
    expect(graph(text, 'LONELY')).toEqual([[2, []]]);
  });

  test('a missing target, a cycle and a stage that comes later are told', () => {
    expect(() => graph('FROM a AS build', 'biuld')).toThrow(
      'target stage "biuld" could not be found (did you mean build?)',
    );
    expect(() => graph('FROM a AS x\nCOPY --from=x / /')).toThrow('line 2: circular dependency detected on stage: x');
    expect(() => graph('FROM a AS x\nCOPY --from=y / /\nFROM b AS y', 'x')).toThrow('stage "y" comes later, on line 3');
    expect(graph('FROM x AS x')).toEqual([[0, []]]);
  });
});

describe('changes of commit and import', () => {
  test('apply in order, with variables, and leave the given configuration alone', () => {
    const before = { Env: ['PATH=/bin'], Cmd: ['sh'] };
    const after = applyChanges(before, ['ENV A=1 PATH=/x:$PATH', 'CMD ["echo","$A"]', 'EXPOSE 80 53/udp', 'LABEL a="b c"', 'WORKDIR /w', 'WORKDIR x', 'VOLUME /v', 'USER u', 'STOPSIGNAL SIGINT', 'ONBUILD RUN x']); // prettier-ignore
    expect(after).toEqual({
      Env: ['PATH=/x:/bin', 'A=1'], Cmd: ['echo', '$A'], ExposedPorts: { '80/tcp': {}, '53/udp': {} }, Labels: { a: 'b c' },
      WorkingDir: '/w/x', Volumes: { '/v': {} }, User: 'u', StopSignal: 'SIGINT', OnBuild: ['RUN x'],
    }); // prettier-ignore
    expect(before).toEqual({ Env: ['PATH=/bin'], Cmd: ['sh'] });
    expect(applyChanges(before, ['ENTRYPOINT x']).Cmd).toBeUndefined();
  });

  test('refuse what does more than change the configuration', () => {
    expect(() => applyChanges({}, ['RUN rm -rf /'])).toThrow('run is not a valid change command');
    expect(() => applyChanges({}, ['NONSENSE x'])).toThrow('unknown instruction: NONSENSE');
    expect(() => applyChanges({}, ['EXPOSE 99999'])).toThrow('invalid containerPort: 99999');
  });
});
