/** What an instruction does to an image's run configuration. Pure; the words are expanded here. */
import { posix } from 'node:path';
import { invalid } from '../errors.ts';
import type { HealthConfig, ImageRunConfig } from '../image/port.ts';
import type { Command, Instruction } from './dockerfile/instructions.ts';
import { expandToWords, expandWord, type Lookup } from './dockerfile/words.ts';

export interface Words {
  lookup: Lookup;
  escape: string;
}

export interface Change {
  config: ImageRunConfig;
  /** The instruction as history shows it, its variables expanded. */
  text: string;
  /** BuildKit's words, where they are others. */
  kit?: string;
}

export const DEFAULT_SHELL = ['/bin/sh', '-c'];

/** Go's %q of a list of strings, which both builders print. */
export const goList = (words: readonly string[]): string => `[${words.map((word) => JSON.stringify(word)).join(' ')}]`;

/** Sets `NAME=value` in a list in place of what was there. */
export function withEnv(env: readonly string[], name: string, value: string): string[] {
  const entry = `${name}=${value}`;
  const at = env.findIndex((known) => known.split('=', 1)[0] === name);
  return at < 0 ? [...env, entry] : env.with(at, entry);
}

export function lookupIn(env: readonly string[]): Lookup {
  const at = (name: string): string | undefined => env.findLast((entry) => entry.startsWith(`${name}=`));
  return (name) => at(name)?.slice(name.length + 1);
}

export function commandLine(command: Command, config: ImageRunConfig): string[] {
  if ('exec' in command) return command.exec;
  return command.shell ? [...(config.Shell ?? DEFAULT_SHELL), command.shell] : [];
}

export const workdirOf = (config: ImageRunConfig, path: string): string =>
  posix.resolve('/', config.WorkingDir || '/', path);

const PORT = /^(?:(?:[^/]*:)?(?:[\d-]*):)?(\d+)(?:-(\d+))?(?:\/(tcp|udp|sctp))?$/i;

/** `80`, `80/udp`, `7000-7010/tcp` as Docker's port keys. */
export function portsOf(word: string): string[] {
  const match = PORT.exec(word);
  const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (!match || last < first || last > 65535) throw invalid(`invalid containerPort: ${word}`);
  const proto = (match[3] ?? 'tcp').toLowerCase();
  return Array.from({ length: last - first + 1 }, (_, i) => `${first + i}/${proto}`);
}

const SIGNAL =
  /^(?:SIG)?(?:HUP|INT|QUIT|ILL|TRAP|ABRT|IOT|BUS|FPE|KILL|USR1|SEGV|USR2|PIPE|ALRM|TERM|STKFLT|CHLD|CLD|CONT|STOP|TSTP|TTIN|TTOU|URG|XCPU|XFSZ|VTALRM|PROF|WINCH|IO|POLL|PWR|SYS|RTMIN(?:\+\d+)?|RTMAX(?:-\d+)?)$/i;

function stopSignal(text: string): string {
  if (!SIGNAL.test(text) && !(/^\d+$/.test(text) && Number(text) > 0 && Number(text) <= 64))
    throw invalid(`invalid signal: ${text}`);
  return text;
}

const duration = (nano = 0): string => {
  const seconds = nano / 1e9;
  if (seconds === 0) return '0s';
  if (seconds < 1) return `${seconds * 1000}ms`;
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return `${h ? `${h}h` : ''}${h || m ? `${m}m` : ''}${s}s`;
};

/** As Go prints the structure in the classic builder (%v) and in BuildKit (%q, which takes a number for a character). */
function healthTexts({ Test = [], Interval, Timeout, StartPeriod, StartInterval, Retries = 0 }: HealthConfig): {
  text: string;
  kit: string;
} {
  const times = [Interval, Timeout, StartPeriod, StartInterval].map(duration);
  const quoted = [goList(Test), ...times.map((time) => `"${time}"`), goCharacter(Retries)];
  return {
    text: `HEALTHCHECK &{[${Test.join(' ')}] ${times.join(' ')} ${Retries}}`,
    kit: `HEALTHCHECK &{${quoted.join(' ')}}`,
  };
}

