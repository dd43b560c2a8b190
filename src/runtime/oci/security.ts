/** HostConfig.SecurityOpt as data, in the forms `key`, `key=value` and the old `key:value`. */
import { invalid } from '../../errors.ts';
import { DEFAULT_PROFILE } from '../../host/apparmor.ts';
import { own } from '../../lib/own.ts';
import type { HostSettings } from './docker-types.ts';

export interface SecurityOptions {
  noNewPrivileges: boolean;
  /** Undefined: as privileged says. */
  writableCgroups: boolean | undefined;
  /** `` for the daemon's choice, `unconfined`, `builtin`, or the JSON text of a profile. */
  seccomp: string;
  apparmor: string;
  labels: string[];
  /** systempaths=unconfined: nothing is masked and nothing read-only in /proc and /sys. */
  systemPaths: boolean;
}

const BOOLEANS: Readonly<Record<string, boolean>> = {
  '1': true,
  t: true,
  T: true,
  true: true,
  TRUE: true,
  True: true,
  '0': false,
  f: false,
  F: false,
  false: false,
  FALSE: false,
  False: false,
};

function booleanOf(option: string, value: string): boolean {
  const parsed = own(BOOLEANS, value);
  if (parsed === undefined) throw invalid(`invalid --security-opt 2: "${option}"`);
  return parsed;
}

export function parseSecurityOptions(
  settings: Pick<HostSettings, 'SecurityOpt'>,
  defaults: { noNewPrivileges: boolean },
): SecurityOptions {
  const options: SecurityOptions = {
    noNewPrivileges: defaults.noNewPrivileges,
    writableCgroups: undefined,
    seccomp: '',
    apparmor: '',
    labels: [],
    systemPaths: false,
  };
  for (const option of settings.SecurityOpt ?? []) apply(options, option);
  return options;
}

/** AppArmor's profile of a container, on a host that has AppArmor. */
export const apparmorProfile = (settings: Pick<HostSettings, 'Privileged'>, security: SecurityOptions): string =>
  security.apparmor || (settings.Privileged ? 'unconfined' : DEFAULT_PROFILE);

function apply(options: SecurityOptions, option: string): void {
  if (option === 'no-new-privileges') options.noNewPrivileges = true;
  else if (option === 'writable-cgroups') options.writableCgroups = true;
  else if (option === 'disable') options.labels.push('disable');
  else {
    const separator = option.includes('=') ? '=' : ':';
    const at = option.indexOf(separator);
    if (at < 0) throw invalid(`invalid --security-opt 1: "${option}"`);
    applyPair(options, option, option.slice(0, at), option.slice(at + 1));
  }
}

function applyPair(options: SecurityOptions, option: string, key: string, value: string): void {
  switch (key) {
    case 'label':
      options.labels.push(value);
      return;
    case 'apparmor':
      options.apparmor = value;
      return;
    case 'seccomp':
      options.seccomp = value;
      return;
    case 'no-new-privileges':
      options.noNewPrivileges = booleanOf(option, value);
      return;
    case 'writable-cgroups':
      options.writableCgroups = booleanOf(option, value);
      return;
    case 'systempaths':
      if (value === 'unconfined') {
        options.systemPaths = true;
        return;
      }
  }
  throw invalid(`invalid --security-opt 2: "${option}"`);
}

/** What privileged containers and those in the host's ipc or pid namespace get by themselves, shown by inspect. */
export function impliedSecurityOptions(settings: HostSettings): string[] {
  const given = settings.SecurityOpt ?? [];
  if (given.some((option) => /^label[=:]/.test(option))) return [];
  return settings.Privileged || settings.IpcMode === 'host' || settings.PidMode === 'host' ? ['label=disable'] : [];
}
