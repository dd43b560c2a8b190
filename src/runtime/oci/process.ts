/** The container's first process: arguments, environment, limits. */
import { DEFAULT_PATH } from './defaults.ts';
import type { ContainerSettings, HostSettings } from './docker-types.ts';
import { joinedContainer, present } from './docker-types.ts';
import { INIT_IN_CONTAINER } from './mounts.ts';
import type { RawNumber, Rlimit } from './spec-types.ts';
import type { Config } from '../../config/config.ts';

const nameOf = (entry: string): string => entry.split('=', 1)[0]!;

/**
 * Puts `overrides` over `defaults`, in place where the name is known already. An entry without "=" takes the name away.
 */
export function mergeEnvironment(defaults: readonly string[], overrides: readonly string[]): string[] {
  const merged = new Map(defaults.map((entry) => [nameOf(entry), entry]));
  for (const entry of overrides) {
    if (entry.includes('=')) merged.set(nameOf(entry), entry);
    else merged.delete(nameOf(entry));
  }
  return [...merged.values()];
}

/** The environment of a container; execs put theirs over it. */
export function containerEnvironment(config: ContainerSettings, linked: readonly string[] = []): string[] {
  const defaults = [
    `PATH=${DEFAULT_PATH}`,
    `HOSTNAME=${config.Hostname ?? ''}`,
    ...(config.Tty ? ['TERM=xterm'] : []),
    ...linked,
  ];
  return mergeEnvironment(defaults, config.Env ?? []);
}

/** An init of ours reaps only in a pid namespace of the container's own. */
export function wantsInit(settings: HostSettings, daemon: Pick<Config, 'init'>): boolean {
  const own = settings.PidMode !== 'host' && joinedContainer(settings.PidMode) === undefined;
  return own && (settings.Init ?? daemon.init);
}

export const processArguments = (args: readonly string[], init: boolean): string[] =>
  init ? [INIT_IN_CONTAINER, '--', ...args] : [...args];

const rawJson = (JSON as unknown as { rawJSON(text: string): RawNumber }).rawJSON;

/** RLIM_INFINITY; Docker writes -1 for it. */
const UNLIMITED = rawJson('18446744073709551615');

const limit = (value: number | null | undefined): number | RawNumber => ((value ?? 0) < 0 ? UNLIMITED : (value ?? 0));

/** The container's own limits, then the daemon's for what it did not name. */
export function resourceLimits(settings: HostSettings, daemon: Pick<Config, 'defaultUlimits'>): Rlimit[] {
  const limits = new Map<string, Rlimit>();
  const put = (name: string, soft: number | null | undefined, hard: number | null | undefined): void => {
    if (limits.has(name)) return;
    limits.set(name, { type: `RLIMIT_${name.toUpperCase()}`, soft: limit(soft), hard: limit(hard) });
  };
  for (const { Name, Soft, Hard } of present(settings.Ulimits)) if (Name) put(Name, Soft, Hard);
  for (const [name, { Soft, Hard }] of Object.entries(daemon.defaultUlimits)) put(name, Soft, Hard);
  return [...limits.values()];
}