const GO_ESCAPES: Record<number, string> = {
  7: '\\a',
  8: '\\b',
  9: '\\t',
  10: '\\n',
  11: '\\v',
  12: '\\f',
  13: '\\r',
  39: "\\'",
  92: '\\\\',
};

function goCharacter(code: number): string {
  const isPlain = code >= 0x20 && code < 0x7f;
  const text = GO_ESCAPES[code] ?? (isPlain ? String.fromCharCode(code) : `\\x${code.toString(16).padStart(2, '0')}`);
  return `'${text}'`;
}

const record = (words: readonly string[]): Record<string, object> =>
  Object.fromEntries(words.map((word) => [word, {}]));

/** Applies an instruction that changes the configuration only. `undefined` for those that do more (RUN, COPY, ADD, FROM, ARG). */
export function applyInstruction(
  config: ImageRunConfig,
  step: Instruction,
  words: Words,
  options: { cmdSet?: boolean } = {},
): Change | undefined {
  const expand = (text: string): string => expandWord(text, words.escape, words.lookup);
  switch (step.kind) {
    case 'env': {
      const pairs = step.pairs.map(({ key, value }) => ({ key: expand(key), value: expand(value) }));
      const env = pairs.reduce((known, { key, value }) => withEnv(known, key, value), config.Env ?? []);
      return {
        config: { ...config, Env: env },
        text: `ENV ${pairs.map((pair) => `${pair.key}=${pair.value}`).join(' ')}`,
      };
    }
    case 'label': {
      const pairs = step.pairs.map(({ key, value }) => [expand(key), expand(value)] as const);
      const text = `LABEL ${pairs.map(([key, value]) => `${key}=${value}`).join(' ')}`;
      return { config: { ...config, Labels: { ...config.Labels, ...Object.fromEntries(pairs) } }, text };
    }
    case 'cmd': {
      const cmd = commandLine(step.command, config);
      return { config: { ...config, Cmd: cmd }, text: `CMD ${goList(cmd)}` };
    }
    case 'entrypoint': {
      const entrypoint = commandLine(step.command, config);
      const next = { ...config, Entrypoint: entrypoint };
      // An entrypoint of one's own makes the base image's command meaningless.
      if (!options.cmdSet) delete next.Cmd;
      return { config: next, text: `ENTRYPOINT ${goList(entrypoint)}` };
    }
    case 'expose': {
      const ports = step.words.flatMap((word) => expandToWords(word, words.escape, words.lookup));
      const exposed = record(ports.flatMap(portsOf));
      return {
        config: { ...config, ExposedPorts: { ...config.ExposedPorts, ...exposed } },
        text: `EXPOSE ${[...ports].sort().join(' ')}`,
        kit: `EXPOSE [${Object.keys(exposed).sort().join(' ')}]`,
      };
    }
    case 'volume': {
      const paths = step.words.map(expand);
      if (paths.some((path) => !path.trim())) throw invalid('VOLUME specified can not be an empty string');
      return {
        config: { ...config, Volumes: { ...config.Volumes, ...record(paths) } },
        text: `VOLUME [${paths.join(' ')}]`,
      };
    }
    case 'workdir': {
      const written = expand(step.text);
      const path = workdirOf(config, written);
      const kit = `WORKDIR ${written.startsWith('/') ? written : path}`;
      return { config: { ...config, WorkingDir: path }, text: `WORKDIR ${path}`, kit };
    }
    case 'user': {
      const user = expand(step.text);
      return { config: { ...config, User: user }, text: `USER ${user}` };
    }
    case 'stopsignal': {
      const signal = stopSignal(expand(step.text));
      return { config: { ...config, StopSignal: signal }, text: `STOPSIGNAL ${signal}` };
    }
    case 'shell':
      return { config: { ...config, Shell: step.words }, text: `SHELL [${step.words.join(' ')}]` };
    case 'healthcheck':
      return { config: { ...config, Healthcheck: step.health }, ...healthTexts(step.health) };
    case 'onbuild':
      return {
        config: { ...config, OnBuild: [...(config.OnBuild ?? []), step.expression] },
        text: `ONBUILD ${step.expression}`,
      };
    default:
      return undefined;
  }
}
