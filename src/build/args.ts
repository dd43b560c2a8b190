/** ARG: which build arguments a stage sees, and with what value. Pure. */
import type { ImageRunConfig } from '../image/port.ts';
import type { Dockerfile } from './dockerfile/parse.ts';
import { expandWord, type Lookup } from './dockerfile/words.ts';
import type { Style } from './types.ts';

/** Usable without ARG; never in history or cache keys unless declared. */
const PREDEFINED = new Set(
  ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap((name) => [name, name.toLowerCase()]),
);

export const isPredefined = (name: string): boolean => PREDEFINED.has(name);

export interface Platform {
  os: string;
  architecture: string;
  variant?: string;
}

export const platformText = ({ os, architecture, variant }: Platform): string =>
  [os, architecture, variant].filter(Boolean).join('/');

export function parsePlatform(text: string): Platform {
  const [os = 'linux', architecture = '', variant] = text.split('/');
  const arch = { x86_64: 'amd64', 'x86-64': 'amd64', aarch64: 'arm64' }[architecture] ?? architecture;
  return { os, architecture: arch, ...(variant ? { variant } : {}) };
}

/** The platform arguments: global for FROM, and in a stage once declared there. */
export function platformArgs(build: Platform, target: Platform, stage: string): Record<string, string> {
  const of = (prefix: string, platform: Platform): [string, string][] => [
    [`${prefix}PLATFORM`, platformText(platform)],
    [`${prefix}OS`, platform.os],
    [`${prefix}ARCH`, platform.architecture],
    [`${prefix}VARIANT`, platform.variant ?? ''],
  ];
  return Object.fromEntries([...of('BUILD', build), ...of('TARGET', target), ['TARGETSTAGE', stage || 'default']]);
}

export interface GivenArgs {
  /** --build-arg; null for a name without a value. */
  given: Readonly<Record<string, string | null>>;
  builtin: Readonly<Record<string, string>>;
}

/** Arguments declared so far, before the first FROM (`globals`) or in a stage. Each declaration makes a new scope. */
export class ArgScope {
  readonly values: ReadonlyMap<string, string | undefined>;
  #source: GivenArgs;
  #globals: ArgScope | undefined;

  constructor(source: GivenArgs, globals?: ArgScope, values: ReadonlyMap<string, string | undefined> = new Map()) {
    this.#source = source;
    this.#globals = globals;
    this.values = values;
  }

  /** The value: given on the command line, else the default, else the global one, else the built-in one. */
  declare(name: string, fallback: string | undefined): ArgScope {
    const { given, builtin } = this.#source;
    const value = given[name] ?? fallback ?? this.#globals?.values.get(name) ?? builtin[name];
    return new ArgScope(this.#source, this.#globals, new Map([...this.values, [name, value]]));
  }

  /** For FROM: the global arguments and the built-in ones. */
  readonly global: Lookup = (name) => this.values.get(name) ?? this.#source.builtin[name];

  /** For instructions: the environment wins over arguments. */
  lookup(environment: Lookup): Lookup {
    return (name) => environment(name) ?? this.values.get(name) ?? this.#predefined(name);
  }

  #predefined(name: string): string | undefined {
    return PREDEFINED.has(name) ? (this.#source.given[name] ?? undefined) : undefined;
  }

  /**
   * What a RUN step gets beside the image's environment. `recorded` are in history and cache keys: sorted and without those that
   * the environment has in the classic builder, as declared and with the environment's value in BuildKit.
   */
  forRun(config: ImageRunConfig, style: Style): { recorded: string[]; hidden: string[] } {
    const env = new Map(
      (config.Env ?? []).map((entry) => [entry.split('=', 1)[0]!, entry.slice(entry.indexOf('=') + 1)]),
    );
    const inEnv = new Set(env.keys());
    const known = [...this.values].map(([name, value]) => [name, env.get(name) ?? value] as const);
    const declared = known.filter(([name, value]) => value !== undefined && (style === 'buildkit' || !inEnv.has(name)));
    const hidden = Object.entries(this.#source.given).filter(
      ([name, value]) => value !== null && PREDEFINED.has(name) && !inEnv.has(name) && !this.values.has(name),
    );
    const text = ([name, value]: readonly [string, string | null | undefined]): string => `${name}=${value}`;
    const recorded = declared.map(text);
    return { recorded: style === 'classic' ? recorded.sort() : recorded, hidden: hidden.map(text) };
  }
}

/** What the ARGs before the first FROM declare. */
export function globalScope({ globals, directives }: Dockerfile, source: GivenArgs): ArgScope {
  let scope = new ArgScope(source);
  for (const { key, value } of globals.flatMap(({ args }) => args))
    scope = scope.declare(key, value === undefined ? undefined : expandWord(value, directives.escape, scope.global));
  return scope;
}

/** Names given on the command line that no ARG asked for. */
export function unusedArgs(given: Readonly<Record<string, string | null>>, declared: ReadonlySet<string>): string[] {
  return Object.keys(given).filter(
    (name) =>
      !declared.has(name) && !PREDEFINED.has(name) && name !== 'SOURCE_DATE_EPOCH' && !name.startsWith('BUILDKIT_'),
  );
}
